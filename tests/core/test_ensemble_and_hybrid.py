"""Generators of generators: weights, conditions, budgets, files, shards."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.checkpoint import remove
from synth_components.config import ConfigError
from synth_components.errors import ArtifactError, BudgetExceededError, StoppedError, UnsupportedError
from synth_components.generators.tabular._network import NetworkSampler, Node
from synth_components.generators.tabular._stacking import most_likely
from synth_components.generators.tabular.ensemble import Ensemble
from synth_components.generators.tabular.hybrid import Hybrid, HybridSampler
from synth_components.privacy.ledger import Ledger, not_private
from synth_components.privacy.share import shares
from synth_components.protocols import Budget, Dataset, Given, Interval, Run
from synth_components.schema import TABLE, Categorical, Key, Numeric, Schema, Unit
from synth_components.testing import digest
from synth_components.toy import toy_table

COPULA, ALONE = "tabular.gaussian_copula", "tabular.independent"


def fitted(recipe, data, *, ledger=None, run=None, seed=0):
    return recipe.fit(data, rng=np.random.default_rng(seed), ledger=ledger or Ledger(), run=run or Run())


def dependent(n, seed=0):
    """Return rows whose second column is the first one's square: independent columns are told apart at a glance."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    table = pd.DataFrame({"x": x, "y": 3 * x + rng.normal(size=n), "z": np.where(x > 0, "up", "down")})
    number = Numeric(low=-60.0, high=60.0, public=True)
    schema = Schema({TABLE: {"x": number, "y": number, "z": Categorical(categories=("down", "up"), public=True)}})
    return Dataset({TABLE: table}, schema)


def test_weights_maximise_the_likelihood_of_held_out_rows():
    # Rows of .7 N(0, 1) + .3 N(4, 1), and the exact ratios of both densities to that of the rows.
    rng = np.random.default_rng(0)
    n = 20_000
    x = np.where(rng.random(n) < 0.7, rng.normal(size=n), 4 + rng.normal(size=n))
    densities = np.exp(-0.5 * np.stack([x, x - 4], axis=1) ** 2)
    weights = most_likely(densities / (densities @ [0.7, 0.3])[:, None])
    # The share of a component is estimated with at most sqrt(p (1 - p) / n) / .9 of error where they hardly overlap.
    assert abs(weights[0] - 0.7) < 4 * np.sqrt(0.7 * 0.3 / n) / 0.9


def test_the_member_that_held_out_rows_cannot_tell_apart_gets_the_weight_and_all_rows_teach_it():
    data = dependent(1_500)
    sampler = fitted(Ensemble(generators=(ALONE, COPULA)), data)
    assert sampler.weights[1] > 0.8
    again = fitted(Ensemble(generators=(ALONE, COPULA)), data)
    assert again.weights.tolist() == sampler.weights.tolist()
    alone = fitted(Ensemble(generators=(ALONE,), weights=(1,)), data)  # fitted on all rows, as no weight is sought
    assert np.array_equal(sampler.members[0].marginals["x"][0].mass, alone.members[0].marginals["x"][0].mass)


def test_rows_that_are_given_find_the_weights_and_teach_nothing():
    run = Run(holdout=dependent(300, seed=1))
    sampler = fitted(Ensemble(generators=(ALONE, COPULA)), dependent(1_500), run=run)
    assert sampler.weights[1] > 0.8


def test_too_few_rows_weigh_the_members_alike():
    assert fitted(Ensemble(generators=(ALONE, COPULA)), dependent(60)).weights.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("sites", [np.where(np.arange(600) < most, 0.0, np.arange(600.0)) for most in (576, 580)])
def test_units_that_cannot_be_split_weigh_the_members_alike(sites):
    data = dependent(600)
    schema = Schema({TABLE: {**data.schema.columns, "site": Numeric()}}, unit=Unit(TABLE, ("site",), 600))
    data = Dataset({TABLE: data.table.assign(site=sites)}, schema)
    assert fitted(Ensemble(generators=(ALONE, COPULA)), data).weights.tolist() == [0.5, 0.5]


