"""What is kept of the rows has the support of privacy units, where the schema says whose each row is."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import synth_components as synth
from synth_components.constraints import FunctionalDependency, Learnable
from synth_components.errors import ConstraintError
from synth_components.generators import make
from synth_components.generators.tabular._circuit import few_states
from synth_components.generators.tabular._junction import nodes
from synth_components.generators.tabular.markov import Markov
from synth_components.io.dataset import LazyDataset, read_dataset
from synth_components.privacy.ledger import Ledger
from synth_components.proposal import propose
from synth_components.protocols import Dataset, Run
from synth_components.schema import TABLE, Categorical, Key, Numeric, Schema, Unit
from synth_components.split import evened_rows
from synth_components.support import evened_out

PERSONS, VISITS = 60, 12
IDS = np.cumsum(np.random.default_rng(0).integers(1_000, 9_000, PERSONS)) + 100_000
GENERATORS = ("independent", "gaussian_copula", "trees", "bayesian_network", "mixture")


def visits(**columns):
    """Return rows of persons, more of each than `min_category_count`, one of whom has a town to himself."""
    rng = np.random.default_rng(1)
    whose = np.repeat(np.arange(PERSONS), VISITS)
    town = np.where(whose == 7, "Farway", rng.choice(["Rome", "Oslo"], len(whose)))
    rest = {"x": rng.normal(size=len(whose)).round(2), "town": town}
    return pd.DataFrame({name: made(whose) for name, made in columns.items()} | rest)


def declared(unit, **columns):
    towns = Categorical(categories=("Farway", "Oslo", "Rome"))
    held = {**columns, "x": Numeric(low=-9, high=9, places=2), "town": towns}
    return Schema({TABLE: held}, unit=None if unit is None else Unit(TABLE, unit, VISITS))


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_no_number_of_a_person_and_nothing_that_one_person_has_is_drawn(name, dtype):
    table = visits(person=lambda whose: IDS[whose].astype(dtype))
    person = Numeric(dtype=dtype, low=0, high=10**6, places=0)

    def drawn(unit):
        schema = declared(unit, person=person)
        return synth.fit(table, generator=f"tabular.{name}", schema=schema, seed=0).sample(2_000, seed=1)

    by_rows, by_persons = drawn(None), drawn(("person",))
    assert by_rows["person"].isin(IDS).all()  # 12 rows share each of them
    assert "Farway" in set(by_rows["town"])
    # Of 540,000 numbers some are an id by chance: 2,000 draws hit 60 of them 2,000 * 60 / 3e5 = .4 times, > 8: 1e-9
    assert by_persons["person"].isin(IDS).sum() <= 8
    assert set(by_persons["town"]) == {"Oslo", "Rome"}


@pytest.mark.parametrize("name", GENERATORS)
def test_a_unit_of_several_columns_is_counted_and_its_values_that_many_share_are_kept(name):
    columns = {"clinic": lambda whose: whose // 20, "patient": lambda whose: IDS[whose]}
    clinic = Numeric(dtype="int64", low=0, high=2, places=0)
    patient = Numeric(dtype="int64", low=0, high=10**6, places=0)
    schema = declared(("clinic", "patient"), clinic=clinic, patient=patient)
    made = synth.fit(visits(**columns), generator=f"tabular.{name}", schema=schema, seed=0).sample(2_000, seed=1)
    assert made["patient"].isin(IDS).sum() <= 8
    assert set(made["clinic"]) == {0, 1, 2}
    assert set(made["town"]) == {"Oslo", "Rome"}


def test_persons_whom_a_key_names_are_counted_too():
    table = visits(who=lambda whose: np.array([f"p{one}" for one in whose], dtype=object))
    schema = declared(("who",), who=Key(dtype=str(table["who"].dtype)))
    made = synth.fit(table, generator="tabular.independent", schema=schema, seed=0).sample(2_000, seed=1)
    assert set(made["town"]) == {"Oslo", "Rome"}


RULES = {
    "functional_dependency": {"determinant": ("town",), "dependent": "code"},
    "fixed_combinations": {"columns": ("town", "code")},
    "hierarchy": {"levels": ("code", "town")},
}


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("is_lazy", [False, True])
def test_no_rule_learns_what_one_person_alone_has(tmp_path, kind, is_lazy):
    table = visits(who=lambda whose: whose)
    table["code"] = table["town"].str[:1]
    towns, codes = (Categorical(categories=tuple(sorted(set(table[name])))) for name in ("town", "code"))
    columns = {"who": Key(dtype="int64"), "x": Numeric(places=2), "town": towns, "code": codes}
    table.to_parquet(tmp_path / "rows.parquet")
    for unit, is_told in ((None, True), (Unit(TABLE, ("who",), VISITS), False)):
        schema = Schema({TABLE: columns}, unit=unit)
        data = read_dataset(tmp_path / "rows.parquet", schema=schema, max_bytes=0) if is_lazy else table
        given = {} if is_lazy else {"schema": schema}
        rules = [{"type": kind, "name": "rule", **RULES[kind]}]
        model = synth.fit(data, generator="tabular.trees", constraints=rules, seed=0, **given)
        (rule,) = model.schema.constraints
        assert ("Farway" in json.dumps(rule.to_json())) == is_told
        assert "Rome" in json.dumps(rule.to_json())


def test_of_two_values_a_rule_learns_that_of_more_persons_not_of_more_rows():
    rows = pd.DataFrame({"a": ["x"] * 35, "b": ["one"] * 20 + ["many"] * 15})
    owners = np.append(np.zeros(20, np.int64), np.arange(1, 16))
    rule = FunctionalDependency(determinant=("a",), dependent="b", min_count=10)
    assert dict(
        rule.learn(pd.concat([rows] + [rows.assign(a="y", b="z")] * 10), owners=np.tile(owners, 11)).mapping
    ) == {
        ("x",): "many",
        ("y",): "z",
    }
    with pytest.raises(ConstraintError, match="0 of its pairs have 20 privacy units behind"):
        rule.model_copy(update={"min_count": 20}).learn(rows, owners=owners)


def test_no_proposal_lists_what_one_person_alone_has():
    table = visits(who=lambda whose: whose)
    table["land"] = table["town"].map({"Rome": "it", "Oslo": "no", "Farway": "fo"})
    towns = Categorical(categories=("Farway", "Oslo", "Rome"))
    columns = {
        "who": Key(dtype="int64"),
        "x": Numeric(places=2),
        "town": towns,
        "land": Categorical(categories=("it",)),
    }
    for unit in (None, Unit(TABLE, ("who",), VISITS)):
        found = [p.rule for p in propose(table, Schema({TABLE: columns}, unit=unit)) if isinstance(p.rule, Learnable)]
        told = json.dumps([rule.to_json() for rule in found])
        assert ("Farway" in told) == (unit is None)


def suggestive(his, rng):
    """Return columns of rows, which of them (n,) are one person's, that suggest rules of which he has a part alone."""
    n = len(his)
    level, size = rng.choice([1, 2], n), rng.uniform(100, 900, n).round(2)
    kind = rng.choice(["a", "b"], n)
    mark = np.array([f"X{rng.integers(1_000, 9_999)}" for _ in range(n)], dtype=object)
    mark[his] = [f"X{rng.integers(100_000, 999_999)}" for _ in range(his.sum())]
    total, part = size + rng.uniform(200, 300, n), rng.uniform(1, 900, n)
    return {
        "a set of numbers": ({"level": np.where(his, 777, level)}, "777"),
        "a set of texts": ({"kind": np.where(his, "Farway", kind)}, "Farway"),
        "a range": ({"size": np.where(his, 0.0, size)}, '"low": 0'),
        "a pattern": ({"mark": mark}, "{4,6}"),
        "a null by its value": (
            {"kind": np.where(his, "Farway", kind), "size": np.where(his, np.nan, size)},
            "kind == 'Farway'",
        ),
        "a null by a size": ({"size": size + 5_000 * his, "total": np.where(his, np.nan, total)}, "conditional_null"),
        "columns of which one is set": (
            {name: ((kind == name) & ~his).astype(int) for name in "ab"} | {"c": his.astype(int)},
            "exactly_one",
        ),
        "an implication": ({"kind": np.where(his, "Farway", kind), "level": np.where(his, 3, level)}, "Farway"),
        "an order": ({"size": size, "rest": np.where(his, size + rng.uniform(1, 50, n), np.nan)}, '"inequality"'),
        "a sum": (
            {"part": part, "size": size, "total": part + size + np.where(his, rng.random(n), rng.uniform(100, 300, n))},
            "part + size <= total",
        ),
    }


