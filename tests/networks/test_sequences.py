"""Sequences of rows from the causal transformer: transitions, autocorrelation, conditions, names of sequences."""

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import synth_components as synth
from synth_components.config import ConfigError
from synth_components.encode import encode
from synth_components.errors import BudgetExceededError, ConditionError, SchemaError, StoppedError
from synth_components.generators.tabular._grid import grids_of
from synth_components.generators.tabular._sequences import in_sequence
from synth_components.generators.tabular._tokens import split_rows, tokens_of
from synth_components.generators.tabular.transformer import Drawn, Transformer, TransformerSampler
from synth_components.io.artifact import reasons_of
from synth_components.privacy.ledger import Ledger
from synth_components.profile import ProfileConfig
from synth_components.protocols import Budget, Dataset, Given, Interval, Run
from synth_components.schema import Boolean, Categorical, Datetime, Numeric, Schema

CHAIN = np.array([[0.8, 0.15, 0.05], [0.1, 0.6, 0.3], [0.3, 0.1, 0.6]])
STATES = np.array(["idle", "busy", "down"], dtype=object)
BY = {"group": "machine", "order_by": "hour"}
SMALL = {"hidden": 32, "heads": 2, "depth": 1, "batch_rows": 256, "learning_rate": 0.005, "cells": 16, "dropout": 0.0}
ROWS = 40


def machines(count=100, seed=0):
    """Return logs of machines: a state given the one before, and a load that wanders and is higher when busy."""
    rng = np.random.default_rng(seed)
    state, load = np.zeros((count, ROWS), dtype=int), np.zeros((count, ROWS))
    load[:, 0] = rng.normal(size=count)
    for step in range(1, ROWS):
        state[:, step] = (rng.random(count)[:, None] > np.cumsum(CHAIN[state[:, step - 1]], axis=1)).sum(axis=1)
        load[:, step] = 0.8 * load[:, step - 1] + 0.6 * rng.normal(size=count) + 0.5 * (state[:, step] == 1)
    table = pd.DataFrame(
        {
            "machine": np.repeat(np.arange(count), ROWS),
            "hour": np.tile(pd.date_range("2024-01-01", periods=ROWS, freq="h"), count).astype("datetime64[ns]"),
            "state": STATES[state.ravel()],
            "load": load.ravel().round(3),
        }
    )
    columns = {
        "machine": Numeric(dtype="int64", low=0, high=100_000, places=0),
        "hour": Datetime(low="2024-01-01", high="2024-12-31", resolution="h"),
        "state": Categorical(categories=tuple(STATES)),
        "load": Numeric(places=3),
    }
    shuffled = table.sample(frac=1, random_state=seed).reset_index(drop=True)
    return Dataset({"data": shuffled}, Schema({"data": columns}, root="data"))


def fitted(data, *, run=None, seed=0, **options):
    pytest.importorskip("torch", reason="the extra torch is not installed")
    recipe = Transformer(**{**SMALL, "epochs": 1, "order": 2, **options})
    return recipe.fit(data, rng=np.random.default_rng(seed), ledger=Ledger(), run=run or Run())


def drawn(sampler, n, *, seed=1, given=None):
    return sampler.sample(n, rng=np.random.default_rng(seed), given=given).table


def transitions(table):
    """Return the shares (3, 3) of states after each state, within machines."""
    table = table.sort_values(["machine", "hour"], kind="stable")
    after = table.groupby("machine")["state"].shift(-1)
    counts = pd.crosstab(table["state"], after).reindex(index=STATES, columns=STATES, fill_value=0).to_numpy()
    return counts / counts.sum(axis=1, keepdims=True)


def autocorrelation(table, lag=1):
    table = table.sort_values(["machine", "hour"], kind="stable")
    return table["load"].corr(table.groupby("machine")["load"].shift(lag))


def shuffled_in_time(data):
    """Return the same rows with the values of each row given to another: what a model that ignores order learns."""
    table = data.table.copy()
    learnt = ["state", "load"]
    table[learnt] = table[learnt].sample(frac=1, random_state=0).to_numpy()
    return Dataset({"data": table.astype(data.table.dtypes)}, data.schema)


@pytest.fixture(scope="module")
def learnt():
    return fitted(machines(), epochs=12, **BY)


