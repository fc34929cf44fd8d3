"""The Markov chain: transitions, autocorrelation, sequences and their beginnings."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import synth_components as synth
from synth_components.config import ConfigError
from synth_components.errors import ConditionError, SchemaError, UnsupportedError
from synth_components.generators.tabular.markov import Markov
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Dataset, Given, Interval, Run
from synth_components.schema import Boolean, Categorical, Datetime, Numeric, Schema

CHAIN = np.array([[0.8, 0.15, 0.05], [0.1, 0.6, 0.3], [0.3, 0.1, 0.6]])
STATES = np.array(["idle", "busy", "down"], dtype=object)


def machines(count=60, rows=50, seed=0):
    """Return logs of machines in three states, that of each hour drawn given the one before, in no order."""
    rng = np.random.default_rng(seed)
    state = np.zeros((count, rows), dtype=int)
    for step in range(1, rows):
        state[:, step] = (rng.random(count)[:, None] > np.cumsum(CHAIN[state[:, step - 1]], axis=1)).sum(axis=1)
    table = pd.DataFrame(
        {
            "machine": np.repeat(np.arange(count), rows),
            "hour": np.tile(pd.date_range("2024-01-01", periods=rows, freq="h"), count),
            "state": STATES[state.ravel()],
        }
    )
    columns = {
        "machine": Numeric(dtype="int64", low=0, high=100_000, places=0),
        "hour": Datetime(low="2024-01-01", high="2024-12-31", resolution="h"),
        "state": Categorical(categories=tuple(STATES)),
    }
    table["hour"] = table["hour"].astype("datetime64[ns]")
    shuffled = table.sample(frac=1, random_state=seed).reset_index(drop=True)
    return Dataset({"data": shuffled}, Schema({"data": columns}, root="data"))


def fitted(data, **options):
    return Markov(**options).fit(data, rng=np.random.default_rng(0), ledger=Ledger(), run=Run())


def drawn(sampler, n, *, seed=1, given=None):
    return sampler.sample(n, rng=np.random.default_rng(seed), given=given).table


def transitions(table):
    """Return the shares (3, 3) of states after each state, within machines."""
    table = table.sort_values(["machine", "hour"], kind="stable")
    after = table.groupby("machine")["state"].shift(-1)
    counts = pd.crosstab(table["state"], after).reindex(index=STATES, columns=STATES, fill_value=0).to_numpy()
    return counts / counts.sum(axis=1, keepdims=True)


BY = {"group": "machine", "order_by": "hour"}


def test_transitions_are_those_of_the_rows():
    data = machines()
    found = transitions(drawn(fitted(data, **BY), 12_000))
    # 5 sigma of a share of some 2,000 draws from a state; the law itself is the rows' but for one row's worth.
    assert_allclose(found, transitions(data.table), atol=5 * 0.5 / np.sqrt(2_000))


def test_autocorrelation_is_that_of_the_rows():
    rng = np.random.default_rng(0)
    x = np.zeros(6_000)
    for step in range(1, len(x)):
        x[step] = 0.8 * x[step - 1] + rng.normal()
    data = Dataset(
        {"data": pd.DataFrame({"x": np.round(x, 3)})}, Schema({"data": {"x": Numeric(places=3)}}, root="data")
    )
    made = drawn(fitted(data), 6_000)["x"]
    for lag in (1, 2, 5):
        # Deviation of an autocorrelation over 6,000 rows of this chain: about .02, twice; cells take a few percent.
        assert abs(made.autocorr(lag) - data.table["x"].autocorr(lag)) < 0.1


def test_an_order_of_two_sees_two_rows_back():
    rng = np.random.default_rng(0)
    state = [0, 0]
    for _ in range(4_000):
        state.append(int(state[-2]) if rng.random() < 0.9 else int(rng.integers(2)))
    table = pd.DataFrame({"s": np.array(["a", "b"], dtype=object)[state]})
    data = Dataset({"data": table}, Schema({"data": {"s": Categorical(categories=("a", "b"))}}, root="data"))
    same = [(lambda s: (s == s.shift(2)).mean())(drawn(fitted(data, order=order), 4_000)["s"]) for order in (1, 2)]
    # Two rows back a value is the same with probability .95, which an order of one takes for .5.
    assert same == pytest.approx([0.5, 0.95], abs=0.04)


def test_sequences_have_the_length_and_the_beginning_that_are_asked_for():
    sampler = fitted(machines(), **BY, length=25, initial_state={"state": "down"})
    table = drawn(sampler, 100)
    assert (table.groupby("machine").size() == 25).all()
    assert (table.groupby("machine")["state"].first() == "down").all()
    assert (table.groupby("machine")["hour"].diff().dropna() == pd.Timedelta("1h")).all()


def test_lengths_are_those_of_the_rows_unless_one_is_asked_for():
    sizes = drawn(fitted(machines(), **BY), 500).groupby("machine").size()
    assert sizes.tolist() == [50] * 10


def test_the_first_row_of_a_sequence_begins_as_the_rows_begin():
    table = drawn(fitted(machines(), **BY, length=2), 400)
    first = table.groupby("machine")["state"].first()
    assert (first == "idle").mean() > 0.9  # all of them do; smoothing holds one row's worth of 60


def test_the_order_of_the_schema_is_taken_where_none_is_named():
    data = machines()
    data = replace(data, schema=replace(data.schema, order={"data": "hour"}))
    assert fitted(data, group="machine").sequences.order_by == "hour"


def test_rows_that_are_asked_for_are_met_and_numbering_is_not_asked_for():
    sampler = fitted(machines(), **BY)
    request = pd.DataFrame({"state": ["down", None] * 20}, dtype=object)
    table = drawn(sampler, 40, given=Given(rows=request))
    assert (table["state"][::2] == "down").all()
    with pytest.raises(ConditionError, match="number sequences"):
        drawn(sampler, 1, given=Given(rows=pd.DataFrame({"machine": [1]})))


def alarmed():
    """Return logs of machines with an alarm, mostly of those that are down, and a heat that is higher in alarm."""
    data, rng = machines(400, 8), np.random.default_rng(1)
    late = data.table["hour"] >= pd.Timestamp("2024-01-01 04:00")  # by then they are in different states
    data = replace(data, tables={"data": data.table[late].reset_index(drop=True)})
    rang = rng.random(len(data.table)) < np.where(data.table["state"] == "down", 0.95, 0.1)
    heat = (rng.normal(size=len(rang)) + 2 * rang).round(2)
    columns = {**data.schema.columns, "alarm": Boolean(), "heat": Numeric(places=2)}
    return Dataset({"data": data.table.assign(alarm=rang, heat=heat)}, Schema({"data": columns}, root="data"))


def joint(table):
    """Return the shares of states, alarms and heats together."""
    parts = [table["state"], table["alarm"], pd.cut(table["heat"], [-9.0, 0.0, 1.0, 2.0, 9.0])]
    return table.groupby(parts, observed=False).size() / len(table)


def require_joint(found, wanted):
    """Fail unless rows have the joint law of others, but for 5 sigma."""
    sigma = np.sqrt(joint(wanted) * (1 / len(found) + 1 / len(wanted)))
    assert ((joint(found) - joint(wanted)).abs() <= 5 * sigma + 5 / len(wanted)).all()


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(
    ("allowed", "is_so"),
    [
        ({"state": frozenset({"down"})}, lambda t: t["state"] == "down"),
        ({"state": frozenset({"down", "busy"})}, lambda t: t["state"] != "idle"),
        ({"alarm": frozenset({True})}, lambda t: t["alarm"]),
        ({"heat": Interval(1.5, 9.0)}, lambda t: t["heat"] >= 1.5),
        (
            {"heat": Interval(1.5, 9.0), "state": frozenset({"idle"})},
            lambda t: t["heat"].ge(1.5) & (t["state"] == "idle"),
        ),
    ],
)
def test_all_columns_of_a_row_have_the_law_given_what_is_asked_of_some(order, allowed, is_so):
    sampler = fitted(alarmed(), **BY, length=1, order=order)  # each row begins a sequence
    free = drawn(sampler, 40_000)
    require_joint(drawn(sampler, 10_000, seed=2, given=Given(allowed=allowed)), free[is_so(free)])


def test_a_sequence_begins_as_rows_do_that_have_its_initial_state():
    sampler = fitted(alarmed(), **BY, length=2)
    begun = fitted(alarmed(), **BY, length=2, initial_state={"state": "down"})
    free, table = drawn(sampler, 60_000), drawn(begun, 20_000, seed=2)
    is_so = (free["state"] == "down").to_numpy()[::2]
    require_joint(table[::2], free[::2][is_so])
    require_joint(table[1::2], free[1::2][is_so])


def test_a_condition_on_a_later_row_is_met_given_the_rows_before():
    sampler = fitted(alarmed(), **BY, length=2, order=2)
    fixed = {"state": "idle", "alarm": False, "heat": 0.5}
    tables = []
    for later, n in ((None, 60_000), ("down", 8_000)):
        request = pd.DataFrame({name: [value, None] * (n // 2) for name, value in fixed.items()}, dtype=object)
        request["heat"] = request["heat"].astype(float)
        request.loc[1::2, "state"] = later
        tables.append(drawn(sampler, n, seed=n, given=Given(rows=request))[1::2])
    free, asked = tables
    require_joint(asked, free[free["state"] == "down"])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"group": "nobody"}, SchemaError),
        ({"group": "hour"}, SchemaError),
        ({"order_by": "state"}, SchemaError),
        ({**BY, "order": 4, "max_cells": 100}, UnsupportedError),
        ({**BY, "initial_state": {"state": "on fire"}}, ConditionError),
        ({"length": 5}, ConfigError),
        ({"initial_state": {"state": "down"}}, ConfigError),
    ],
)
def test_what_cannot_be_learnt_is_refused(options, error):
    with pytest.raises(error):
        fitted(machines(20, 20), **options)


def test_a_model_saves_and_draws_the_same_sequences(tmp_path):
    data = machines()
    options = {**BY, "length": 10, "initial_state": {"state": "busy"}}
    model = synth.fit(data, generator="tabular.markov", seed=0, options=options)
    model.save(tmp_path / "m")
    pd.testing.assert_frame_equal(synth.load(tmp_path / "m").sample(50, seed=3), model.sample(50, seed=3))


def test_a_condition_that_is_not_met_by_itself_picks_no_rows_of_different_sequences():
    data = machines(20, 20)
    huge = np.random.default_rng(0).integers(2**61, 2**61 + 2**40, len(data.table))
    columns = {**data.schema.columns, "serial": Numeric(dtype="int64", low=2**61, high=2**61 + 2**40, places=0)}
    data = Dataset({"data": data.table.assign(serial=huge)}, Schema({"data": columns}, root="data"))
    asked = {"serial": (2**61, 2**61 + 2**39)}
    with pytest.raises(ConditionError, match="beyond 2\\^53"):
        synth.fit(data, generator="tabular.markov", seed=0, options=BY).sample(50, seed=1, conditions=asked)
    alone = synth.fit(data, generator="tabular.markov", seed=0).sample(50, seed=1, conditions=asked)
    assert alone["serial"].between(*asked["serial"]).all()  # nothing tells of sequences
