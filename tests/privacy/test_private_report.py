"""The report under differential privacy: what it says, what it refuses, what it charges, and its audit with twins."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from audit import mu_at_least

import synth_components as synth
from synth_components.__main__ import main
from synth_components.config import ConfigError
from synth_components.errors import BudgetExceededError, DataError, DeltaError, SchemaError, UnsupportedError
from synth_components.evaluation import EvaluateConfig, FidelityConfig, Report, evaluate, private
from synth_components.evaluation.judged import digest_of
from synth_components.io.artifact import reasons_of
from synth_components.privacy import noise
from synth_components.privacy.accounting import rho_within
from synth_components.privacy.budget_file import BudgetFile
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Budget, Dataset
from synth_components.schema import TABLE, Categorical, Numeric, Schema, Unit

pytest.importorskip("opendp", reason="the extra dp is not installed")

SCHEMA = Schema(
    {
        TABLE: {
            "x": Numeric(dtype="float64", low=0.0, high=1.0, public=True),
            "y": Categorical(categories=("no", "yes"), public=True),
            "z": Categorical(categories=("u", "v", "w"), public=True),
        }
    }
)


def rows(n, seed, *, is_alike=True):
    rng = np.random.default_rng(seed)
    x = rng.beta(2, 3 if is_alike else 1, size=n)
    is_yes = rng.random(n) < (x if is_alike else 0.5)
    return pd.DataFrame({"x": x, "y": np.where(is_yes, "yes", "no"), "z": rng.choice(list("uvw"), size=n)})


HOLDOUT, ALIKE, OTHER = rows(4_000, 0), rows(4_000, 1), rows(4_000, 2, is_alike=False)


def judged(synthetic, *, holdout=HOLDOUT, schema=SCHEMA, ledger=None, **options):
    config = EvaluateConfig.parse({"privacy": "dp", "epsilon": 2.0, "replicates": 20, **options})
    return evaluate(rows(50, 9), holdout, synthetic, schema=schema, config=config, ledger=ledger)


@pytest.mark.parametrize("mechanism", ["gaussian", "laplace"])
def test_rows_that_are_alike_reach_their_floor_and_others_do_not(mechanism):
    alike, other = (judged(one, target="y", mechanism=mechanism) for one in (ALIKE, OTHER))
    for name in ("fidelity.private.shape", "fidelity.private.pairs"):
        score = next(s for s in alike.scores if s.name == name and not s.subject)
        assert score.value == pytest.approx(score.floor, abs=0.03)
        assert other.value(name) < alike.value(name) - 0.05
    # The learner of alike rows knows what x says of y: the best possible AUC is about .71.
    assert alike.value("utility.private.tstr.auc", "y") == pytest.approx(0.71, abs=0.06)
    assert other.value("utility.private.tstr.auc", "y") == pytest.approx(0.5, abs=0.06)


def test_scores_are_near_those_without_noise_and_within_their_intervals():
    exact = judged(OTHER, target="y", epsilon=1e5)
    noisy = judged(OTHER, target="y", epsilon=1.0)
    for one in noisy.scores:
        assert one.interval[0] <= one.value <= one.interval[1]
        if len(one.subject) < 2:
            assert exact.value(one.name, *one.subject) == pytest.approx(one.value, abs=0.1)


def test_a_report_without_noise_agrees_with_a_plain_count():
    found = judged(OTHER, epsilon=1e6).value("fidelity.private.shape", "y")
    shares = [(side["y"] == "yes").mean() for side in (HOLDOUT, OTHER)]
    # Corrected for sampling, which at 4,000 rows moves a share by less than .03.
    assert found == pytest.approx(1 - abs(shares[0] - shares[1]), abs=0.03)


def test_the_report_holds_no_time_and_no_memory_which_tell_how_many_rows_there_are():
    found = judged(ALIKE)
    assert found.to_json()["costs"] == []
    assert "MiB" not in found.to_markdown()


def test_the_step_leaves_out_what_the_fit_and_the_draw_took_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, table in (("train", rows(50, 9)), ("holdout", HOLDOUT), ("drawn", ALIKE)):
        table.to_csv(f"{name}.csv", index=False)
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA.to_json()))
    (tmp_path / "drawn.csv.run.json").write_text(json.dumps({"step": "sample", "seconds": 1, "peak_mib": 9}))
    said = ["--train", "train.csv", "--holdout", "holdout.csv", "--synthetic", "drawn.csv", "--schema", "schema.json"]
    assert main(["evaluate", *said, "--privacy", "dp", "--epsilon", "2", "--report", "report.json"]) == 0
    assert json.loads((tmp_path / "report.json").read_text())["costs"] == []
    assert main(["evaluate-fidelity", *said, "--report", "report.json"]) == 0
    assert json.loads((tmp_path / "report.json").read_text())["costs"][0]["stage"] == "sample"  # what was left out


def test_the_report_of_the_step_has_no_exact_field_that_a_row_more_or_less_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ALIKE.to_csv("drawn.csv", index=False)
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA.to_json()))
    said = ["--synthetic", "drawn.csv", "--schema", "schema.json", "--privacy", "dp", "--epsilon", "2", "--quiet"]
    config = EvaluateConfig(privacy="dp", epsilon=2.0, replicates=10)
    said += ["--replicates", "10"]
    found = {}
    for side, table in (("all", rows(157, 9)), ("fewer", rows(157, 9).iloc[:-1])):
        table.to_csv("train.csv", index=False)
        (HOLDOUT if side == "all" else HOLDOUT.iloc[:-1]).to_csv("holdout.csv", index=False)
        model = synth.fit(table, generator="tabular.independent", schema=SCHEMA, seed=0)
        reasons = [f"{len(table)} rows are too few to race on"]  # as tabular.auto tells
        choice = {"generator": "tabular.independent", "options": {}, "reasons": reasons}
        model = replace(model, manifest=model.manifest.model_copy(update={"choice": choice}))
        model.save(tmp_path / side)
        assert reasons[0] in reasons_of(tmp_path / side)[0]
        places = ["--train", "train.csv", "--holdout", "holdout.csv", "--model", side]
        assert main(["evaluate", *said, *places, "--report", "report.json", "--page", "page.html"]) == 0
        held = json.loads((tmp_path / "report.json").read_text())
        found[side] = exact(held)
        assert held["judged"] == {"model": "", "rows": digest_of(ALIKE)}
        assert model.fingerprint[:12] not in (tmp_path / "page.html").read_text()
        assert evaluate(table, HOLDOUT, ALIKE, schema=SCHEMA, config=config, model=model).judged.model == ""
    assert found["all"] == found["fewer"]


def exact(told):
    """Return a report as JSON without what is made of noisy counts."""
    noisy = ("value", "interval", "deviation", "floor")
    scores = [{name: part for name, part in one.items() if name not in noisy} for one in told["scores"]]
    return {**told, "scores": scores, "values": sorted(told["values"]), "rows": {**told["rows"], "real": 0}}


def test_a_model_with_an_epsilon_is_named_for_differential_privacy_made_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = synth.fit(rows(157, 9), generator="tabular.independent", schema=SCHEMA, seed=0)
    stated = model.manifest.privacy.model_copy(update={"epsilon": 0.5, "delta": 1e-6})
    model = replace(model, manifest=model.manifest.model_copy(update={"privacy": stated}))
    config = EvaluateConfig(privacy="dp", epsilon=2.0, replicates=10)
    assert evaluate(None, HOLDOUT, ALIKE, schema=SCHEMA, config=config, model=model).judged.model == model.fingerprint
    model.save(tmp_path / "model")
    HOLDOUT.to_csv("holdout.csv", index=False)
    ALIKE.to_csv("drawn.csv", index=False)
    places = ["--train", "holdout.csv", "--holdout", "holdout.csv", "--synthetic", "drawn.csv", "--model", "model"]
    said = ["--privacy", "dp", "--epsilon", "2", "--replicates", "10", "--quiet"]
    assert main(["evaluate", *places, *said, "--report", "report.json"]) == 0
    assert json.loads((tmp_path / "report.json").read_text())["judged"]["model"] == model.fingerprint


def test_the_report_says_first_what_it_costs():
    told = judged(ALIKE).to_markdown().splitlines()
    assert told[2].startswith("> This report is itself a release of the holdout: it costs epsilon 2 at delta 1e-06")
    page = judged(ALIKE, mechanism="laplace").to_html()
    assert page.index("it costs epsilon 2, by laplace noise") < page.index("How good is this synthetic data?")


def test_an_ordinary_report_says_first_that_it_lies_outside_every_epsilon():
    config = FidelityConfig(replicates=10, detector_rows=50, manifold_rows=50)
    small = [side.head(200) for side in (HOLDOUT, HOLDOUT, ALIKE)]
    told = evaluate(*small, schema=SCHEMA, config=config).to_markdown().splitlines()
    assert told[2].startswith("> This evaluation reads real rows without differential privacy")


def test_the_report_comes_back_from_json():
    found = judged(ALIKE, target="y")
    assert Report.from_json(found.to_json()).to_json() == found.to_json()


@pytest.mark.parametrize("mechanism", ["gaussian", "laplace"])
def test_the_ledger_is_charged_what_was_asked_for(mechanism):
    ledger = Ledger(Budget(5.0, 1e-6))
    judged(ALIKE, ledger=ledger, mechanism=mechanism)
    assert 1.99 < ledger.epsilon(1e-6 if mechanism == "gaussian" else 0.0) <= 2.0
    assert [entry.covered for entry in ledger.entries] == [True]


def test_a_ledger_that_cannot_pay_is_asked_before_a_row_is_read():
    ledger = Ledger(Budget(1.0, 1e-6))
    with pytest.raises(BudgetExceededError):
        judged(ALIKE, holdout=pd.DataFrame(), ledger=ledger)
    assert not ledger.entries


class Watched(Mapping):
    """Tables that call ``on_read`` before anyone sees a row."""

    def __init__(self, on_read):
        self.on_read = on_read

    def __getitem__(self, name):
        self.on_read()
        return HOLDOUT

    def __iter__(self):
        return iter([TABLE])

    def __len__(self):
        return 1


@pytest.mark.parametrize("mechanism", ["gaussian", "laplace"])
def test_the_budget_file_is_charged_before_a_row_is_read(tmp_path, mechanism):
    shared = BudgetFile.create(tmp_path / "budget.json", Budget(2.5, 1e-6), name="rows")
    charged = []
    data = Dataset(Watched(lambda: charged.append(len(shared.read().ledger.entries))), SCHEMA)
    judged(ALIKE, holdout=data, ledger=Ledger(account=shared), mechanism=mechanism)
    assert set(charged) == {1}
    # Together they would cost 4 by Laplace noise, and 2.9 by Gaussian.
    closed = Dataset(Watched(lambda: pytest.fail("a row was read")), SCHEMA)
    with pytest.raises(BudgetExceededError):
        judged(ALIKE, holdout=closed, ledger=Ledger(account=shared), mechanism=mechanism)
    assert len(shared.read().ledger.entries) == 1


def test_a_budget_of_other_rows_is_not_charged(tmp_path):
    shared = BudgetFile.create(tmp_path / "budget.json", Budget(9.0, 1e-6), tables=[HOLDOUT])
    with pytest.raises(DataError, match="is for other rows"):
        judged(ALIKE, holdout=OTHER, ledger=Ledger(account=shared))
    assert shared.read().spent == 0
    judged(ALIKE, ledger=Ledger(account=shared))
    assert shared.read().spent > 0


def test_a_report_whose_delta_would_show_somebody_is_refused():
    # Of 4,000 rows, counted with noise of some ten.
    with pytest.raises(DeltaError, match="must be below 1 over the number"):
        judged(ALIKE, delta=1e-3)
    judged(ALIKE, delta=1e-4)
    judged(ALIKE, delta=1e-3, mechanism="laplace")  # promises no delta
    judged(ALIKE, delta=1e-3, holdout=HOLDOUT.iloc[:400])
    judged(ALIKE, delta=1e-3, schema=replace(SCHEMA, unit=Unit(TABLE, max_rows=8)))  # of 500 units, or more


def test_a_delta_above_that_of_units_that_are_known_is_refused_before_a_row_is_read(tmp_path):
    shared = BudgetFile.create(tmp_path / "budget.json", Budget(3.0, 1e-6), name="rows", units=5_000)
    closed = Dataset(Watched(lambda: pytest.fail("a row was read")), SCHEMA)
    with pytest.raises(DeltaError, match="5,000"):
        judged(ALIKE, holdout=closed, ledger=Ledger(account=shared), delta=1e-3)
    assert not shared.read().ledger.entries


def test_measures_without_noise_are_refused_under_a_budget():
    with pytest.raises(UnsupportedError, match="privacy='dp'"):
        evaluate(HOLDOUT, HOLDOUT, ALIKE, schema=SCHEMA, ledger=Ledger(Budget(1.0, 1e-6)))
    found = judged(ALIKE)
    assert {s.name.split(".")[1] for s in found.scores} == {"private"}
    assert "fidelity.detection" in set(found.tables["left_out"]["score"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"attacks": ("membership", "linkability")}, "attacks reads real rows"),
        ({"min_quality": 0.5}, "min_quality reads real rows"),
        ({"delta": 0.0}, "mechanism=laplace"),
        ({"privacy": "none"}, "kept only with privacy=dp"),
    ],
)
def test_options_that_a_private_report_does_not_keep_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        judged(ALIKE, **options)


def test_a_schema_that_was_read_off_rows_is_refused():
    with pytest.raises(SchemaError, match="public schema"):
        judged(ALIKE, schema=None)


def test_a_number_cannot_be_predicted_privately():
    with pytest.raises(UnsupportedError, match="categories only"):
        judged(ALIKE, target="x")


def test_no_holdout_row_at_all_is_reported_like_any_other():
    assert judged(ALIKE, holdout=HOLDOUT.iloc[:0], target="y").rows["real"] < 50


# The audit: reports on a table of two columns, and on the same with a row whose values nobody else has.  All that is
# read are Gaussian counts, which are mu-GDP with mu^2 = 2 rho.

BUDGET = Budget(8.0, 1e-2)
SURE = 1 - 1e-4
REPORTS = 300
TWO = Schema({TABLE: {"y": SCHEMA.columns["y"], "z": SCHEMA.columns["z"]}})
WITHOUT = pd.DataFrame({"y": ["no"] * 30, "z": ["u"] * 30})
WITH = pd.concat([WITHOUT, pd.DataFrame({"y": ["yes"], "z": ["w"]})], ignore_index=True)
CLAIM = math.sqrt(2 * rho_within(BUDGET))


def ratio(table):
    """Return the likelihood ratio, canary to none, of the noisy counts behind a report; and how many rows it tells."""
    found = []
    honest = private.noisy_counts

    def watched(counts, *, amount, grant, sensitivity):
        made = honest(counts, amount=amount, grant=grant, sensitivity=sensitivity)
        found.append((made[-1] - 0.5) * 2 * amount / sensitivity**2)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(private, "noisy_counts", watched)
        made = judged(WITHOUT, holdout=table, schema=TWO, epsilon=BUDGET.epsilon, delta=BUDGET.delta, replicates=10)
    return sum(found), made.rows["real"]


def told(number=REPORTS):
    """Return what reports with the canary and without tell, by side."""
    return [[ratio(table) for _ in range(number)] for table in (WITH, WITHOUT)]


def mu_of_reports(said, sides):
    return mu_at_least(*(np.array([said(*one) for one in side]) for side in sides), confidence=SURE)


def by_ratio(found, told):
    return found > 0


def by_rows(found, told):
    return told > 30


@pytest.mark.slow
def test_reports_with_and_without_a_row_are_no_easier_to_tell_apart_than_claimed():
    sides = told()
    assert mu_of_reports(by_ratio, sides) <= CLAIM
    assert mu_of_reports(by_rows, sides) <= CLAIM


def half_the_noise(patch):
    """Break the scale of counts, and let a grant count nothing."""
    honest = noise._scale
    patch.setattr(noise, "_scale", lambda *args: honest(*args) / 2)
    patch.setattr(noise.Grant, "take", lambda self, amount: None)


@pytest.mark.slow
def test_reports_with_half_the_noise_are_caught(monkeypatch):
    half_the_noise(monkeypatch)
    assert mu_of_reports(by_ratio, told()) > CLAIM


@pytest.mark.slow
def test_a_report_that_tells_how_many_rows_there_are_is_caught(monkeypatch):
    honest = private.private_evidence

    def leaking(real, *args, **given):
        return honest(real, *args, **given)[0], len(real.table)

    monkeypatch.setattr(private, "private_evidence", leaking)
    assert mu_of_reports(by_rows, told(REPORTS // 3)) > CLAIM  # so plain that fewer will do
