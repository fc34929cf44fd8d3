"""The privacy guard where SageMaker gets a model: the job that makes it, its requests, the registry of a local run."""

import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sagemaker_requests import MODEL, PLATFORM

import synth_components as synth
from synth_components.__main__ import MISSED, OK, USER_ERROR, main
from synth_components.errors import GuardError
from synth_components.evaluation.attacks.risk import MOST
from synth_components.evaluation.options import PrivacyConfig
from synth_components.fitting import fit
from synth_components.io.archive import pack
from synth_components.io.artifact import Statement
from synth_components.privacy.accounting import pure
from synth_components.privacy.ledger import Ledger, dumps
from synth_components.protocols import Budget, Score
from synth_components.steps.gate import GateConfig
from synth_components.steps.train import TrainConfig
from synth_sagemaker.hyperparameters import Training
from synth_sagemaker.layout import ROOT
from synth_sagemaker.local_run import run_local
from synth_sagemaker.pipeline import Options, pipeline
from synth_sagemaker.registry import model as model_request
from synth_sagemaker.registry import model_package

INDEPENDENT = {"generator": "tabular.independent"}
JUDGED = {"evaluate.replicates": "10", "evaluate.global_utility": "False", "sample.num_rows": "120"}
HARMLESS = {
    "privacy.risk": 0.0,
    **{"privacy.copies": 0.0, "privacy.copies.bound": 0.1},
    **{"privacy.near_copies": 0.0, "privacy.near_copies.bound": 0.1},
}


@pytest.fixture(scope="module")
def harmless(table):
    return fit(table, generator="tabular.independent", seed=0)


@pytest.fixture(scope="module")
def holding(table):
    """A model that keeps training rows."""
    return fit(table, generator="tabular.smote", seed=0, options={"keep_rows": True})


@pytest.fixture
def job(opt_ml, monkeypatch):
    """A function that is a training job under a policy, and returns its folder, status and reason of failure."""

    def run(rows=None, holdout=None, *, policy="", **said):
        root = opt_ml({**INDEPENDENT, **({} if holdout is None else JUDGED), **said})
        if rows is not None:
            rows.to_csv(root / "input/data/train/real.csv", index=False)
        if holdout is not None:
            (root / "input/data/holdout").mkdir()
            holdout.to_csv(root / "input/data/holdout/rows.csv", index=False)
        monkeypatch.setenv(ROOT, str(root))
        monkeypatch.setenv("SYNTH_POLICY", policy)
        status = main(["sagemaker", "train"])
        failure = root / "output/failure"
        return root, status, failure.read_text() if failure.exists() else ""

    return run


def is_handed_over(root):
    return any((root / "model").iterdir())


