"""Bounding contributions: one unit more adds at most ``max_rows`` rows, and moves no other; a broken twin is caught."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from synth_components.privacy import contribution
from synth_components.privacy.contribution import bounded
from synth_components.protocols import Dataset
from synth_components.schema import TABLE, Key, Numeric, Schema, Unit

MOST = 3
SCHEMA = Schema(
    {TABLE: {"who": Key(dtype="float64", nullable=True, public=True), "x": Numeric(dtype="int64", public=True)}},
    keys={},
    unit=Unit(TABLE, ("who",), MOST),
)


def people(without=None):
    """Return rows of people with 1 to 12 rows each, mixed; of all but one, and of nobody."""
    rng = np.random.default_rng(0)
    who = rng.permutation(np.repeat(np.arange(12.0), np.arange(1, 13)))
    table = pd.DataFrame({"who": np.append(who, [np.nan, np.nan]), "x": np.arange(len(who) + 2)})
    return table if without is None else table[table["who"] != without]


def kept(table):
    return set(bounded(Dataset({TABLE: table}, SCHEMA)).table["x"])


def most_moved():
    """Return the most rows that leaving out one person adds or removes."""
    return max(len(kept(people()) ^ kept(people(without=one))) for one in range(12))


def test_one_unit_less_takes_away_its_own_rows_alone_and_at_most_as_many_as_are_said():
    assert most_moved() == MOST
    assert {len(kept(people()) - kept(people(without=one))) for one in range(12)} == {1, 2, MOST}
    assert {len(people()) - 2, len(people()) - 1} <= kept(people())  # rows without a unit are one each


def test_a_bound_on_all_rows_together_is_caught(monkeypatch):
    def broken(data):
        return replace(data, tables={TABLE: data.table.sample(frac=0.5, random_state=0)})

    monkeypatch.setitem(globals(), "bounded", broken)
    assert most_moved() > MOST


def test_a_schema_without_a_unit_keeps_all_rows():
    data = Dataset({TABLE: people()}, replace(SCHEMA, unit=None))
    assert contribution.bounded(data) is data


@pytest.mark.parametrize("most", [1, 5])
def test_no_unit_keeps_more_rows_than_its_most(most):
    data = Dataset({TABLE: people()}, replace(SCHEMA, unit=Unit(TABLE, ("who",), most)))
    assert bounded(data).table.groupby("who").size().max() == most
