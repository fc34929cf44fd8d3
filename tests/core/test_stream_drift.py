"""The monitor of a stream: hardly ever a false alarm, and drift is caught within two chunks."""

import logging

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from threadpoolctl import threadpool_limits

from synth_components import stream
from synth_components.errors import DataError, ThresholdError
from synth_components.protocols import BLOCK_ROWS
from synth_components.schema import TABLE, Categorical, Key, Numeric, Schema
from synth_components.stream.drift import DriftConfig, reference
from synth_components.stream.pace import Pace
from synth_components.stream.stop import Stop
from synth_components.stream.unit import Unit
from synth_components.stream.watch import Knob, Watch

SCHEMA = Schema(
    {
        TABLE: {
            "id": Key(dtype="int64"),
            "x": Numeric(),
            "y": Numeric(nullable=True),
            "spend": Numeric(low=0.0),
            "city": Categorical(categories=("a", "b", "c", "d")),
        }
    }
)
SMALL = Schema({TABLE: {name: SCHEMA.columns[name] for name in ("x", "y", "city")}})
CHUNK = 4_000


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """The matrices are small: threads would only wait for each other where cores are shared."""
    with threadpool_limits(1):
        yield


def chunk(rng, rows=CHUNK, *, shift=0.0, share=0.3, null=0.1, correlation=0.6):
    """Return rows; the defaults are those without drift."""
    x = rng.normal(size=rows)
    y = correlation * x + np.sqrt(1 - correlation**2) * rng.normal(size=rows)
    rest = (1 - share) / 3
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "x": x + shift,
            "y": np.where(rng.random(rows) < null, np.nan, y),
            "spend": np.where(rng.random(rows) < 0.9, 0.0, rng.exponential(size=rows)),  # one value takes most
            "city": rng.choice(["a", "b", "c", "d"], rows, p=[share, rest, rest, rest]),
        }
    )


def false_alarms(streams, chunks, rows):
    """Return in how many clean streams anything raised an alarm."""
    found = 0
    for seed in range(streams):
        rng = np.random.default_rng([1, seed])
        known = reference(chunk(rng, 4 * rows), SMALL)
        found += any(known.alarms(chunk(rng, rows), chunk=k) for k in range(1, chunks + 1))
    return found


def test_at_most_one_clean_stream_in_a_hundred_raises_an_alarm():
    # With no alarm in 299 streams, the upper 95 % end of the rate is 1 - 0.05 ** (1 / 299) = 0.00997.
    assert false_alarms(299, chunks=2, rows=500) == 0


@pytest.mark.slow
def test_at_most_one_long_clean_stream_in_a_hundred_raises_an_alarm():
    found = false_alarms(1_000, chunks=10, rows=500)
    assert binomtest(found, 1_000, 0.01, alternative="less").pvalue < 0.05


DRIFTS = {
    "mean": ({"shift": 0.3}, ("x",), "values"),
    "share": ({"share": 0.4}, ("city",), "values"),
    "nulls": ({"null": 0.18}, ("y",), "nulls"),
    "association": ({"correlation": 0.3}, ("x", "y"), "association"),
}


@pytest.mark.parametrize("drift", DRIFTS)
def test_drift_is_caught_within_two_chunks_and_named(drift):
    changes, columns, kind = DRIFTS[drift]
    for seed in range(5):
        rng = np.random.default_rng([2, seed])
        known = reference(chunk(rng, 4 * CHUNK), SCHEMA)
        assert not any(known.alarms(chunk(rng), chunk=k) for k in range(1, 6))
        found = [alarm for k in (6, 7) for alarm in known.alarms(chunk(rng, **changes), chunk=k)]
        assert (columns, kind) in {(alarm.columns, alarm.kind) for alarm in found}


def test_drift_is_caught_after_a_million_chunks():
    rng = np.random.default_rng(0)
    known = reference(chunk(rng, 4 * CHUNK), SCHEMA)
    assert known.alarms(chunk(rng, shift=0.5), chunk=10**6)


def test_a_drift_within_the_few_rows_beside_the_most_common_value_is_caught():
    rng = np.random.default_rng(0)
    known = reference(chunk(rng, 4 * CHUNK), SCHEMA)
    drifted = chunk(rng).assign(spend=lambda rows: rows["spend"] * 4)
    assert [alarm.columns for alarm in known.alarms(drifted, chunk=1)] == [("spend",)]


def test_a_category_that_the_reference_lacks_is_caught():
    rng = np.random.default_rng(0)
    known = reference(chunk(rng, 4 * CHUNK), SCHEMA)
    strange = chunk(rng).assign(city=lambda rows: rows["city"].mask(rng.random(len(rows)) < 0.02, "z"))
    (alarm,) = known.alarms(strange, chunk=1)
    assert (alarm.columns, alarm.kind) == (("city",), "values")


def test_a_difference_within_the_tolerance_is_no_drift():
    rng = np.random.default_rng(0)
    rows, drifted = chunk(rng, 4 * CHUNK), chunk(rng, share=0.4)
    assert reference(rows, SCHEMA).alarms(drifted, chunk=1)
    assert not reference(rows, SCHEMA, config=DriftConfig(tolerance=0.1)).alarms(drifted, chunk=1)