def test_the_weights_are_found_on_other_persons_where_a_key_names_them(monkeypatch):
    seen = []

    def spy(members, held_out, *, rng):
        seen.append(held_out.owners)
        return np.ones(len(members)) / len(members)

    monkeypatch.setattr("synth_components.generators.tabular.ensemble.mixture_weights", spy)
    rows, person = dependent(1_500), np.repeat(np.arange(50), 30)
    columns = {**rows.schema.columns, "who": Key(public=True)}
    schema = Schema({TABLE: columns}, unit=Unit(TABLE, ("who",), 30))
    synth.fit(rows.table.assign(who=person), generator=Ensemble(generators=(ALONE, COPULA)), schema=schema, seed=0)
    assert np.bincount(seen[0]).tolist() == [30] * 10  # a fifth of the persons, with all of their rows


def test_the_first_stage_of_a_hybrid_may_leave_out_the_column_of_the_unit():
    data = dependent(300)
    schema = replace(data.schema, unit=Unit(TABLE, ("x",), 300))
    made = fitted(Hybrid(first=ALONE, second=ALONE, columns=("z",)), Dataset(data.tables, schema))
    assert len(made.sample(5, rng=np.random.default_rng(0)).table) == 5


def test_given_weights_are_the_shares_of_the_rows():
    data = dependent(1_000)
    sampler = fitted(Ensemble(generators=(ALONE, COPULA), weights=(1, 3)), data)
    n = 4_000
    drawn = sampler.sample(n, rng=np.random.default_rng(0)).table
    agree = float(((drawn["x"] > 0) == (drawn["z"] == "up")).mean())
    copula = float(
        ((one := sampler.members[1].sample(n, rng=np.random.default_rng(1)).table)["x"] > 0).eq(one["z"] == "up").mean()
    )
    # A quarter of the rows agree by chance, with probability 1/2.
    assert abs(agree - (0.75 * copula + 0.25 * 0.5)) < 4 * np.sqrt(2 * 0.25 / n)


def test_a_condition_shifts_the_weights_to_the_member_that_meets_it():
    data = dependent(1_000)
    low = Dataset({TABLE: data.table[data.table["z"] == "down"]}, data.schema)
    high = Dataset({TABLE: data.table[data.table["z"] == "up"]}, data.schema)
    parts = [fitted(Ensemble(generators=(ALONE,), weights=(1,)), half).members[0] for half in (low, high)]
    whole = fitted(Ensemble(generators=(ALONE, ALONE), weights=(1, 1)), data)
    mixed = type(whole)(data.schema, tuple(parts), (ALONE, ALONE), whole.weights)
    model = synth.Model(mixed, data.schema, Ledger(), synth.fit(data, generator=ALONE, seed=0).manifest)
    drawn = model.sample(200, seed=0, conditions={"z": "up"})
    assert (drawn["z"] == "up").all()
    assert (drawn["x"] > 0).all()  # rows of the low half would have x < 0 beside a z that was set by force


def test_options_and_weights_are_one_per_generator():
    with pytest.raises(ConfigError, match=r"^options of Ensemble: weights are numbers"):
        Ensemble.parse({"generators": [COPULA], "weights": [1, 2]})
    with pytest.raises(ConfigError, match="options for 3 generators"):
        Ensemble.parse({"options": [{}, {}, {}]})


def test_a_budget_refuses_to_find_weights_and_members_without_privacy_before_anything_is_spent():
    data, budget = toy_table(0), Budget(1.0, 1e-5)
    for recipe in (
        Ensemble(generators=("tabular.mst", "tabular.aim")),
        Ensemble(generators=("tabular.mst", ALONE), weights=(1, 1)),
        Hybrid(first="tabular.mst", second=ALONE),
    ):
        ledger = Ledger(budget)
        with pytest.raises(BudgetExceededError):
            fitted(recipe, data, ledger=ledger)
        assert not ledger.entries


def test_the_share_of_a_ledger_is_held_to_its_part_and_the_whole_to_the_budget():
    ledger = Ledger(Budget(1.0))
    first, second = shares(ledger, [0.25, 0.75])
    with pytest.raises(BudgetExceededError):
        first.spend("too much", lambda orders: np.full_like(orders, 0.5))
    assert not ledger.entries
    second.spend("enough", lambda orders: np.full_like(orders, 0.7))
    assert ledger.epsilon(0.0) == pytest.approx(0.7)
    ledger.spend("elsewhere", lambda orders: np.full_like(orders, 0.3))
    with pytest.raises(BudgetExceededError):  # within its part, and the whole is spent
        first.spend("late", lambda orders: np.full_like(orders, 0.2))
    free = Ledger()
    assert shares(free, [0.5, 0.5])[0] is free
    free.spend("anything", not_private)