SUGGESTED = list(suggestive(np.zeros(1, bool), np.random.default_rng(0)))


@pytest.mark.parametrize("what", SUGGESTED)
def test_no_proposal_stands_on_what_one_person_alone_has(what):
    whose = np.append(np.repeat(np.arange(PERSONS), VISITS), np.full(100, PERSONS))
    columns, mark = suggestive(whose == PERSONS, np.random.default_rng(1))[what]
    table = pd.DataFrame({"who": whose} | columns)
    held = synth.profile(table.drop(columns="who")).schema.columns
    schema = Schema({TABLE: {"who": Key(dtype="int64"), **held}}, unit=Unit(TABLE, ("who",), 100))
    by_rows, by_persons = (
        json.dumps([one.rule.to_json() for one in propose(table, told)])
        for told in (replace(schema, unit=None), schema)
    )
    assert mark in by_rows
    assert mark not in by_persons


def of_persons(generator, *, unit=("who",), **options):
    """Return rows of a generator of sequences, each a person's, who is named by a key."""
    table = visits(who=lambda whose: np.array([f"p{one}" for one in whose], dtype=object))
    schema = declared(unit, who=Key(dtype=str(table["who"].dtype)))
    model = synth.fit(table, generator=generator, schema=schema, seed=0, options={"group": "who", **options})
    return model.sample(2_000, seed=1)


