"""A schema read off rows under differential privacy: neighbours give the same one, and a leak is caught."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from audit import mu_at_least, mu_of_pure, upper_rate
from scipy.stats import norm

import synth_components as synth
from synth_components.config import ConfigError
from synth_components.errors import BudgetExceededError, SchemaError, SynthError, UnsupportedError
from synth_components.fitting import PROFILE_SHARE
from synth_components.privacy import domain, noise
from synth_components.privacy.accounting import rho_within
from synth_components.privacy.domain import private_schema
from synth_components.privacy.ledger import ORDERS, Ledger
from synth_components.protocols import Budget
from synth_components.schema import TABLE, Boolean, Categorical, Datetime, Numeric, Schema, Text
from synth_components.steps.train import TrainConfig, train

pytest.importorskip("opendp", reason="the extra dp is not installed")

BUDGET = Budget(4.0, 1e-4)


def table(rows=4_000):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, size=rows),
            "pay": rng.gamma(2.0, 900.0, size=rows),
            "city": rng.choice(["north", "south", "east"], size=rows),
            "note": [f"text of row {i}" for i in range(rows)],
            "member": rng.random(rows) < 0.4,
            "since": pd.Timestamp("2011-03-01") + pd.to_timedelta(rng.integers(0, 3_000, size=rows), unit="D"),
        }
    )


def schema_of(rows, budget=BUDGET, mechanism="laplace"):
    return private_schema(rows, budget, Ledger(budget), mechanism=mechanism)


of_each_mechanism = pytest.mark.parametrize("mechanism", ["gaussian", "laplace"])


@pytest.fixture
def certain(monkeypatch):
    """Have noise move an end of a column in one of a billion readings; as users have it, in one of a hundred."""
    monkeypatch.setattr(domain, "_RELIABLE", 1e-9)


@pytest.mark.usefixtures("certain")
@of_each_mechanism
def test_bounds_and_categories_are_those_that_many_rows_share(mechanism):
    columns = schema_of(table(), mechanism=mechanism).columns
    assert columns["age"] == Numeric(dtype="int64", low=16, high=128, places=0, public=True)
    assert columns["city"] == Categorical(
        dtype="object", categories=("east", "north", "south"), nullable=True, public=True
    )
    assert columns["note"] == Text(dtype="object", nullable=True, public=True)
    assert columns["member"] == Boolean(public=True)
    assert isinstance(columns["since"], Datetime)
    assert (columns["since"].low, columns["since"].high) == ("2011-01-01", "2020-01-01")
    assert isinstance(columns["pay"], Numeric)
    assert columns["pay"].high in {4096.0, 8192.0, 16384.0}


STRANGE = {
    "a unique category": {"city": "nowhere else"},
    "an extreme": {"age": 10**9, "pay": 1e12},
    "a null": {"city": None, "pay": np.nan, "since": pd.NaT},
    "a time of another century": {"since": pd.Timestamp("2090-01-01")},
}


def moved_by(what, mechanism):
    """Return the columns that one strange row more gives another schema: of any, in three readings."""
    rows = table().drop(columns="note")
    # Far from an end that noise could move.
    rows["pay"] = np.random.default_rng(1).uniform(1_100, 2_000, size=len(rows))
    row = rows.iloc[[0]].assign(**{name: [value] for name, value in STRANGE[what].items()}).astype(rows.dtypes)
    more = pd.concat([rows, row], ignore_index=True)
    moved = set()
    for _ in range(3):  # the noise of every reading is fresh
        ours, theirs = (schema_of(one, mechanism=mechanism).columns for one in (rows, more))
        moved |= {name for name in rows.columns if ours[name] != theirs[name]}
    return moved


@pytest.mark.usefixtures("certain")
@of_each_mechanism
@pytest.mark.parametrize("what", STRANGE, ids=str)
def test_one_strange_row_more_leaves_the_schema_as_it_is(what, mechanism):
    assert moved_by(what, mechanism) == set()


@of_each_mechanism
@pytest.mark.parametrize("what", STRANGE, ids=str)
def test_bounds_and_categories_without_noise_are_caught(what, mechanism, monkeypatch):
    monkeypatch.setattr(domain, "_extent", lambda values, *_: (float(values.min()), float(values.max())))
    monkeypatch.setattr(domain, "kept_keys", lambda counts, **_: frozenset(counts))
    for kind in ("_categories", "_numbers", "_times"):
        monkeypatch.setattr(domain, kind, telling_of_nulls(getattr(domain, kind)))
    assert moved_by(what, mechanism) == set(STRANGE[what])


def telling_of_nulls(made):
    """Return what makes a column, but nullable only where a row holds a null."""
    return lambda values, *more: replace(made(values, *more), nullable=bool(values.isna().any()))


@of_each_mechanism
def test_noise_is_taken_for_an_end_as_seldom_as_is_said(mechanism):
    # Of 500 readings at most five are to be expected to be wrong, and 22 with a chance below 1e-7.
    ages, ends = np.full(4_000, 40.0), np.concatenate([-(2.0 ** np.arange(63))[::-1], [0.0], 2.0 ** np.arange(63)])
    paid = domain._Paid(mechanism, {"laplace": 0.8, "gaussian": 0.32}[mechanism], 0.0)
    found = [domain._extent(ages, ends, "age", paid) for _ in range(500)]
    assert sum(one != (32.0, 64.0) for one in found) < 22


@pytest.mark.parametrize("dtype", ["int8", "uint8", "Int8", "UInt16", "int64", "uint64"])
def test_bounds_of_whole_numbers_are_numbers_of_the_dtype(dtype):
    # The grid's ends around 100 to 127 are 64 and 128: a row drawn at 128 came back as -128.
    ends = np.iinfo(dtype.lower())
    values = np.full(4_000, ends.max, dtype=dtype.lower()) - (np.arange(4_000) % 20).astype(dtype.lower())
    column = schema_of(pd.DataFrame({"n": pd.Series(values).astype(dtype)})).columns["n"]
    assert ends.min <= column.low < column.high <= ends.max


def test_the_budget_is_charged_whole_and_before_a_row_is_read():
    ledger = Ledger(BUDGET)
    private_schema(table(), Budget(1.0, 1e-5), ledger)
    assert ledger.epsilon(BUDGET.delta) == pytest.approx(1.0, rel=0.2)
    assert ledger.epsilon(BUDGET.delta) <= 1.0
    poor = Ledger(Budget(0.01, 1e-5))
    with pytest.raises(BudgetExceededError):
        private_schema(_Unread(table(400)), Budget(1.0, 1e-5), poor)


def test_gaussian_noise_is_charged_as_the_rho_that_its_closed_form_gives():
    # An epsilon at delta has room for rho = (sqrt(log(1/delta) + epsilon) - sqrt(log(1/delta)))^2 of zCDP at least
    # (Bun & Steinke 2016, Proposition 1.3); at most for the mu^2 / 2 of the exact curve of the Gaussian mechanism
    # (Balle & Wang 2018, arXiv:1805.06530, Theorem 8).
    budget = Budget(1.0, 1e-5)
    ledger = Ledger(Budget(9.0, 1e-5))
    rows = table().drop(columns=["note", "city"])  # without texts
    private_schema(rows, budget, ledger, mechanism="gaussian")
    assert [entry.label for entry in ledger.entries] == [f"domain of column '{n}'" for n in ("age", "pay", "since")]
    curves = np.array([entry.rdp[:-1] for entry in ledger.entries])
    rhos = curves / ORDERS[:-1]  # zCDP: rho times the order
    assert np.ptp(rhos) < 1e-12
    rho = float(rhos[:, 0].sum())
    log = np.log(1 / budget.delta)
    assert rho >= (np.sqrt(log + budget.epsilon) - np.sqrt(log)) ** 2
    mu = np.sqrt(2 * rho)
    exact = norm.cdf(mu / 2 - budget.epsilon / mu) - np.exp(budget.epsilon) * norm.cdf(-mu / 2 - budget.epsilon / mu)
    assert 0 < exact <= budget.delta
    assert ledger.epsilon(budget.delta) == pytest.approx(budget.epsilon, rel=1e-6)


def test_gaussian_noise_leaves_a_part_of_delta_to_texts_and_keeps_both():
    ledger = Ledger(Budget(9.0, 1e-5))
    private_schema(table(), Budget(1.0, 1e-5), ledger, mechanism="gaussian")
    assert {entry.delta for entry in ledger.entries} == {0.0, domain.SINGLE}
    assert 0.99 < ledger.epsilon(1e-5) <= 1.0 * (1 + 1e-9)
    # At a delta of a trillionth, a half is the texts' own.
    tiny = Ledger(Budget(9.0, 1e-12))
    private_schema(table(), Budget(5.0, 1e-12), tiny, mechanism="gaussian")
    assert sum(entry.delta for entry in tiny.entries) == pytest.approx(5e-13)
    assert tiny.epsilon(1e-12) <= 5.0 * (1 + 1e-9)


@pytest.mark.usefixtures("certain")
def test_of_many_columns_gaussian_noise_finds_bounds_that_laplace_noise_drowns():
    rows = pd.DataFrame({f"n{i}": np.full(700, 40.0) for i in range(60)})
    budget = Budget(1.0, 1e-5)
    found = schema_of(rows, budget, "gaussian").columns
    assert {(one.low, one.high) for one in found.values()} == {(32.0, 64.0)}
    with pytest.raises(SchemaError, match="no bounds that enough rows share"):
        schema_of(rows, budget, "laplace")


def test_gaussian_noise_without_delta_is_refused():
    with pytest.raises(UnsupportedError, match="needs delta above 0"):
        schema_of(table()[["age"]], Budget(1.0), "gaussian")


@pytest.mark.parametrize("known", [{}, {"epsilon": 1.0, "schema": Schema({TABLE: {"x": Boolean(public=True)}})}])
def test_a_mechanism_that_nothing_would_use_is_refused(known):
    rows = pd.DataFrame({"x": [True, False] * 20})
    with pytest.raises(SynthError, match="profile_mechanism"):
        synth.fit(rows, generator="tabular.mst", profile_mechanism="gaussian", **known)
    with pytest.raises(SynthError, match="profile_mechanism must be one of gaussian, laplace"):
        synth.fit(rows, generator="tabular.mst", epsilon=1.0, profile_mechanism="cauchy")


def test_training_hears_of_the_mechanism_and_refuses_it_without_a_budget(tmp_path):
    table()[["age", "member"]].to_parquet(tmp_path / "rows.parquet")
    asked = {"generator": "tabular.mst", "privacy": "dp", "epsilon": 5.0, "delta": 1e-4, "units": 4_000}
    config = TrainConfig.parse({**asked, "profile_mechanism": "gaussian"})
    train(config, data=tmp_path / "rows.parquet", model=tmp_path / "model")
    (entry,) = [one for one in synth.load(tmp_path / "model").ledger.entries if one.label == "domain of column 'age'"]
    assert np.isinf(entry.rdp[-1])  # no pure epsilon: Gaussian noise
    with pytest.raises(ConfigError, match="profile_mechanism is kept only with privacy=dp"):
        TrainConfig.parse({"profile_mechanism": "gaussian"})


class _Unread(pd.DataFrame):
    """A table that lets its dtypes be read, and no value."""

    def __getitem__(self, key):
        raise AssertionError("a row was read before it was paid for")


def test_a_fit_without_schema_spends_a_tenth_on_one_and_says_so(caplog):
    caplog.set_level("WARNING")
    model = synth.fit(table(), generator="tabular.mst", epsilon=5.0, delta=1e-4, options={"iterations": 20})
    assert "public schema saves" in caplog.text
    assert model.privacy.epsilon <= 5.0
    assert 0 < model.manifest.privacy.profile_epsilon <= PROFILE_SHARE * 5.0
    assert list(model.sample(10, seed=0).columns) == list(table().columns)


def test_texts_without_delta_are_refused():
    with pytest.raises(UnsupportedError, match="column 'city' needs delta"):
        schema_of(table()[["city"]], Budget(1.0))


@pytest.mark.usefixtures("certain")
def test_a_budget_too_small_to_find_bounds_is_refused_by_name():
    with pytest.raises(SchemaError, match="column 'age' has no bounds"):
        schema_of(table(100)[["age"]], Budget(0.01, 1e-5))


def test_of_texts_that_are_all_different_none_is_kept_however_large_delta_is():
    # 20,000 texts of one row each: at this delta a threshold that only delta sets would keep some 200 of them.
    rows = pd.DataFrame({"note": [f"text {i}" for i in range(20_000)]})
    assert schema_of(rows, Budget(1.0, 1e-2)).columns["note"] == Text(dtype="object", nullable=True, public=True)


def test_no_value_of_one_row_stands_in_the_schema():
    rows = table()
    rows.loc[0, "city"] = "CANARY"
    assert TABLE in schema_of(rows).tables
    assert "CANARY" not in schema_of(rows).canonical()


# The audit of whole profiles, of which nothing is looked at but the schema: a table of a number, a text and a time, and
# the same with one row more, with which each of them is as many as pass if noise is at least 0.  That two of the three
# show in the schema is taken for a sign of the row.  Gaussian counts of rho are mu-GDP with mu^2 = 2 rho, those of a
# pure epsilon what `audit.mu_of_pure` says; the delta of texts, 1e-12, is less than anything here.

AUDITED = {"gaussian": Budget(8.0, 1e-2), "laplace": Budget(3.0, 1e-2)}
PROFILES = 200
SURE = 1 - 1e-4


def threshold_of(paid):
    """Return the least noisy count with which a text is kept."""
    seen = []
    measurements = noise._opendp().measurements
    honest = measurements.make_noise_threshold

    def watched(*args, threshold, **given):
        seen.append(threshold)
        return honest(*args, threshold=threshold, **given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurements, "make_noise_threshold", watched)
        domain.kept_keys({"text": 1}, amount=paid.amount, delta=paid.delta, mechanism=paid.mechanism)
    return seen[-1]


def tables_of_an_audit(mechanism):
    """Return the table with the row and the one without it."""
    paid = domain._paid(AUDITED[mechanism], 3, 1, mechanism)
    passes = {  # of whole numbers, and of years, so many cells
        "number": int(paid.enough(126)) + 1,
        "text": threshold_of(paid),
        "time": int(paid.enough(200)) + 1,
    }
    place = np.arange(400)
    rare = {name: place < count for name, count in passes.items()}
    times = np.where(rare["time"], np.datetime64("2015-05-05", "s"), np.datetime64("2010-05-05", "s"))
    more = pd.DataFrame(
        {
            "number": np.where(rare["number"], 100, 40),
            "text": np.where(rare["text"], "rare", "common").astype(object),
            "time": times,
        }
    )
    return more, more.iloc[1:].reset_index(drop=True)


def shows(rows, mechanism):
    """Return whether a profile shows the row."""
    columns = schema_of(rows, AUDITED[mechanism], mechanism).columns
    signs = [columns["number"].high >= 128, "rare" in columns["text"].categories, columns["time"].high >= "2016"]
    return sum(signs) >= 2


def audited(mechanism, profiles=PROFILES):
    """Return a lower bound on mu, and what is claimed."""
    sides = [[shows(rows, mechanism) for _ in range(profiles)] for rows in tables_of_an_audit(mechanism)]
    budget = AUDITED[mechanism]
    if mechanism == "gaussian":
        claim = float(np.sqrt(2 * rho_within(Budget(budget.epsilon, budget.delta - domain.SINGLE))))
    else:
        claim = mu_of_pure([budget.epsilon / 3] * 3, upper_rate(sum(sides[1]), profiles, SURE))
    return mu_at_least(*sides, confidence=SURE), claim


@pytest.mark.slow
@of_each_mechanism
def test_profiles_with_and_without_a_row_are_no_easier_to_tell_apart_than_claimed(mechanism):
    bound, claim = audited(mechanism)
    assert bound <= claim


def half_the_noise(patch):
    honest = noise._scale
    patch.setattr(noise, "_scale", lambda *args: honest(*args) / 2)


@pytest.mark.slow
@of_each_mechanism
def test_a_profile_with_half_the_noise_is_caught(mechanism, monkeypatch):
    half_the_noise(monkeypatch)
    bound, claim = audited(mechanism)
    assert bound > claim