def test_nested_members_are_saved_loaded_and_drawn_in_shards(tmp_path):
    inner = {"generators": [COPULA, ALONE], "options": [{"knots": 20}, {"knots": 20}], "weights": [2, 1]}
    recipe = Hybrid(first=ALONE, first_options={"knots": 20}, second="tabular.ensemble", second_options=inner)
    model = synth.fit(dependent(300), generator=recipe, seed=0)
    model.save(tmp_path / "model")
    loaded = synth.load(tmp_path / "model")
    n = 16_384 + 40
    whole = loaded.sample(n, seed=1)
    shards = [b.table for s in range(2) for b in model.blocks(n, seed=1, shard_index=s, num_shards=2)]
    assert digest(Dataset({TABLE: pd.concat(shards, ignore_index=True)}, model.schema)) == digest(
        Dataset({TABLE: whole}, model.schema)
    )


def test_an_altered_list_of_members_is_refused(tmp_path):
    sampler = fitted(Ensemble(generators=(ALONE, ALONE), weights=(1, 1)), dependent(100))
    sampler.save(tmp_path)
    (tmp_path / "members.json").write_text(json.dumps([ALONE]))
    with pytest.raises(ArtifactError, match="does not fit its members"):
        type(sampler).load(tmp_path)


def test_a_hybrid_keeps_what_its_stages_learnt_and_the_nulls_of_the_first():
    data = toy_table(0, rows=800)
    recipe = Hybrid(first=ALONE, second=COPULA, columns=("skill", "city", "smoker"))
    sampler = fitted(recipe, data)
    drawn = sampler.sample(3_000, rng=np.random.default_rng(0)).table
    # The copula gives income its correlation with the first stage's skill, .9 among the real rows.
    assert drawn[["skill", "income"]].corr("spearman").iloc[0, 1] > 0.8
    share = float(data.table["smoker"].isna().mean())
    assert abs(float(drawn["smoker"].isna().mean()) - share) < 4 * np.sqrt(share * (1 - share) / 3_000)


class Narrow:
    """A sampler that cannot condition, and of three columns draws the first two alike, and the third by them."""

    names = "abc"

    def __init__(self, schema):
        self.schema = schema

    def sample(self, n, *, rng, given=None):
        if given is not None and given.columns:
            raise UnsupportedError("it does not condition")
        both = rng.choice(list(self.names), size=n)
        return Dataset({TABLE: pd.DataFrame({"x": both, "y": both, "w": "p", "z": np.char.upper(both)})}, self.schema)


def test_what_the_second_stage_never_draws_is_drawn_by_its_nearest_rows_and_told(monkeypatch, caplog):
    monkeypatch.setattr("synth_components.resampling.MAX_POOL", 4_096)
    listed = {"x": "abc", "y": "abcd", "w": "pq", "z": "ABC"}
    kinds = {name: Categorical(categories=tuple(values), public=True) for name, values in listed.items()}
    first = Schema({TABLE: {name: kinds[name] for name in "xyw"}})
    nodes = tuple(Node(name, (), np.full(len(listed[name]), 1 / len(listed[name]))) for name in "xyw")
    made = HybridSampler(
        Schema({TABLE: kinds}), (NetworkSampler(first, 16, nodes), Narrow(Schema({TABLE: kinds}))), ("one", "two")
    )
    drawn = made.sample(600, rng=np.random.default_rng(0)).table
    x, y, z = (drawn[name].str.lower() for name in "xyz")
    assert drawn[["x", "y", "w"]].nunique().tolist() == [3, 4, 2]  # the first's values stay
    assert (z[x == y] == x[x == y]).all()
    assert ((z == x) | (z == y)).all()  # of two values that are never together one is shared
    unserved = int(((x != y) | (drawn["w"] == "q")).sum())
    assert f"of 600 rows {unserved} hold values together that one drew and two does not" in caplog.text
    caplog.clear()
    held = made.sample(
        50,
        rng=np.random.default_rng(0),
        given=Given(None, {name: frozenset({value}) for name, value in zip("xyw", "aap", strict=True)}),
    ).table
    assert (held["z"] == "A").all()
    assert not caplog.text