def test_a_chain_of_rows_counts_persons():
    assert "Farway" in set(of_persons("tabular.markov", unit=None)["town"])
    assert set(of_persons("tabular.markov")["town"]) == {"Oslo", "Rome"}


def test_a_transformer_of_sequences_counts_persons():
    pytest.importorskip("torch", reason="the extra torch is not installed")
    small = {"hidden": 8, "heads": 1, "depth": 1, "order": 1, "epochs": 1}
    assert "Farway" in set(of_persons("tabular.transformer", unit=None, **small)["town"])
    assert set(of_persons("tabular.transformer", **small)["town"]) == {"Oslo", "Rome"}


@pytest.mark.parametrize(("unit", "is_kept"), [(None, True), (("who",), False)])
def test_how_long_sequences_are_and_when_their_rows_come_counts_persons(unit, is_kept):
    stays = np.repeat(np.arange(PERSONS), VISITS)  # each of two rows; of one person, of three
    whose = np.repeat(stays, np.where(stays == 7, 3, 2))
    stay = np.repeat(np.arange(len(stays)), np.where(stays == 7, 3, 2))
    step = pd.Series(stay).groupby(stay).cumcount().to_numpy()
    rng = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "who": np.array([f"p{one}" for one in whose], dtype=object),
            "stay": stay,
            "day": np.where(whose == 7, 777 + 13 * step, (whose % 3) + step),
            "town": rng.choice(["Rome", "Oslo"], len(whose)),
        }
    )
    columns = {
        "who": Key(dtype=str(table["who"].dtype)),
        "stay": Numeric(dtype="int64", low=0, high=10**6, places=0),
        "day": Numeric(dtype="int64", low=0, high=10**6, places=0),
        "town": Categorical(categories=("Oslo", "Rome")),
    }
    schema = Schema({TABLE: columns}, unit=None if unit is None else Unit(TABLE, unit, 3 * VISITS))
    options = {"group": "stay", "order_by": "day"}
    model = synth.fit(table, generator="tabular.markov", schema=schema, seed=0, options=options)
    day = model.sample(2_000, seed=1).groupby("stay", sort=False)["day"]
    assert (3 in set(day.size())) == is_kept
    assert (777 in set(day.min())) == is_kept
    assert (13 in set(day.diff().dropna())) == is_kept