def test_without_a_policy_the_job_refuses_what_its_report_says_against_level_medium(job):
    """Issue 7: more copies of training rows than a holdout has of them, with the same threshold of `gate` off."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"a": rng.choice(list("wx"), 200), "b": rng.choice(list("pq"), 200)})
    off = {"evaluate.attacks": "[]", "gate.allow_copies": "true"}
    root, status, told = job(rows, rows.assign(a="y", b="r"), **off)
    assert status == MISSED
    assert told.startswith("ThresholdError: the policy (level medium) does not allow release to SageMaker")
    assert "exact copies" in told
    assert not is_handed_over(root)


def test_a_named_policy_refuses_a_job_that_nobody_can_judge_before_it_reads_rows(job, table):
    root, status, told = job(table.assign(age="canary"), policy="low")
    assert (status, is_handed_over(root)) == (USER_ERROR, False)
    assert "a privacy policy is named" in told
    assert "channel 'holdout'" in told


def test_a_named_policy_refuses_a_report_without_attacks(job, table):
    root, status, told = job(holdout=table, policy="low", **{"evaluate.attacks": "[]"})
    assert (status, is_handed_over(root)) == (MISSED, False)
    assert "the privacy risk: no report tells of it" in told


@pytest.mark.parametrize("policy", ["", "off"])
def test_without_a_policy_or_with_the_guard_off_a_model_that_nobody_judged_is_handed_over(job, policy):
    root, status, _ = job(policy=policy)
    assert (status, is_handed_over(root)) == (OK, True)


def without_ledger(request):
    kept = {name: value for name, value in request.items() if name != "CustomerMetadataProperties"}
    held = request.get("CustomerMetadataProperties", {})
    told = {name: value for name, value in held.items() if not name.startswith("synth.ledger.")}
    return kept | ({"CustomerMetadataProperties": told} if held else {})


def test_a_version_tells_the_promise_and_the_ledger_of_its_model(harmless):
    ledger = Ledger(Budget(1.5, 1e-6))
    ledger.spend("fit", pure(1.5))
    ledger.note_uncovered("evaluate: 9 rows")
    unit = "all rows of table 'table' that share ['a', \"b\"], at most 3" + "x" * 300
    privacy = Statement(epsilon=1.5, delta=1e-6, unit=unit, theorem="some")
    fitted = replace(
        harmless, ledger=ledger, manifest=harmless.manifest.model_copy(update={"privacy": privacy, "rows": None})
    )
    said = model_package("group", MODEL, platform=PLATFORM, fitted=fitted, is_private=True, report=report_of(fitted))
    held = said["CustomerMetadataProperties"]
    assert (held["synth.epsilon"], held["synth.delta"]) == ("1.5", "1e-06")
    assert held["synth.unit"].startswith("all rows of table  table  that share   a    b    at most 3x")
    assert held["synth.neighbours"] == "add or remove one unit"
    assert (held["synth.ledger.entries"], held["synth.ledger.uncovered"]) == ("2", "1")
    assert held["synth.ledger.digest"] == hashlib.sha256(dumps(ledger).encode()).hexdigest()
    assert all(re.fullmatch(r"[\w .:/=+\-@]{1,256}", value) for value in held.values())  # as AWS asks


@pytest.mark.parametrize(
    "release",
    [
        lambda **known: model_package("group", MODEL, platform=PLATFORM, **known),
        lambda **known: model_request("adult", MODEL, platform=PLATFORM, **known),
    ],
    ids=["version", "model"],
)
def test_a_request_that_releases_a_model_is_held_against_the_policy(release, harmless, holding, monkeypatch):
    # The guard changes no request; a version tells of its model's ledger, too.
    assert without_ledger(release(fitted=harmless, report=report_of(harmless))) == release()
    with pytest.raises(GuardError, match="holds training rows"):
        release(fitted=holding, report=report_of(holding))
    with pytest.raises(GuardError, match=r"the privacy risk: 0\.4, at most 0.3 is allowed"):
        release(fitted=harmless, report=report_of(harmless, **{"privacy.risk": 0.4}))
    with pytest.raises(GuardError, match=r"this is model .*; evaluate again"):
        release(fitted=harmless, report=report_of(replace(harmless, manifest=holding.manifest)))
    monkeypatch.setenv("SYNTH_POLICY", "medium")
    assert release(fitted=harmless, report=report_of(harmless))
    with pytest.raises(GuardError, match="the model is not at hand"):
        release()


def arguments(definition, name):
    steps = [*definition["Steps"], *definition["Steps"][-1]["Arguments"]["IfSteps"]]
    return next(step["Arguments"] for step in steps if step["Name"] == name)


@pytest.mark.parametrize(("policy", "channels"), [("high", ["train", "holdout"]), ("off", ["train"]), ("", ["train"])])
def test_under_a_named_policy_the_job_of_a_pipeline_judges_its_own_model(policy, channels):
    platform = PLATFORM.model_copy(update={"environment": {"SYNTH_POLICY": policy} if policy else {}})
    made = arguments(pipeline(platform, Options()), "Train")
    assert [one["ChannelName"] for one in made["InputDataConfig"]] == channels


def test_a_private_fit_is_held_against_the_policy_by_its_epsilon_alone():
    platform = PLATFORM.model_copy(update={"environment": {"SYNTH_POLICY": "critical"}})
    private = Training(
        TrainConfig(generator="tabular.mst", privacy="dp", epsilon=1.0), gate=GateConfig(max_epsilon=1.0)
    )
    made = arguments(pipeline(platform, Options(private)), "Train")
    assert [one["ChannelName"] for one in made["InputDataConfig"]] == ["train"]


def test_the_pipeline_asks_for_the_risk_of_level_medium_unless_told():
    made = {one["Name"]: one.get("DefaultValue") for one in pipeline(PLATFORM, Options())["Parameters"]}
    assert made["MaxRisk"] == MOST


def registration(metrics):
    """Return a definition that registers an archive of ours; no job runs, for its condition does not hold."""
    processing = {
        "AppSpecification": {"ImageUri": PLATFORM.image, "ContainerEntrypoint": ["synth", "sagemaker", "process"]},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30}
        },
        "RoleArn": PLATFORM.role,
    }
    package = {
        "ModelPackageGroupName": "group",
        "InferenceSpecification": {
            "Containers": [{"Image": PLATFORM.image, "ModelDataUrl": {"Get": "Parameters.ModelUri"}}]
        },
        **({"ModelMetrics": metrics} if metrics else {}),
    }
    gate = {
        "Conditions": [{"Type": "Equals", "LeftValue": 1, "RightValue": 2}],
        "IfSteps": [{"Name": "Profile", "Type": "Processing", "Arguments": processing}],
        "ElseSteps": [{"Name": "Register", "Type": "RegisterModel", "Arguments": package}],
    }
    return {
        "Version": "2020-12-01",
        "Parameters": [{"Name": "ModelUri", "Type": "String"}],
        "Steps": [{"Name": "Gate", "Type": "Condition", "Arguments": gate}],
    }


@pytest.fixture
def registered(tmp_path):
    """A function that has a local run register a model, and returns whether there is a request."""

    def run(model, metrics=None):
        model.save(tmp_path / "model", overwrite=True)
        pack(tmp_path / "model", tmp_path / "model.tar.gz")
        said = {"ModelUri": str(tmp_path / "model.tar.gz")}
        run_local(registration(metrics), tmp_path / "run", runner="host", parameters=said)
        return (tmp_path / "run/registry/Register.json").exists()

    return run


def test_a_local_run_registers_no_model_that_holds_rows(registered, holding, tmp_path):
    with pytest.raises(GuardError, match="holds training rows"):
        registered(holding)
    assert not (tmp_path / "run/registry/Register.json").exists()


def test_a_local_run_registers_by_the_reports_that_a_request_names(registered, harmless, tmp_path, monkeypatch):
    assert registered(harmless)
    monkeypatch.setenv("SYNTH_POLICY", "medium")
    with pytest.raises(GuardError, match="no report tells of it"):
        registered(harmless)
    place = tmp_path / "run/s3/bucket/report"
    place.mkdir(parents=True)
    metrics = {
        "Explainability": {"Report": {"ContentType": "application/json", "S3Uri": "s3://bucket/report/statistics.json"}}
    }
    for risk, is_good in ((0.4, False), (0.1, True)):
        report = report_of(harmless, **{"privacy.risk": risk})
        (place / "report.json").write_text(json.dumps(report.to_json()))
        if is_good:
            assert registered(harmless, metrics)
        else:
            with pytest.raises(GuardError, match=r"the privacy risk: 0\.4"):
                registered(harmless, metrics)


def report_of(model, **scores):
    """Return a report on a model, with harmless scores but those given in the place of its own."""
    rows = pd.DataFrame({"a": np.arange(60.0)})
    report = synth.evaluate(rows, rows, rows, config=PrivacyConfig(attacks=(), replicates=10), model=model)
    made = tuple(Score(name, value, None, 0.0, 0.0, 0.0) for name, value in {**HARMLESS, **scores}.items())
    return replace(report, scores=made)
