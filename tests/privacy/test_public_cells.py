"""Rows cut into public cells: whatever one row holds, it is cut, says nothing of itself, and moves no other row."""

import datetime
import decimal
import warnings

import numpy as np
import pandas as pd
import pytest

from synth_components.generators.tabular._public_cells import cells_of, coded
from synth_components.protocols import Dataset
from synth_components.schema import TABLE, Boolean, Categorical, Datetime, Numeric, Schema

CENTS = Numeric(dtype="decimal", low=0, high=100, places=2, nullable=True, public=True)
DAY = Datetime(dtype="date", low="1990-01-01", high="2030-01-01", resolution="D", public=True)
WORDS = Categorical(dtype="object", categories=("a", "b"), public=True)
INSTANT = Datetime(dtype="datetime64[ns]", low="2000-01-01", high="2000-02-01", resolution="ns", public=True)
ZONED = Datetime(
    dtype="datetime64[ns, Asia/Tokyo]", low="1900-01-01", high="2100-01-01", resolution="D", public=True,
)  # fmt: skip
FLOAT = Numeric(dtype="float64", low=0, high=100, places=2, public=True)
JUNE = datetime.date(2001, 6, 1)
STRANGE = {
    "a text among decimals": (CENTS, decimal.Decimal("1.25"), "SECRET"),
    "a decimal beyond floats": (CENTS, decimal.Decimal("1.25"), decimal.Decimal("1e400")),
    "a signalling decimal": (CENTS, decimal.Decimal("1.25"), decimal.Decimal("sNaN")),
    "a list among decimals": (CENTS, decimal.Decimal("1.25"), [1]),
    "the last day of all": (DAY, JUNE, datetime.date(9999, 12, 31)),
    "a text among dates": (DAY, JUNE, "SECRET"),
    "a number among dates": (DAY, JUNE, 7),
    "a text of another form of date": (DAY, "2001-06-13", "06/13/2001"),
    "a text of no year among dates": (DAY, JUNE, "0000-01-01"),
    "a text of a zone among dates": (DAY, JUNE, "200101-01 00:0W0:0"),
    "a text of numpy's among dates": (DAY, JUNE, np.str_("SECRET")),
    "a signalling decimal among words": (WORDS, "b", decimal.Decimal("sNaN")),
    "a list among words": (WORDS, "b", ["a"]),
    "a tuple among words": (WORDS, "b", ("a", "b")),
    "half a letter": (WORDS, "b", "\ud800"),
    "a text among truth values": (Boolean(dtype="object", public=True), True, "SECRET"),
    "a time of another century": (INSTANT, pd.Timestamp("2000-01-05"), pd.Timestamp("2262-04-11")),
    "the first instant of all": (INSTANT, pd.Timestamp("2000-01-05"), pd.Timestamp.min),
    "an instant that its zone lacks": (ZONED, pd.Timestamp("2001-06-13"), pd.Timestamp.max),
    "a float near the largest": (FLOAT, 2.0, 1e308),
    "an infinite float": (FLOAT, 2.0, -np.inf),
}


def codes_of(column, values):
    if column.dtype in {"decimal", "date", "object"}:
        held = pd.Series(values, dtype=object)
    elif column is ZONED:
        held = pd.Series(pd.DatetimeIndex(values, tz="UTC").tz_convert("Asia/Tokyo"))
    else:
        held = pd.Series(values, dtype=column.dtype)
    schema = Schema({TABLE: {"c": column}})
    table = pd.DataFrame({"c": held})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return coded(Dataset({TABLE: table}, schema), cells_of(schema, bins=8))["c"]


@pytest.mark.parametrize("what", STRANGE)
@pytest.mark.parametrize("place", [0, 3])
def test_one_strange_row_more_is_cut_and_moves_no_other_row(what, place):
    column, usual, strange = STRANGE[what]
    values = [usual] * 5
    without = codes_of(column, values)
    values.insert(place, strange)
    found = codes_of(column, values)
    np.testing.assert_array_equal(np.delete(found, place), without)
    assert 0 <= found[place] < cells_of(Schema({TABLE: {"c": column}}), bins=8)["c"].size