def towns_and_jobs():
    """Return rows of 1,000 persons and of one more, who has 200: he alone works as a 5 in town 3, aged 97 in each."""
    rng = np.random.default_rng(0)
    persons, alone = 1_000, 200
    who = np.append(np.repeat(np.arange(persons), 5), np.full(alone, persons))
    town, age = rng.integers(10, size=persons + 1)[who], rng.integers(18, 98, size=persons + 1)[who]
    job = rng.integers(12, size=len(who))
    is_his = who == persons
    job[~is_his & (town == 3) & (job == 5)] = 6
    town[is_his], job[is_his], age[is_his] = 3, 5, 97
    place, work = (np.array([f"{kind}{one:02}" for one in range(12)]) for kind in ("town", "job"))
    key = np.array([f"p{one}" for one in range(persons + 1)], dtype=object)
    table = pd.DataFrame({"who": key[who], "town": place[town], "job": work[job], "age": age})
    columns = {
        "who": Key(dtype=str(table["who"].dtype)),
        "town": Categorical(categories=tuple(place[:10])),
        "job": Categorical(categories=tuple(work)),
        "age": Numeric(dtype="int64", low=18, high=97, places=0),
    }
    return table, columns


def his(made):
    return int(((made["town"] == "town03") & (made["job"] == "job05") & (made["age"] == 97)).sum())


@pytest.mark.parametrize("is_lazy", [False, True])
@pytest.mark.parametrize("options", [{}, {"max_grow_rows": 2_000}])
def test_the_values_that_one_person_has_together_are_not_drawn_together(tmp_path, monkeypatch, is_lazy, options):
    monkeypatch.setattr("synth_components.generators.tabular.trees.BATCH_ROWS", 500)
    table, columns = towns_and_jobs()
    table = table.sample(frac=1, random_state=0, ignore_index=True)  # his rows are in every batch
    table.to_parquet(tmp_path / "rows.parquet")
    drawn = []
    for unit in (None, Unit(TABLE, ("who",), 200)):
        schema = Schema({TABLE: columns}, unit=unit)
        data = read_dataset(tmp_path / "rows.parquet", schema=schema, max_bytes=0) if is_lazy else table
        given = {} if is_lazy else {"schema": schema}
        made = synth.fit(data, generator="tabular.trees", seed=0, options=options, **given)
        drawn.append(his(made.sample(len(table), seed=1)))
    assert his(table) == 200
    assert drawn[0] > 100
    assert drawn[1] < 25


def test_columns_are_filled_alike_in_one_pass_and_in_one_each(tmp_path, monkeypatch):
    monkeypatch.setattr("synth_components.generators.tabular.trees.BATCH_ROWS", 500)
    table, columns = towns_and_jobs()
    table.to_parquet(tmp_path / "rows.parquet")
    schema = Schema({TABLE: columns}, unit=Unit(TABLE, ("who",), 200))
    read, batches = [], LazyDataset.batches
    monkeypatch.setattr(LazyDataset, "batches", lambda self, *given: read.append(1) or batches(self, *given))
    passes, made = [], []
    for held in (2**29, 1):
        monkeypatch.setattr("synth_components.generators.tabular.trees.MOST_HELD", held)
        data = read_dataset(tmp_path / "rows.parquet", schema=schema, max_bytes=0)
        read.clear()
        options = {"max_grow_rows": 2_000, "correction_trees": 0}
        made.append(synth.fit(data, generator="tabular.trees", seed=0, options=options).sampler.forests)
        passes.append(len(read))
    assert passes[1] == passes[0] + 2  # town, job and age
    for one, other in zip(*made, strict=True):
        assert_array_equal(one.slot_counts, other.slot_counts)
        assert_array_equal(one.slot_codes, other.slot_codes)