def test_few_ordered_rows_are_told_in_log_manifest_and_report(caplog, monkeypatch, tmp_path):
    pytest.importorskip("torch", reason="the extra torch is not installed")
    few = machines(count=10)
    options = {**SMALL, **BY, "epochs": 1, "order": 2}
    with caplog.at_level(logging.WARNING):
        model = synth.fit(few, generator="tabular.transformer", options=options, seed=0)
    model.save(tmp_path / "model")
    for told in (caplog.text, str(model.manifest.choice), str(reasons_of(tmp_path / "model"))):
        assert "fewer than 7,000 ordered rows" in told
        assert "tabular.markov" in told
    caplog.clear()
    start = Run(warm_start=tmp_path / "model")
    newer = synth.fit(few, generator="tabular.transformer", options=options, seed=0, run=start)
    monkeypatch.setattr("synth_components.generators.tabular._sequences.FEW_ORDERED_ROWS", len(few.table))
    enough = synth.fit(few, generator="tabular.transformer", options=options, seed=0)
    assert (newer.manifest.choice, enough.manifest.choice) == ({}, {})
    assert "ordered rows" not in caplog.text


def test_transitions_and_autocorrelation_are_those_of_the_rows_and_not_of_rows_without_order(learnt):
    data = machines()
    made, ignorant = drawn(learnt, 4_000), shuffled_in_time(data).table
    errors = [np.abs(transitions(table) - transitions(data.table)).mean() for table in (made, ignorant)]
    # Of some 1,300 draws from a state a share deviates by .014 (1 sigma); rows without order are off by .2.
    assert errors[0] < 0.05 < 0.15 < errors[1]
    wanted, found, without = (autocorrelation(table) for table in (data.table, made, ignorant))
    # Of 4,000 rows of such a chain it deviates by about .01, twice; cells of a sixteenth take some.
    assert abs(found - wanted) < 0.08
    assert abs(without - wanted) > 0.5


def test_sequences_are_whole_have_new_names_and_the_length_of_the_rows(learnt):
    table = drawn(learnt, 20 * ROWS)
    assert list(table.columns) == list(machines().table.columns)
    assert table["machine"].nunique() == 20
    assert (table.groupby("machine").size() == ROWS).all()
    assert (table.groupby("machine")["hour"].diff().dropna() == pd.Timedelta("1h")).all()
    # A hundred keys were seen, among 100,000: that a drawn one is among twenty is a chance of .02.
    assert not set(table["machine"]) <= set(range(100))


def test_a_model_does_not_know_what_sequences_were_called(tmp_path):
    data, other = machines(20), machines(20)
    other.table["machine"] = np.random.default_rng(0).permutation(100_000)[:20][other.table["machine"]]
    for name, held in (("one", data), ("other", other)):
        (tmp_path / name).mkdir()
        fitted(held, **BY).save(tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "other").iterdir())
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes() for name in files)


def test_sequences_have_the_length_and_the_beginning_that_are_asked_for():
    table = drawn(fitted(machines(20), **BY, length=10, initial_state={"state": "down", "load": 0.5}), 95)
    assert table.groupby("machine").size().tolist().count(10) == 9  # the last one is cut short
    first = table.groupby("machine").first()
    assert (first["state"] == "down").all()
    assert (first["load"] == 0.5).all()


def alarmed():
    """Return logs of machines that also tell of an alarm, most often of those that are down."""
    data, rng = machines(40), np.random.default_rng(1)
    rang = rng.random(len(data.table)) < np.where(data.table["state"] == "down", 0.9, 0.2)
    columns = {**data.schema.columns, "alarm": Boolean()}
    return Dataset({"data": data.table.assign(alarm=rang)}, Schema({"data": columns}, root="data"))


def require_law(found, wanted, *, slack):
    """Fail unless states, alarms and loads of rows have the law of others, but for ``slack`` and 5 sigma."""
    sigma = np.sqrt(1 / len(found) + 1 / len(wanted))
    for part in (lambda t: t["state"] == "idle", lambda t: t["state"] == "busy", lambda t: t["alarm"]):
        assert abs(part(found).mean() - part(wanted).mean()) < slack + 5 * 0.5 * sigma
    for load in wanted["load"].quantile([0.1, 0.3, 0.5, 0.7, 0.9]):
        assert abs((found["load"] <= load).mean() - (wanted["load"] <= load).mean()) < slack + 5 * 0.5 * sigma


BEGINNINGS = {
    "category": ({"state": "down"}, lambda first: first["state"] == "down"),
    "boolean": ({"alarm": True}, lambda first: first["alarm"]),
    "number": ({"load": 1.5}, lambda first: first["load"].between(1.0, 2.0)),
}


@pytest.fixture(scope="module")
def unasked():
    """Return a sampler, and 800 sequences of 5 rows that it draws without being asked for anything."""
    sampler = fitted(alarmed(), epochs=4, **BY, length=5)
    return sampler, drawn(sampler, 4_000)


