"""What is kept of the rows has the support of privacy units, where the schema says whose each row is."""

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.schema import TABLE, Categorical, Key, Numeric, Schema, Unit

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