@pytest.mark.parametrize(
    ("generator", "options"),
    [
        ("tabular.circuit", {"holdout_share": 0, "epochs": 3}),  # he may be held out, where some are
        ("tabular.mixture", {}),
        ("tabular.mixture", {"method": "variational", "distribution": "categorical"}),
    ],
)
def test_no_state_or_component_is_of_one_person(generator, options):
    table, columns = towns_and_jobs()
    drawn = []
    for unit in (None, Unit(TABLE, ("who",), 200)):
        made = synth.fit(
            table, generator=generator, schema=Schema({TABLE: columns}, unit=unit), seed=0, options=options
        )
        drawn.append(his(made.sample(len(table), seed=1)))
    assert drawn[0] > 100
    assert drawn[1] < 25


def test_states_of_few_units_are_those_of_which_one_has_a_large_share_however_rows_are_parted():
    rng = np.random.default_rng(0)
    owners = np.sort(rng.integers(12, size=200))
    states = [rng.dirichlet(np.full(6, 0.1), 200).astype(np.float32) for _ in range(2)]
    states[0][:, 0] = owners == 5  # his alone
    want = []
    for one in states:
        of_each = np.stack([one[owners == unit].sum(axis=0, dtype=np.float64) for unit in range(12)])
        want.append(of_each.max(axis=0) * 6 > of_each.sum(axis=0))
    assert want[0][0]
    assert not np.concatenate(want).all()
    for size in (1, 7, 200):
        parts = [(owners[i : i + size], [one[i : i + size] for one in states]) for i in range(0, 200, size)]
        assert_array_equal(few_states(parts, least=6), want)


def test_no_unit_has_more_rows_that_count_than_each_of_so_many_and_they_are_spread():
    rng = np.random.default_rng(0)
    sizes = np.array([200, 40, 1, 12, 9, 9, 3])
    owners = rng.permutation(np.repeat(np.arange(7), sizes))
    for least, most in ((1, 200), (2, 40), (3, 12), (5, 9), (7, 1), (9, 1)):
        counts = evened_out(owners, least=least)
        assert_array_equal(np.bincount(owners[counts]), np.minimum(sizes, most))
        kept = np.flatnonzero(counts[owners == 0])
        assert np.diff(np.concatenate([[-1], kept, [200]])).max() <= 2 * 200 / most
        assert evened_out(owners[counts], least=least).all()
    assert evened_out(np.zeros(0, np.int64), least=3).all()


def test_it_is_told_that_a_network_does_not_learn_from_many_rows(caplog):
    ordinary = np.repeat(np.arange(20), 5)
    assert evened_rows(np.append(ordinary, np.full(15, 20)), least=10).sum() == 105
    assert not caplog.records  # a tenth at most
    assert evened_rows(np.append(ordinary, np.full(60, 20)), least=10).sum() == 105
    (told,) = caplog.messages
    assert told.startswith("34 % of the rows are not learnt from")
    assert "unit is null" in told