@pytest.mark.parametrize("about", BEGINNINGS)
@pytest.mark.parametrize("how", ["initial_state", "conditions"])
def test_later_rows_have_the_law_of_sequences_that_happen_to_begin_so(unasked, about, how):
    state, is_so = BEGINNINGS[about]
    sampler, free = unasked
    if how == "initial_state":
        table = drawn(fitted(alarmed(), epochs=4, **BY, length=5, initial_state=state), 4_000, seed=2)
    else:
        request = pd.DataFrame({name: [value, None, None, None, None] * 800 for name, value in state.items()})
        table = drawn(sampler, 4_000, seed=2, given=Given(rows=request))
    begins = np.arange(4_000) % 5 == 0
    ((name, value),) = state.items()
    assert (table.loc[begins, name] == value).all()
    those = np.repeat(is_so(free[begins]).to_numpy(dtype=bool), 5)
    assert those[begins].sum() > 100
    require_law(table[~begins], free[those & ~begins], slack=0.08)


def test_conditions_on_some_sequences_leave_the_others_alone(unasked):
    sampler, free = unasked
    asked = np.repeat(np.arange(200) % 2 == 0, 5)  # every other sequence, in all of its rows
    for name, value in (("state", "down"), ("load", 1.5), ("alarm", True)):
        request = pd.DataFrame({name: np.where(asked, value, None)}, dtype=object)
        request[name] = request[name].astype(float) if name == "load" else request[name]
        table = drawn(sampler, 1_000, seed=2, given=Given(rows=request))
        assert (table.loc[asked, name] == value).all()
        require_law(table[~asked], free, slack=0.05)


def test_conditions_are_met_row_by_row(learnt):
    request = pd.DataFrame({"state": ["down", None] * 20, "load": [None, 1.5, None, None] * 10}, dtype=object)
    request["load"] = request["load"].astype(float)
    table = drawn(learnt, 40, given=Given(rows=request))
    assert (table["state"][::2] == "down").all()
    assert (table["load"][1::4] == 1.5).all()
    allowed = {"load": Interval(1.0, 2.0), "state": frozenset({"busy", "down"})}
    confined = drawn(learnt, 400, given=Given(allowed=allowed))
    assert confined["load"].between(1.0, 2.0).all()
    assert set(confined["state"]) == {"busy", "down"}


def test_what_is_drawn_before_a_condition_within_a_row_knows_of_it(learnt):
    """A state is drawn before the load: of candidates that the load makes more likely, more are taken."""
    assert [learnt.learnt.columns[name] for name in learnt.learnt.columns][learnt.order[0]].dtype == "object"
    shares = []
    for low, high in ((-9.0, -1.0), (2.0, 9.0)):
        table = drawn(learnt, 2_000, given=Given(allowed={"load": Interval(low, high)}))
        shares.append((table["state"] == "busy").mean())
    real = machines().table
    wanted = [(real.loc[real["load"].between(*ends), "state"] == "busy").mean() for ends in ((-9, -1), (2, 9))]
    assert wanted[1] - wanted[0] > 0.2
    assert shares[1] - shares[0] > 0.1


def test_numbering_is_not_asked_for_and_a_model_refuses_it_too():
    pytest.importorskip("torch", reason="the extra torch is not installed")
    model = synth.fit(machines(20), generator=Transformer(**SMALL, epochs=1, **BY), seed=0)
    with pytest.raises(ConditionError, match="number sequences"):
        model.sample(10, conditions={"machine": 3})


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"group": "nobody"}, SchemaError),
        ({"group": "hour"}, SchemaError),
        ({"order_by": "state"}, SchemaError),
        ({**BY, "initial_state": {"state": "on fire"}}, ConditionError),
        ({"length": 5}, ConfigError),
    ],
)
def test_what_cannot_be_learnt_is_refused(options, error):
    with pytest.raises(error):
        fitted(machines(10), **options)


def test_a_budget_is_refused_before_a_row_is_read():
    pytest.importorskip("torch", reason="the extra torch is not installed")
    data = machines(10)
    ledger = Ledger(Budget(1.0, 1e-6))
    with pytest.raises(BudgetExceededError, match="not learnt under a budget"):
        Transformer(**SMALL, **BY).fit(data, rng=np.random.default_rng(0), ledger=ledger, run=Run())
    assert not ledger.entries


def test_the_order_of_the_schema_is_taken_where_none_is_named():
    data = machines(10)
    ordered = replace(data, schema=replace(data.schema, order={"data": "hour"}))
    assert fitted(ordered, group="machine").sequences.order_by == "hour"
    assert fitted(data).sequences is None


def test_a_model_saves_and_draws_the_same_sequences(tmp_path):
    pytest.importorskip("torch", reason="the extra torch is not installed")
    options = {**SMALL, "epochs": 1, **BY, "length": 10, "initial_state": {"state": "busy"}}
    model = synth.fit(machines(20), generator="tabular.transformer", seed=0, options=options)
    model.save(tmp_path / "m")
    pd.testing.assert_frame_equal(synth.load(tmp_path / "m").sample(50, seed=3), model.sample(50, seed=3))