def test_nulls_that_the_second_stage_never_draws_are_no_condition_and_told(monkeypatch, caplog):
    monkeypatch.setattr("synth_components.resampling.MAX_POOL", 4_096)
    listed = {"x": "abc", "y": "abc", "w": "p", "z": "ABC"}
    kinds = {
        name: Categorical(categories=tuple(values), nullable=name == "y", public=True)
        for name, values in listed.items()
    }
    first = Schema({TABLE: {name: kinds[name] for name in "xy"}})
    nodes = (Node("x", (), np.full(3, 1 / 3)), Node("y", (), np.array([0.0, 0.0, 0.0, 1.0])))
    schema = Schema({TABLE: kinds})
    made = HybridSampler(schema, (NetworkSampler(first, 16, nodes), Narrow(schema)), ("one", "two"))
    drawn = made.sample(90, rng=np.random.default_rng(0)).table
    assert drawn["y"].isna().all()
    assert (drawn["z"] == drawn["x"].str.upper()).all()
    assert "of 90 rows 90 hold values" in caplog.text


def test_a_network_of_cells_draws_by_its_exact_law_given_conditions():
    rng = np.random.default_rng(0)
    kinds = {
        "a": Categorical(categories=("u", "v"), public=True),
        "n": Numeric(dtype="Int64", low=0, high=9, places=0, nullable=True, public=True),
        "b": Categorical(categories=("p", "q", "r"), public=True),
    }
    sampler = NetworkSampler(Schema({TABLE: kinds}), 3, ())
    sizes = {name: one.size for name, one in sampler._cells.items()}
    whole = {tail: rng.random([sizes[name] for name in tail]) ** 2 for tail in ("n", "na", "nab")}
    shares = {tail: one / one.sum(axis=-1, keepdims=True) for tail, one in whole.items()}
    sampler = replace(sampler, nodes=tuple(Node(tail[-1], tuple(tail[:-1]), one) for tail, one in shares.items()))
    joint = shares["n"][:, None, None] * shares["na"][:, :, None] * shares["nab"]
    n = 20_000
    asked = pd.DataFrame({"a": np.where(np.arange(n) % 2, "u", None)})
    for wanted in (Interval(2, 8), frozenset({0, 5, None})):
        drawn = sampler.sample(n, rng=rng, given=Given(asked, {"n": wanted, "b": frozenset({"p", "r"})})).table
        allowed = range(2, 9) if isinstance(wanted, Interval) else (0, 5, None)
        cells = sampler._cells["n"]
        of_value = {v: int(cells.codes(np.array([[np.nan if v is None else v]]))[0]) for v in (*range(10), None)}
        for a, rows in (("u", asked["a"].notna()), (None, asked["a"].isna())):
            masses = {}
            for value in allowed:
                like = [v for v in of_value if of_value[v] == of_value[value]]
                for place, b in ((0, "p"), (2, "r")):
                    mass = joint[of_value[value], :, place] / len(like)
                    masses[str(value), b] = mass[0] if a else mass.sum()
            total = sum(masses.values())
            values = drawn["n"][rows].astype(object)
            found = pd.Series(
                list(zip(values.where(values.notna(), None).map(str), drawn["b"][rows], strict=True))
            ).value_counts()
            assert set(found.index) <= set(masses)
            for key, mass in masses.items():
                p, m = mass / total, int(rows.sum())
                assert abs(found.get(key, 0) / m - p) < 5 * np.sqrt(p / m)
        assert (drawn["a"][asked["a"].notna()] == "u").all()
    assert len(sampler.sample(0, rng=rng, given=Given(asked[:0], {"b": frozenset({"p"})})).table) == 0


def test_a_network_of_cells_draws_even_what_it_gives_no_mass():
    kinds = {name: Categorical(categories=("u", "v"), public=True) for name in "ab"}
    shares = np.array([[1.0, 0.0], [0.0, 1.0]])
    sampler = NetworkSampler(
        Schema({TABLE: kinds}), 3, (Node("a", (), np.array([1.0, 0.0])), Node("b", ("a",), shares))
    )
    asked = Given(None, {"a": frozenset({"u"}), "b": frozenset({"v"})})
    assert sampler.sample(5, rng=np.random.default_rng(0), given=asked).table.to_numpy().tolist() == [["u", "v"]] * 5


