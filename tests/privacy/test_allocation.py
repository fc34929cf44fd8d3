"""Parts of a budget: scaled to the ledger's own total, charged before a row is read, spent to no more than that."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from synth_components import generators
from synth_components.errors import BudgetExceededError, UnitError
from synth_components.generators.tabular import _private
from synth_components.generators.tabular._private import PrivateTraining, begun
from synth_components.generators.tabular.ensemble import Ensemble
from synth_components.generators.tabular.hybrid import Hybrid
from synth_components.privacy import allocation, noise
from synth_components.privacy.accounting import pure, rho_within, zero_concentrated
from synth_components.privacy.allocation import Paid, Quote, allocated
from synth_components.privacy.budget_file import BudgetFile
from synth_components.privacy.ledger import NOTHING, Ledger, Room
from synth_components.privacy.share import Share
from synth_components.protocols import Budget, Dataset, Run
from synth_components.schema import TABLE, Categorical, Numeric, Schema, Unit
from synth_components.testing import _Watched
from synth_components.toy import toy_table

BUDGET = Budget(1.0, 1e-6)
MST, AIM, QUICK = "tabular.mst", "tabular.aim", {"iterations": 10, "bins": 4}
PURE = {**QUICK, "mechanism": "laplace"}
PAIR = {"generators": (MST, MST), "options": (QUICK, QUICK), "weights": (1, 1)}


def ensemble(*options, generators=(MST, MST)):
    return Ensemble(generators=generators, options=options, weights=(1,) * len(generators))


def hybrid(**options):
    return Hybrid(first=MST, first_options=QUICK, second=MST, second_options=QUICK, columns=("employed",), **options)


def spent_of(recipe, *, ledger=None, on_read=lambda ledger: None, rows=300):
    """Return the ledger after a fit, which tells ``on_read`` of every look at rows, and made a model."""
    data, ledger = toy_table(0, rows=rows), ledger or Ledger(BUDGET)
    watched = replace(data, tables=_Watched(data.tables, partial(on_read, ledger)))
    sampler = recipe.fit(watched, rng=np.random.default_rng(0), ledger=ledger, run=Run())
    assert len(sampler.sample(3, rng=np.random.default_rng(0)).table) == 3
    return ledger


def summed(ledger):
    return sum(Ledger(None, [entry]).epsilon(BUDGET.delta) for entry in ledger.entries)


GAUSSIAN = {
    "two": ensemble(QUICK, QUICK),
    "aim and nested": ensemble(PAIR, QUICK, generators=("tabular.ensemble", AIM)),
    "stages": hybrid(),
    "unlike stages": hybrid(budget_share=0.2),
    "one that charges nothing": ensemble(QUICK, generators=(MST, "tabular.specified")),
}
MIXED = {"mixed": ensemble(QUICK, PURE), "pure": ensemble(PURE, PURE)}


@pytest.mark.parametrize("recipe", [*GAUSSIAN.values(), *MIXED.values()], ids=[*GAUSSIAN, *MIXED])
def test_members_spend_all_of_a_budget_together_and_no_more_and_have_paid_before_a_row_is_read(recipe):
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    on_read = []
    ledger = spent_of(recipe, on_read=lambda ledger: on_read.append(ledger.entries))
    assert 0.98 * BUDGET.epsilon <= ledger.epsilon(BUDGET.delta) <= BUDGET.epsilon
    assert on_read
    assert {entries == ledger.entries for entries in on_read} == {True}
    if recipe in (GAUSSIAN["two"], GAUSSIAN["stages"]):
        assert [entry.label for entry in ledger.entries] == ["fit tabular.mst"] * 2
        assert summed(ledger) > 1.35 * BUDGET.epsilon  # parts that sum to the whole would leave a third of it


@pytest.mark.parametrize("second", [MST, AIM])
def test_what_a_first_stage_draws_by_noise_its_second_can_be_drawn_with(second, caplog):
    """Ten columns of eight categories: hardly a combination of the first is among 262,144 rows of the second."""
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    rng = np.random.default_rng(0)
    kinds = {name: Categorical(dtype="int64", categories=tuple(range(8)), public=True) for name in "abcdefghij"}
    table = pd.DataFrame({name: rng.integers(0, 2, size=60) for name in [*kinds, "x"]})
    data = Dataset(
        {TABLE: table}, Schema({TABLE: {**kinds, "x": Numeric(dtype="int64", low=0, high=1, places=0, public=True)}})
    )
    options = {"rounds": 1, "iterations": 10} if second == AIM else QUICK
    recipe = Hybrid(first=MST, first_options=QUICK, second=second, second_options=options)
    ledger = Ledger(BUDGET)
    sampler = recipe.fit(data, rng=rng, ledger=ledger, run=Run())
    drawn = sampler.sample(200, rng=rng).table
    assert drawn["x"].isin([0, 1]).all()
    assert len(drawn[list(kinds)].drop_duplicates()) > 190  # of 60 rows
    assert not caplog.text  # by the law that was learnt, not by the nearest rows


def of_networks(data, *, rng, ledger, run):
    """Charge what a network under DP-SGD is charged."""
    begun("fit networks", data, options=PrivateTraining(private_steps=20), ledger=ledger, run=run)


ALONE = {
    "mst": generators.make(MST, QUICK).fit,
    "aim": generators.make(AIM, {}).fit,
    "private trees": generators.make("tabular.private_trees", {}).fit,
    "networks": of_networks,
}
BEFORE = {"pure": pure(0.1), "gaussian": zero_concentrated(rho_within(Budget(0.1, BUDGET.delta)))}


def charged(fit, before, path, total=BUDGET):
    """Return a ledger, and its budget file, that were charged for something before, and then for a fit that reads."""
    shared = BudgetFile.create(path, total, name="toy")
    ledger = Ledger(BUDGET, account=shared, unit="a row")
    ledger.spend("before", before)
    data = Dataset(allocation._Unread(), toy_table(0).schema)
    with pytest.raises(allocation._Looked):  # charged, and then read
        fit(data, rng=np.random.default_rng(0), ledger=ledger, run=Run())
    return ledger, shared


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
@pytest.mark.parametrize("fit", ALONE.values(), ids=ALONE)
def test_one_generator_spends_all_that_charges_before_it_leave_and_no_more(fit, before, tmp_path):
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    ledger, shared = charged(fit, before, tmp_path / "budget")
    assert len(ledger.entries) == 2
    # Calibrated to the rest of epsilon it would be .91 beside Gaussian noise.
    assert 0.999 <= ledger.epsilon(BUDGET.delta) <= BUDGET.epsilon
    assert shared.read().ledger.entries == ledger.entries


@pytest.mark.parametrize("fit", ALONE.values(), ids=ALONE)
def test_a_generator_that_passes_over_charges_before_it_or_a_budget_file_is_refused_before_it_reads(
    fit, tmp_path, monkeypatch
):
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    with pytest.raises(BudgetExceededError, match=r"asks for more than is left.* nothing was read"):
        charged(fit, BEFORE["gaussian"], tmp_path / "small", Budget(0.99, BUDGET.delta))
    for module in (noise, _private):
        monkeypatch.setattr(module, "room_of", lambda ledger: Room(ledger.budget, NOTHING))
    with pytest.raises(BudgetExceededError, match=r"would bring epsilon to 1\.0.* nothing was read"):
        charged(fit, BEFORE["gaussian"], tmp_path / "whole")
    for name in ("small", "whole"):
        assert [entry.label for entry in BudgetFile(tmp_path / name).read().ledger.entries] == ["before"]


def test_what_was_spent_before_counts_and_pure_members_add_up_where_there_is_no_delta():
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    ledger = Ledger(BUDGET, unit="a row")
    ledger.spend("earlier", pure(0.3))
    assert 0.98 <= spent_of(ensemble(QUICK, QUICK), ledger=ledger).epsilon(BUDGET.delta) <= 1.0
    ledger = spent_of(ensemble(PURE, PURE), ledger=Ledger(Budget(1.0)))
    assert [entry.rdp[-1] for entry in ledger.entries] == [0.5, 0.5]


@pytest.mark.parametrize("recipe", [GAUSSIAN["two"], GAUSSIAN["stages"], *MIXED.values()])
def test_parts_that_are_a_twentieth_larger_are_refused_before_a_row_is_read(recipe, monkeypatch):
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    honest = allocation._scaled

    def larger(accountant, fits, parts, left, run):
        found = honest(accountant, fits, parts, left, run)
        parts = [Budget(1.05 * quote.budget.epsilon, quote.budget.delta) for quote in found]
        return [allocation.quoted(*fit, part, run) for fit, part in zip(fits, parts, strict=True)]

    def on_read(ledger):
        raise AssertionError("a row was read")

    monkeypatch.setattr(allocation, "_scaled", larger)
    ledger = Ledger(BUDGET)
    with pytest.raises(BudgetExceededError, match=r"'fit tabular.mst, fit tabular.mst' would bring epsilon to 1\.0"):
        spent_of(recipe, ledger=ledger, on_read=on_read)
    assert not ledger.entries


def test_a_budget_file_that_cannot_pay_for_all_members_is_charged_for_none(tmp_path):
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    shared = BudgetFile.create(tmp_path / "budget", Budget(0.9, 1e-6), name="toy")
    with pytest.raises(BudgetExceededError, match="asks for more than is left"):
        spent_of(GAUSSIAN["two"], ledger=Ledger(BUDGET, account=shared))
    assert not shared.read().ledger.entries
    with pytest.raises(UnitError):
        spent_of(GAUSSIAN["two"], ledger=Ledger(BUDGET, unit="any 3 rows"))


class Brought:
    """A generator of somebody else's: ``first`` of its part is charged before it looks at rows, ``then`` after."""

    def __init__(self, first, then, *, delta=0.0):
        self.first, self.then, self.delta = first, then, delta

    def fit(self, data, *, rng, ledger, run):
        part = ledger.remaining()
        ledger.spend("fit brought", pure(self.first * part.epsilon), delta=self.delta * part.delta)
        if len(data.table) and self.then:
            ledger.spend("fit brought", pure(self.then * part.epsilon))