def test_intervals_and_levels_are_the_exact_binomial_ones():
    rng = np.random.default_rng(5)
    rows = chunk(rng, 4_000)
    known = reference(rows, SCHEMA)
    tail = 0.005 / known.num_tests  # half of 1 %, for each end of each share and mean
    y_null = 2  # id and x come first: the null share of id, and of x with its five edges, then that of y
    place = [gauge.size for gauge in known.gauges]
    at = sum(place[:y_null])
    counted = rows["y"].iloc[1::2]
    exact = binomtest(int(counted.isna().sum()), len(counted)).proportion_ci(1 - 2 * tail, method="exact")
    assert (known.low[at, at], known.high[at, at]) == pytest.approx((exact.low, exact.high), rel=1e-9)
    (alarm,) = known.alarms(chunk(rng, null=0.3), chunk=1)
    upper = binomtest(round(alarm.share * CHUNK), CHUNK, known.high[at, at], alternative="greater")
    assert alarm.p_value == pytest.approx(upper.pvalue, rel=1e-6)


def test_an_alarm_tells_columns_and_shares_and_no_value():
    rng = np.random.default_rng(0)
    known = reference(chunk(rng, 4 * CHUNK), SCHEMA)
    told = str(known.alarms(chunk(rng, null=0.5), chunk=4)[0])
    assert told.startswith("chunk 4: the nulls of 'y' drifted; 0.5")
    assert "where the reference has 0.0" in told


def test_sorted_rows_make_the_same_reference():
    rng = np.random.default_rng(0)
    known = reference(chunk(rng, 4 * CHUNK).sort_values("x"), SCHEMA)
    assert not known.alarms(chunk(rng), chunk=1)


def test_a_reference_of_few_rows_is_refused():
    with pytest.raises(DataError, match="has 10 rows"):
        reference(chunk(np.random.default_rng(0), 10), SCHEMA)


def test_a_chunk_without_rows_raises_no_alarm():
    rng = np.random.default_rng(0)
    assert reference(chunk(rng), SCHEMA).alarms(chunk(rng, 0), chunk=1) == ()


@pytest.fixture(scope="module")
def known():
    return reference(chunk(np.random.default_rng(0), 4 * CHUNK), SCHEMA)


def test_an_alert_warns_and_goes_on(known, caplog):
    watch = Watch(known, "alert", start=0, knobs={})
    with caplog.at_level(logging.WARNING, logger="synth_components"):
        watch(chunk(np.random.default_rng(1), shift=1.0), 0, Pace(0.0))
    assert "the values of 'x' drifted" in caplog.text


def test_a_stop_ends_the_stream_before_the_chunk(known):
    watch = Watch(known, "stop", start=0, knobs={})
    watch(chunk(np.random.default_rng(1)), 0, Pace(0.0))
    with pytest.raises(ThresholdError, match="values of 'x'"):
        watch(chunk(np.random.default_rng(1), shift=1.0), 1, Pace(0.0))


def test_an_adjustment_turns_the_rate_down_to_its_bound_and_back(known):
    watch = Watch(known, "adjust", start=0, knobs={"rate": Knob(100.0, 30.0, 100.0)})
    rates = []
    for number, shift in enumerate((1.0, 1.0, 1.0, 0.0, 0.0)):
        pace = Pace(100.0)
        watch(chunk(np.random.default_rng(number), shift=shift), number, pace)
        rates.append(pace.rate)
    assert rates == [50.0, 30.0, 30.0, 60.0, 100.0]


def test_a_named_knob_of_a_callers_own_source_is_turned_until_the_drift_ends(known):
    # A source whose rows shift with its temperature: 1.6 drifts, 0.2 does not to speak of.
    watch = Watch(known, "adjust", start=0, knobs={"temperature": Knob(1.6, 0.001, 1.6)})
    turned = []
    for number in range(12):
        rows = chunk(np.random.default_rng([3, number]), shift=watch.knobs["temperature"].value)
        is_drifting = bool(known.alarms(rows, chunk=number + 1))
        watch(rows, number, Pace(0.0))
        turned.append((is_drifting, watch.knobs["temperature"].value))
    assert [drifting for drifting, _ in turned[:3]] == [True, True, True]
    assert not all(drifting for drifting, _ in turned)
    assert max(value for _, value in turned[4:]) <= 0.4


def test_blocks_before_the_start_are_not_compared(known):
    watch = Watch(known, "stop", start=4, knobs={})
    watch(chunk(np.random.default_rng(1), shift=1.0), 3, Pace(0.0))
    with pytest.raises(ThresholdError, match="chunk 1"):
        watch(chunk(np.random.default_rng(1), shift=1.0), 4, Pace(0.0))


def test_a_stream_that_drifts_ends_within_two_blocks_and_sends_none_that_was_caught():
    rng = np.random.default_rng(7)
    blocks = [chunk(rng, BLOCK_ROWS) for _ in range(6)] + [chunk(rng, BLOCK_ROWS, correlation=0.5) for _ in range(4)]
    known = reference(pd.concat(blocks[:4], ignore_index=True), SCHEMA)
    reader = Reader()
    with pytest.raises(ThresholdError, match=r"chunk [34]: the association of 'x' and 'y' drifted"):
        stream.pour(
            ((number * BLOCK_ROWS, block) for number, block in enumerate(blocks)), reader, cutter=Counted(),
            columns=["x", "y"], offset=0, pace=Pace(0.0), stop=Stop(), watch=Watch(known, "stop", start=4, knobs={}),
        )  # fmt: skip
    assert reader.next_row in {6 * BLOCK_ROWS, 7 * BLOCK_ROWS}


class Counted:
    """Cuts a block into one unit without bytes."""

    def units(self, block, first):
        return [Unit(first + len(block), b"")]


class Reader:
    """Counts the rows that it is given."""

    next_row = 0

    def write(self, units, stop):
        self.next_row = units[-1].end