def test_a_hybrid_refuses_columns_that_leave_nothing_to_a_stage():
    data = dependent(100)
    for columns in (("x", "y", "z"), ("nowhere",)):
        with pytest.raises(ConfigError, match="columns"):
            fitted(Hybrid(first=ALONE, second=ALONE, columns=columns), data)


@pytest.mark.parametrize(
    ("recipe", "steps"),  # and those of a member
    [
        (Ensemble(generators=(ALONE, COPULA, ALONE), weights=(1, 2, 1)), 1_000),
        (
            Hybrid(
                first=ALONE,
                second="tabular.ensemble",
                second_options={"generators": [COPULA, ALONE], "weights": [1, 1]},
            ),
            500,
        ),
    ],
    ids=["ensemble", "nested"],
)
def test_a_fit_that_is_stopped_after_each_member_ends_with_the_same_model(recipe, steps, tmp_path):
    data, folder = dependent(200), tmp_path / "state"
    ledger = Ledger()
    whole = fitted(recipe, data, ledger=ledger)

    def attempt(stops, charged):
        ended = []

        def report(done, total):
            if stops and done % steps == 0 and done < total:  # a member ended
                ended.append(done)

        return fitted(
            recipe, data, ledger=charged, run=Run(checkpoint=folder, should_stop=lambda: bool(ended), report=report)
        )

    for _ in range(2):  # a member more each time, as those that ended before do not report again
        with pytest.raises(StoppedError):
            attempt(stops=True, charged=Ledger())
    charged = Ledger()
    again = attempt(stops=True, charged=charged)  # of three members the last one is left
    assert charged.entries == ledger.entries
    for name, sampler in (("whole", whole), ("again", again)):
        (tmp_path / name).mkdir()
        sampler.save(tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file())
    assert all((tmp_path / "whole" / path).read_bytes() == (tmp_path / "again" / path).read_bytes() for path in files)
    with pytest.raises(ArtifactError, match="of another fit"):
        fitted(recipe, data, run=Run(checkpoint=folder), seed=1)
    for kept in folder.rglob("*.json"):
        kept.write_text(kept.read_text()[:-1])
    with pytest.raises(ArtifactError, match="damaged"):
        fitted(recipe, data, run=Run(checkpoint=folder))
    remove(folder)
    assert not folder.exists()


@pytest.mark.parametrize("kind", ["ensemble", "hybrid"])
def test_it_is_told_that_the_sequences_of_a_member_are_not_kept(kind, caplog):
    table = pd.DataFrame({"who": np.repeat(np.arange(30), 4), "x": np.arange(120.0), "z": ["up", "down"] * 60})
    chain, by = "tabular.markov", {"group": "who"}
    recipe = Ensemble(generators=(ALONE, chain), options=({}, by), weights=(1, 1))
    if kind == "hybrid":
        recipe = Hybrid(first=ALONE, second=chain, second_options=by, columns=("z",))
    told = synth.fit(table, generator=recipe, seed=0).manifest.choice["told"]
    assert "those of tabular.markov do not follow each other" in told[-1]
    assert "fit it alone" in caplog.text


def test_weights_that_were_found_before_a_stop_are_not_sought_again(monkeypatch, tmp_path):
    found = []

    def spy(members, held_out, *, rng):
        found.append(len(members))
        return rng.random(len(members))

    monkeypatch.setattr("synth_components.generators.tabular.ensemble.mixture_weights", spy)
    recipe, data = Ensemble(generators=(ALONE, COPULA)), dependent(300)
    whole = fitted(recipe, data)
    with pytest.raises(StoppedError):
        fitted(recipe, data, run=Run(checkpoint=tmp_path / "state", should_stop=lambda: len(found) > 1))
    again = fitted(recipe, data, run=Run(checkpoint=tmp_path / "state"))
    assert found == [2, 2]
    assert again.weights.tolist() == whole.weights.tolist()
    assert (
        again.members[1]
        .sample(5, rng=np.random.default_rng(0))
        .table.equals(whole.members[1].sample(5, rng=np.random.default_rng(0)).table)
    )