def journeys(whose):
    """Return towns by person; 30 are now and then in 8 or 9, and one goes back and forth between these 100 times."""
    rng = np.random.default_rng(0)
    usual = np.append(rng.integers(8, size=(60, 20)), np.full((60, 1), 0), axis=1)
    for person in range(15):
        usual[person, [4, 12]], usual[person + 15, [4, 12]] = 8, 9
    town = np.append(usual.ravel(), np.tile([8, 9], 100))
    who = np.append(np.repeat(np.arange(60), 21), np.full(200, 60))
    columns = {
        "who": Numeric(dtype="int64", low=0, high=60, places=0),
        "town": Categorical(categories=tuple(f"t{one}" for one in range(10))),
    }
    table = pd.DataFrame({"who": who, "town": np.array([f"t{one}" for one in town])})
    return Dataset({TABLE: table}, Schema({TABLE: columns}, unit=Unit(TABLE, ("who",), 200) if whose else None))


def test_a_chain_takes_no_past_that_one_person_has():
    laws = {}
    for whose in (False, True):
        chain = Markov(group="who", order=2).fit(
            journeys(whose), rng=np.random.default_rng(0), ledger=Ledger(), run=Run()
        )
        laws[whose] = chain.links[0].table  # by the town before, the one before that, the next
    assert laws[False][8, 9, 9] > 0.95
    assert_array_equal(laws[True][8, 9], laws[True][8, 8])  # nobody has been there twice: both are as after any 8
    # Of the 130 rows after an 8 his are 100, and 15 others' are 30; of those that count his are 3 of 33.
    assert laws[True][8, 9, 9] < 0.2


@pytest.mark.parametrize(
    ("generator", "option", "states"),
    [
        ("circuit", "min_state_rows", lambda made: len(made.law.root)),
        ("mixture", "min_component_rows", lambda made: len(made.share)),
    ],
)
@pytest.mark.parametrize("whose", [False, True])
def test_hidden_states_are_as_many_as_persons_bear_out(generator, option, states, whose):
    recipe = make(f"tabular.{generator}", {option: 10})
    made = recipe.fit(journeys(whose), rng=np.random.default_rng(0), ledger=Ledger(), run=Run())
    assert (states(made) <= 6) == whose  # of 61 persons, who have 1,460 rows


def test_a_network_takes_no_line_of_a_table_that_one_person_has():
    above = np.repeat([0, 1, 1], [30, 20, 40])  # one row each of 50 persons, and 40 more of a person
    below = np.repeat([0, 1, 2], [30, 20, 40])
    owners = np.append(np.arange(50), np.full(40, 50))
    alone = np.append(above, np.full(25, 2)), np.append(below, np.full(25, 2)), np.append(owners, np.full(25, 50))
    plan, masses = [(0, ()), (1, (0,))], [np.full(3, 1 / 3), np.array([0.5, 0.3, 0.2])]
    by_rows, by_persons = (
        nodes(plan, alone[:2], masses, prior=0.5, owners=whose, least=10) for whose in (None, alone[2])
    )
    assert_array_equal(by_rows[0].table, by_persons[0].table)
    assert_allclose(by_rows[1].table[2, 2], (25 + 0.1) / 25.5)
    assert_allclose(by_persons[1].table[2], masses[1])
    assert_allclose(by_rows[1].table[1, 2], (40 + 0.1) / 60.5)
    assert_allclose(by_persons[1].table[1, 2], (2 + 0.1) / 22.5)  # 2 of 22 rows is one in ten at most, 3 of 23 is not


def test_a_network_is_told_whose_each_row_is(monkeypatch):
    told = []

    def noted(*args, owners, least, **options):
        told.append((owners, least))
        return nodes(*args, owners=owners, least=least, **options)

    monkeypatch.setattr("synth_components.generators.tabular._junction.nodes", noted)
    for whose in (False, True):
        recipe = make("tabular.bayesian_network", {"min_category_count": 9})
        recipe.fit(journeys(whose), rng=np.random.default_rng(0), ledger=Ledger(), run=Run())
    assert told[0] == (None, 9)
    assert_array_equal(told[1][0], journeys(True).table["who"])
    assert told[1][1] == 9