def tried(recipe, *, parts=(0.5, 0.5), budget=BUDGET):
    """Return the ledger, and the purses, after fits of two of a recipe."""
    data, ledger = toy_table(0, rows=5), Ledger(budget)
    purses = allocated(ledger, [(recipe, data.schema)] * 2, parts, unit=None, run=Run())
    for purse in purses:
        recipe.fit(data, rng=np.random.default_rng(0), ledger=purse, run=Run())
    return ledger, purses


def test_deltas_of_members_add_up_to_no_more_than_the_whole():
    ledger, purses = tried(Brought(1.0, 0, delta=1.0), parts=(0.1, 0.9))
    assert [type(purse) for purse in purses] == [Paid, Paid]
    assert 0.98 <= ledger.epsilon(BUDGET.delta) <= 1.0


def test_a_member_that_reads_before_it_has_charged_all_gets_a_part_that_is_not_scaled():
    ledger, purses = tried(Brought(0.5, 0.5))
    assert [type(purse) for purse in purses] == [Share, Share]
    assert [purse.budget.epsilon for purse in purses] == [0.5, 0.5]
    assert [entry.rdp[-1] for entry in ledger.entries] == [0.25] * 4


def test_a_member_that_asks_for_more_than_was_paid_is_refused():
    with pytest.raises(BudgetExceededError, match="asks for more than it did before rows were read"):
        tried(Brought(0.995, 0.004))
    rho = rho_within(Budget(0.5, 1e-6))
    paid = Paid(Ledger(BUDGET), Budget(0.5, 1e-6), (allocation.Planned("counts", zero_concentrated(rho), 0.0),))
    paid.spend("some", zero_concentrated(rho / 2))
    with pytest.raises(BudgetExceededError):
        paid.spend("too much", zero_concentrated(rho * 0.6))
    with pytest.raises(BudgetExceededError):
        paid.spend("a delta that nobody paid", zero_concentrated(rho / 4), delta=1e-9)
    paid.spend("the rest", zero_concentrated(rho / 2))
    assert not paid.of.entries  # paid before