def test_names_go_on_beyond_those_of_a_profile_and_a_model_is_gone_on_from_with_its_schema():
    pytest.importorskip("torch", reason="the extra torch is not installed")
    table, options = machines(20).table, {**SMALL, "epochs": 1, **BY, "length": 10}
    found = synth.profile(table, config=ProfileConfig(describe=False)).schema
    model = synth.fit(table, generator="tabular.transformer", seed=0, schema=found, options=options)
    again = synth.fit(table, generator="tabular.transformer", seed=0, schema=found, options=options, start=model)
    for one in (model, again):
        made = one.sample(10 * 50, seed=1)  # a column of twenty names
        assert (made.groupby("machine").size() == 10).all()
        assert made["machine"].nunique() == 50


def test_a_stopped_fit_of_sequences_goes_on_to_the_same_weights(tmp_path):
    data, asked = machines(20), iter(range(10_000))
    options = {**BY, "epochs": 2, "batch_rows": 64}
    with pytest.raises(StoppedError, match="run the same again"):
        fitted(data, **options, run=Run(checkpoint=tmp_path, should_stop=lambda: next(asked) > 4))
    resumed, whole = fitted(data, **options, run=Run(checkpoint=tmp_path)), fitted(data, **options)
    assert {key: held.tobytes() for key, held in resumed.weights.items()} == {
        key: held.tobytes() for key, held in whole.weights.items()
    }


def test_numpy_has_the_laws_of_torch_given_the_rows_before():
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    from synth_components.generators._torch.causal import CausalTransformer, placed
    from synth_components.generators._torch.layers import arrays

    ordered = in_sequence(machines(3), group="machine", order_by="hour")
    features = encode(ordered.rows)
    tokens = tokens_of(grids_of(features, knots=20, min_count=2), cells=4)
    order = np.argsort([len(one.mass) for one in tokens], kind="stable")
    tokens_and_scores = split_rows([tokens[f] for f in order], features.values[:, order], rng=np.random.default_rng(0))
    rows = [torch.from_numpy(part) for part in tokens_and_scores]
    network = CausalTransformer(
        [tokens[f] for f in order], hidden=16, depth=2, heads=2, dropout=0.0, seed=0, order=3
    ).eval()
    (*_, place, age), held_out = placed(network, rows, ordered.age, None, ordered.age[:0], share=0.0)
    assert held_out is None
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
        wanted = network.past(place, age)
        logits, _ = network(*rows, torch.Generator(), wanted)
    sampler = TransformerSampler(ordered.rows.schema, tokens, order, 2, arrays(network), None)
    held = sampler._told(Drawn(*tokens_and_scores, {}, np.zeros(len(rows[0]))))
    nothing = sampler.weights["none.weight"][:, 0] + sampler.weights["none.bias"]
    past = np.stack(
        [np.where((ordered.age >= lag)[:, None], np.roll(held, lag, axis=0), nothing) for lag in (3, 2, 1)], axis=1
    )
    lags = sampler.weights["lag.weight"].T + sampler.weights["lag.bias"]
    assert_allclose(past + lags, wanted.numpy(), atol=1e-4)
    # The first feature of a row is drawn from what the rows before say alone: its chances are those of torch.
    count = len(tokens[order[0]].mass)
    chances = torch.softmax(logits[:, :count], dim=1).numpy()
    n, rng = len(past), np.random.default_rng(0)
    shares = np.zeros((n, count))
    for _ in range(400):
        shares[np.arange(n), sampler._drawn(n, rng=rng, past=past).tokens[:, 0]] += 1 / 400
    assert_allclose(shares, chances, atol=5 * 0.5 / np.sqrt(400))  # 5 sigma of a share of 400 draws


def test_whole_sequences_are_set_apart_and_no_row_looks_into_another_sequence():
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    from synth_components.generators._torch.causal import CausalTransformer, placed

    ordered = in_sequence(machines(20), group="machine", order_by="hour")
    features = encode(ordered.rows)
    tokens = tokens_of(grids_of(features, knots=20, min_count=2), cells=4)
    rows = [torch.from_numpy(part) for part in split_rows(tokens, features.values, rng=np.random.default_rng(0))]
    network = CausalTransformer(tokens, hidden=8, depth=1, heads=1, dropout=0.0, seed=0, order=2)
    learning, apart = placed(network, rows, ordered.age, None, ordered.age[:0], share=0.1)
    assert apart is not None
    assert len(apart[2]) == 2 * ROWS
    assert not set((apart[2] // ROWS).tolist()) & set((learning[2] // ROWS).tolist())
    first, second = (network.past(place, torch.zeros(1, dtype=torch.int64)) for place in torch.tensor([[5], [77]]))
    assert torch.equal(first, second)  # before the first row of a sequence there is nothing, whatever stands before it