def test_a_member_that_a_part_is_too_small_for_gets_a_larger_one_and_else_nothing_is_charged():
    class Choosy(Brought):
        def fit(self, data, *, rng, ledger, run):
            if ledger.remaining().epsilon < self.least:
                raise BudgetExceededError("too small", requested=1.0, available=0.0)
            rho = rho_within(ledger.remaining())
            ledger.spend("fit choosy", zero_concentrated(rho))

    choosy = Choosy(1.0, 0)
    for choosy.least in (0.4, 0.6, 0.7):
        assert 0.98 <= tried(choosy)[0].epsilon(BUDGET.delta) <= 1.0
    choosy.least = 0.8
    with pytest.raises(BudgetExceededError, match="too small"):
        tried(choosy)


def test_a_quote_is_a_ledger_that_holds_a_fit_to_its_part_and_charges_nobody():
    quote = Quote(Budget(0.5, 1e-6))
    quote.spend("counts", pure(0.4))
    assert quote.epsilon(0.0) == 0.4
    assert quote.remaining().epsilon == pytest.approx(0.1)
    with pytest.raises(BudgetExceededError):
        quote.spend("more", pure(0.2))
    assert [one.label for one in quote.planned] == ["counts"]


def test_what_is_charged_depends_on_no_row():
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    one, other = (spent_of(GAUSSIAN["stages"], rows=rows) for rows in (5, 400))
    assert one.entries == other.entries


def test_a_unit_of_several_rows_is_that_of_every_members_charge():
    schema = toy_table(0).schema
    data = Dataset({TABLE: toy_table(0, rows=50).table}, replace(schema, unit=Unit(TABLE, (), 3)))
    recipe = generators.make(MST, QUICK)
    ledger = Ledger(BUDGET)
    allocated(ledger, [(recipe, data.schema)] * 2, (0.5, 0.5), unit=data.schema.unit, run=Run())
    assert {entry.unit for entry in ledger.entries} == {"any 3 rows"}
