"""The budget of a data set: no more is spent than there is, by however many processes, and a charge stays."""

import dataclasses
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components import audit, generators
from synth_components.__main__ import main
from synth_components.chain import Chain
from synth_components.compliance import assess
from synth_components.compliance.evidence import Evidence
from synth_components.config import ConfigError
from synth_components.errors import (
    ArtifactError,
    BudgetExceededError,
    DataError,
    DeltaError,
    SynthError,
    TamperedError,
    UnitError,
    UnsupportedError,
)
from synth_components.evaluation import EvaluateConfig, PrivacyConfig, evaluate
from synth_components.evaluation.attacks.shadow import shadow
from synth_components.io.dataset import read_dataset
from synth_components.policy import Policy
from synth_components.policy.protection import protect
from synth_components.privacy.accounting import pure, rho_within, zero_concentrated
from synth_components.privacy.budget_file import ADAPTED, BudgetFile, account
from synth_components.privacy.ledger import ORDERS, SETTLED, Ledger
from synth_components.privacy.smallest_delta import require_small
from synth_components.privacy.unit import ROW
from synth_components.proposal import propose
from synth_components.protocols import Budget, Dataset, Run
from synth_components.schema import Categorical, Schema, Unit
from synth_components.selection.optimizing import auto_optimize
from synth_components.selection.tuning import tune
from synth_components.sensitive import Sensitivity, detect
from synth_components.specification import specify
from synth_components.steps import STEPS, load
from synth_components.steps.port import ports
from synth_components.stream.drift import reference
from synth_components.testing import BoundCheck, Case, check_fit_charges_the_ledger

TOTAL = Budget(1.0, 1e-6)
TABLE = pd.DataFrame({"x": ["a", "b"] * 100, "y": [True, False] * 100})
SCHEMA = {
    "tables": {
        "table": {
            "x": {"type": "categorical", "dtype": str(TABLE["x"].dtype), "categories": ["a", "b"], "public": True},
            "y": {"type": "boolean", "dtype": "bool", "public": True},
        }
    }
}
DATA = Dataset({"table": TABLE}, Schema.from_json(SCHEMA))


def made(folder, total=TOTAL, **options):
    return BudgetFile.create(folder / "toy.budget", total, **{"name": "toy", **options})


def fitted(budget, epsilon=0.3, **options):
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    return synth.fit(TABLE, generator="tabular.mst", epsilon=epsilon, schema=SCHEMA, budget=budget, **options)


def test_fits_compose_until_the_budget_is_exhausted_and_the_error_tells_remaining_and_requested(tmp_path):
    file = made(tmp_path)
    for _ in range(3):
        fitted(file.path)
    with pytest.raises(BudgetExceededError, match="asks for more than is left") as raised:
        fitted(file.path, epsilon=0.9)
    state = file.read()
    assert state.spent <= 1.0 < raised.value.requested < math.inf
    assert raised.value.available == 1.0
    assert raised.value.remaining == pytest.approx(state.remaining.epsilon)
    # Three Gaussian fits compose to less than the sum of their epsilons: the file adds curves.
    assert 0.3 < state.spent < 0.75


def test_a_refused_fit_spends_nothing(tmp_path):
    file = made(tmp_path)
    before = file.path.read_bytes()
    with pytest.raises(BudgetExceededError):
        fitted(file.path, epsilon=2.0)
    assert file.path.read_bytes() == before


def test_a_profile_and_generators_and_a_count_are_charged_to_one_file(tmp_path):
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    file = made(tmp_path, Budget(20.0, 1e-6))
    rows = pd.concat([TABLE] * 5, ignore_index=True)
    synth.fit(rows, generator="tabular.mst", epsilon=8.0, budget=file)
    labels = [entry.label for entry in file.read().ledger.entries]
    assert labels[:2] == ["domain of column 'x'", "number of units, against delta"]
    assert len(labels) == 3
    synth.fit(rows, generator="tabular.aim", epsilon=1.0, schema=SCHEMA, budget=file, units=1000)
    assert len(file.read().ledger.entries) == 4


def test_a_fit_that_is_not_private_is_refused_before_it_reads(tmp_path):
    file = made(tmp_path)
    with pytest.raises(BudgetExceededError, match="is not differentially private") as raised:
        synth.fit(TABLE, generator="tabular.independent", seed=0, budget=file)
    assert raised.value.requested == math.inf
    assert raised.value.remaining == 1.0
    assert file.read().spent == 0


def test_the_environment_names_the_file_for_every_fit(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTH_BUDGET_FILE", str(made(tmp_path).path))
    with pytest.raises(BudgetExceededError, match="is not differentially private"):
        synth.fit(TABLE, generator="tabular.independent", seed=0)


def test_an_evaluation_is_written_down_as_uncovered_or_refused_as_the_file_says(tmp_path, monkeypatch):
    file = made(tmp_path)
    monkeypatch.setenv("SYNTH_BUDGET_FILE", str(file.path))
    synth.preserve(TABLE.assign(z=range(200)), TABLE.assign(z=range(200)), seed=0)
    assert [(e.label, e.covered) for e in file.read().ledger.entries] == [("preserve: 200 real rows", False)]
    assert file.read().spent == 0
    strict = BudgetFile.create(tmp_path / "strict", TOTAL, name="toy", uncovered="refuse")
    monkeypatch.setenv("SYNTH_BUDGET_FILE", str(strict.path))
    with pytest.raises(BudgetExceededError, match="without differential privacy"):
        synth.evaluate(TABLE, TABLE, TABLE)
    assert strict.read().ledger.entries == ()


SIDES = ["--train", "t.csv", "--holdout", "t.csv", "--synthetic", "t.csv", "--report", "r.json"]
READERS = {
    "run": ["--data", "t.csv", "--output", "out"],
    "profile": ["--data", "t.csv", "--schema", "s.json"],
    "train": ["--data", "t.csv", "--model", "m"],
    "tune": ["--data", "t.csv", "--study", "study.json"],
    "sample": ["--model", "model", "--synthetic", "-", "--monitor", "stop", "--reference", "t.csv"],
    "preserve": ["--data", "t.csv", "--synthetic", "t.csv", "--preserved", "p.csv"],
    "protect": ["--data", "t.csv", "--policy", "policy.json", "--protected", "p.csv", "--evidence", "e.json"],
    "evaluate": SIDES,
    "evaluate_fidelity": SIDES,
    "evaluate_tstr": SIDES,
    "evaluate_privacy": SIDES,
    "shadow_audit": ["--data", "t.csv", "--report", "r.json"],
    "validate": ["t.csv", "--real", "t.csv", "--report", "r.json"],
    "compliance": ["--data", "t.csv", "--evidence", "e.json"],
}
"""What reads real rows, by step."""
HAND_ON = {"split", "merge", "augment", "gate"}
"""What gives rows back to whoever has them, or looks at what is released: docs/custody.md says that it asks nothing."""


@pytest.fixture
def strict(tmp_path, monkeypatch):
    """A budget that refuses what is not differentially private, beside a table, a policy and a model."""
    monkeypatch.chdir(tmp_path)
    TABLE.to_csv("t.csv", index=False)
    asked = {"quasi_identifiers": ["x"], "layers": ["k_anonymity"], "detect": False}
    (tmp_path / "policy.json").write_text(json.dumps(asked))
    synth.fit(TABLE, generator="tabular.independent", seed=0).save("model")
    return made(tmp_path, uncovered="refuse")


def never(*_args, **_options):
    raise AssertionError("rows were read")


@pytest.mark.parametrize("step", sorted(READERS))
def test_every_command_that_reads_real_rows_is_refused_before_it_does(step, strict, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("synth_components.io.dataset.read_table", never)
    monkeypatch.setattr("synth_components.io.dataset.read_dataset", never)
    before = sorted(tmp_path.iterdir())
    assert main([step.replace("_", "-"), *READERS[step], "--budget-file", str(strict.path)]) == 2
    assert "nothing was read" in capsys.readouterr().err
    assert strict.read().ledger.entries == ()
    assert sorted(tmp_path.iterdir()) == before


def test_no_command_that_reads_a_table_is_left_out():
    tables = {
        name for name in STEPS if any((p.kind, p.direction) == ("dataset", "in") for p in ports(load(name)).values())
    }
    assert tables == set(READERS) | HAND_ON


def test_a_private_fit_finds_its_bounds_where_all_else_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    file = made(tmp_path, Budget(20.0, 1e-6), uncovered="refuse")
    monkeypatch.setenv("SYNTH_BUDGET_FILE", str(file.path))
    synth.fit(pd.concat([TABLE] * 5, ignore_index=True), generator="tabular.mst", epsilon=8.0)
    assert [entry.covered for entry in file.read().ledger.entries] == [True] * 3


@pytest.mark.parametrize("uncovered", ["note", "refuse"])
@pytest.mark.parametrize(
    "read",
    [
        lambda: synth.profile(TABLE),
        lambda: detect(TABLE),
        lambda: propose(TABLE, Schema.from_json(SCHEMA)),
        lambda: protect(TABLE, Policy(quasi_identifiers=("x",))),  # it searches
        lambda: read_dataset("rows.csv"),
        lambda: read_dataset("rows.csv", max_bytes=0),
        lambda: shadow(Unread(), generator="tabular.independent", budget=1.0, state=Path("s.jsonl")),
        lambda: tune(DATA, generator="tabular.independent", space={}, target="x"),
        lambda: auto_optimize(TABLE, evaluate=EvaluateConfig(min_quality=0.5)),
    ],
    ids=["profile", "detect", "propose", "protect", "read", "read batches", "shadow", "tune", "auto_optimize"],
)
def test_what_is_read_without_noise_in_python_is_refused(read, uncovered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    TABLE.to_csv("rows.csv", index=False)
    file = made(tmp_path, uncovered=uncovered)
    monkeypatch.setenv("SYNTH_BUDGET_FILE", str(file.path))
    monkeypatch.setattr("synth_components.io.dataset._frames", never)
    with pytest.raises(BudgetExceededError, match="nothing was read"):
        read()
    assert file.read().ledger.entries == ()


class Unread:
    """A dataset that lets nothing of it be read."""

    def __getattr__(self, name):
        raise AssertionError("rows were read")


def test_what_is_read_with_a_schema_or_charged_already_asks_nothing_of_the_file(tmp_path, monkeypatch):
    TABLE.to_csv(tmp_path / "rows.csv", index=False)
    file = made(tmp_path)
    monkeypatch.setenv("SYNTH_BUDGET_FILE", str(file.path))
    ledger = Ledger(account=SETTLED)
    found = read_dataset(tmp_path / "rows.csv", ledger=ledger)
    assert [entry.label for entry in ledger.entries] == ["profile"]
    assert read_dataset(tmp_path / "rows.csv", schema=found.schema).num_rows("table") == len(TABLE)
    assert file.read().ledger.entries == ()


def evidence():
    return Evidence(tables={"table": TABLE}, found=Sensitivity((), {}, {}))


OWN = {
    "profile": lambda ledger: synth.profile(TABLE, ledger=ledger),
    "detect": lambda ledger: detect(TABLE, ledger=ledger),
    "read": lambda ledger: read_dataset("rows.csv", ledger=ledger),
    "fit": lambda ledger: generators.make("tabular.independent", {}).fit(
        Dataset({"table": TABLE}, Schema.from_json(SCHEMA)), rng=np.random.default_rng(0), ledger=ledger, run=Run()
    ),
}
"""What charges a ledger of one's own with what is not differentially private."""
NOTED = {
    "evaluate": lambda ledger: evaluate(
        TABLE, TABLE, TABLE, config=PrivacyConfig(attacks=()), ledger=ledger, schema=Schema.from_json(SCHEMA)
    ),
    "preserve": lambda ledger: synth.preserve(TABLE, TABLE, seed=0, ledger=ledger),
    "protect": lambda ledger: protect(TABLE, POLICY, ledger=ledger),
    "assess": lambda ledger: assess("gdpr", evidence(), ledger=ledger),
    "reference": lambda ledger: reference(LONG, Schema.from_json(SCHEMA), ledger=ledger),
}
"""What notes in a ledger of one's own that rows were read outside of any epsilon."""
POLICY = Policy(quasi_identifiers=("x",), layers=("k_anonymity",), detect=False)
LONG = pd.concat([TABLE] * 5, ignore_index=True)


@pytest.mark.parametrize("name", sorted(OWN))
def test_a_ledger_of_ones_own_does_not_pass_by_the_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    TABLE.to_csv("rows.csv", index=False)
    file = made(tmp_path)
    ledger = Ledger()
    with monkeypatch.context() as around:
        around.setenv("SYNTH_BUDGET_FILE", str(file.path))
        with pytest.raises(BudgetExceededError, match="nothing was read"):
            OWN[name](ledger)
    assert ledger.entries == file.read().ledger.entries == ()
    OWN[name](ledger)  # where no file is named it is the caller's own account
    assert ledger.entries


@pytest.mark.parametrize("own", [True, False], ids=["own ledger", "none"])
@pytest.mark.parametrize("name", sorted(NOTED))
def test_what_is_measured_in_python_is_noted_in_the_file_and_in_a_ledger_of_ones_own(name, own, tmp_path, monkeypatch):
    file = made(tmp_path)
    monkeypatch.setenv("SYNTH_BUDGET_FILE", str(file.path))
    ledger = Ledger() if own else None
    NOTED[name](ledger)
    (noted,) = file.read().ledger.entries
    assert not noted.covered
    if ledger is not None:
        assert ledger.entries == (noted,)


@pytest.mark.parametrize("name", ["assess", "reference"])
def test_the_checks_of_a_regulation_and_the_reference_of_a_stream_are_refused_before_they_read(
    name, tmp_path, monkeypatch
):
    file = made(tmp_path, uncovered="refuse")
    monkeypatch.setenv("SYNTH_BUDGET_FILE", str(file.path))
    monkeypatch.setattr("synth_components.compliance.observed", never)
    monkeypatch.setattr("synth_components.stream.drift._gauge", never)
    with pytest.raises(BudgetExceededError, match="nothing was read"):
        NOTED[name](None)
    limited = Ledger(TOTAL, account=SETTLED)
    with pytest.raises(UnsupportedError, match="a ledger with a budget was given"):
        NOTED[name](limited)
    assert limited.entries == ()


def test_the_rows_of_a_stream_itself_ask_nothing_of_the_file(tmp_path, monkeypatch):
    file = made(tmp_path, uncovered="refuse")
    monkeypatch.setenv("SYNTH_BUDGET_FILE", str(file.path))
    reference(LONG, Schema.from_json(SCHEMA), ledger=Ledger(account=SETTLED))
    assert file.read().ledger.entries == ()


def test_a_private_fit_with_a_ledger_of_ones_own_is_charged_to_both_and_refused_by_either(tmp_path, monkeypatch):
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    file = made(tmp_path)
    monkeypatch.setenv("SYNTH_BUDGET_FILE", str(file.path))
    data = Dataset({"table": TABLE}, Schema.from_json(SCHEMA))
    recipe = generators.make("tabular.mst", {})
    ledger = Ledger(Budget(0.6, 1e-6))
    recipe.fit(data, rng=np.random.default_rng(0), ledger=ledger, run=Run())
    assert ledger.entries == file.read().ledger.entries
    other = BudgetFile.create(tmp_path / "other.budget", TOTAL, name="other rows")
    theirs = Ledger(Budget(0.6, 1e-6), account=other)  # of a file that is named by hand, that alone
    recipe.fit(data, rng=np.random.default_rng(0), ledger=theirs, run=Run())
    assert len(file.read().ledger.entries) == len(other.read().ledger.entries) == 1
    large = Ledger(Budget(0.9, 1e-6))
    with pytest.raises(BudgetExceededError, match="asks for more than is left"):
        recipe.fit(data, rng=np.random.default_rng(0), ledger=large, run=Run())
    assert large.entries == ()


def test_a_check_of_a_generator_and_a_specification_ask_nothing_of_the_file(tmp_path, monkeypatch):
    file = made(tmp_path, uncovered="refuse")
    monkeypatch.setenv("SYNTH_BUDGET_FILE", str(file.path))
    case = Case("tabular.independent", generators.make("tabular.independent", {}))
    BoundCheck(check_fit_charges_the_ledger, case)()
    specify(Schema.from_json(SCHEMA))
    assert file.read().ledger.entries == ()


@pytest.mark.parametrize(
    "read",
    [
        lambda: synth.evaluate(TABLE, TABLE, TABLE),
        lambda: synth.evaluate(TABLE, None, TABLE),
        lambda: synth.preserve(TABLE, TABLE, seed=0),
    ],
    ids=["evaluate", "split", "preserve"],
)
def test_nothing_is_profiled_or_split_before_the_file_refuses(read, tmp_path, monkeypatch):
    file = made(tmp_path, uncovered="refuse")
    monkeypatch.setenv("SYNTH_BUDGET_FILE", str(file.path))
    monkeypatch.setattr("synth_components.profile.profile", never)
    monkeypatch.setattr("synth_components.evaluation.split", never)
    with pytest.raises(BudgetExceededError, match="nothing was read"):
        read()


def test_each_evaluation_is_one_line_however_often_it_profiles(strict, monkeypatch, tmp_path):
    file = BudgetFile.create(tmp_path / "lenient", TOTAL, name="toy")
    monkeypatch.setenv("SYNTH_BUDGET_FILE", str(file.path))
    synth.evaluate(TABLE, None, TABLE, config=PrivacyConfig(attacks=()))
    for step in ("protect", "compliance"):
        assert main([step, *READERS[step]]) == 0
    noted = ["evaluate: 200 train rows", "protect: 200 rows", "compliance: 200 rows"]
    assert [(entry.label, entry.covered) for entry in file.read().ledger.entries] == [(one, False) for one in noted]


def test_rows_that_a_policy_draws_cost_the_file_what_the_audit_says(tmp_path, monkeypatch):
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    file = made(tmp_path, Budget(1.0, 1e-6))
    monkeypatch.setenv("SYNTH_BUDGET_FILE", str(file.path))
    asked = Policy(
        layers=("differential_privacy",), epsilon=0.5, delta=1e-6, detect=False, private_generator="tabular.mst"
    )
    (applied,) = protect(TABLE, asked, schema=Schema.from_json(SCHEMA)).audit.applied
    noted, counted, *fitted = file.read().ledger.entries
    assert not noted.covered
    assert (counted.label, counted.rdp[-1]) == ("number of rows", pytest.approx(0.005))
    alone = Ledger(Budget(1.0, 1e-6), list(fitted)).epsilon(1e-6)
    assert alone + counted.rdp[-1] == pytest.approx(applied.epsilon)
    assert alone < file.read().spent <= applied.epsilon


def test_a_budget_with_digests_refuses_other_rows(tmp_path):
    file = made(tmp_path, tables=[TABLE, TABLE.head(50)])
    file.require_data(TABLE.head(50))
    with pytest.raises(DataError, match="is for other rows"):
        file.require_data(TABLE.tail(51))
    with pytest.raises(DataError, match="is for other rows"):
        synth.fit(TABLE.tail(51), generator="tabular.mst", epsilon=0.1, schema=SCHEMA, budget=file)


def hammer(path, count):
    """Spend a hundredth of the budget again and again, in small charges of both kinds."""
    ledger = Ledger(account=BudgetFile(path), unit=ROW)
    for number in range(count):
        try:
            ledger.spend("counts", pure(0.02) if number % 2 else zero_concentrated(1e-4))
        except BudgetExceededError:
            continue


def test_processes_that_hammer_the_file_together_never_spend_more_than_there_is(tmp_path):
    file = made(tmp_path, Budget(0.5, 1e-6))
    context = multiprocessing.get_context("fork")
    # 4 x 20 charges ask for about 40 x .02 = .8 > .5 of pure epsilon alone.
    spenders = [context.Process(target=hammer, args=(file.path, 20)) for _ in range(4)]
    for one in spenders:
        one.start()
    for one in spenders:
        one.join()
        assert one.exitcode == 0
    state = file.read()
    assert state.spent <= 0.5 * (1 + 1e-9)
    # Not one more charge of the larger kind fits: nothing that was granted was lost.
    with pytest.raises(BudgetExceededError):
        Ledger(account=file, unit=ROW).spend("counts", pure(0.03))
    assert 20 < len(state.ledger.entries) < 80


def test_a_process_that_is_forked_off_amid_a_charge_may_charge_the_ledger_that_it_has():
    ledger = Ledger(unit=ROW)
    with ledger._lock:  # as a thread that charges has it
        child = os.fork()
        if not child:
            signal.alarm(2)  # kills the child that waits for a thread which is not there
            ledger.spend("counts", pure(0.1))
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_a_process_that_is_killed_between_the_charge_and_the_read_has_paid(tmp_path):
    file = made(tmp_path)
    code = """
        import os, signal, sys
        from synth_components.privacy.accounting import pure
        from synth_components.privacy.budget_file import BudgetFile
        from synth_components.privacy.ledger import Ledger
        from synth_components.privacy.unit import ROW
        Ledger(account=BudgetFile(__import__("pathlib").Path(sys.argv[1])), unit=ROW).spend("fit", pure(0.75))
        os.kill(os.getpid(), signal.SIGKILL)  # before any row is read
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(file.path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert file.read().spent == 0.75
    with pytest.raises(BudgetExceededError):
        file.require_room(Budget(0.5), label="fit")


def test_a_share_counts_with_its_epsilon_and_its_delta(tmp_path):
    file = made(tmp_path)
    file.reserve(Budget(0.25, 1e-7), label="pipeline", parts=2)
    state = file.read()
    assert state.spent == pytest.approx(0.5)
    assert state.remaining.delta == pytest.approx(8e-7)
    with pytest.raises(BudgetExceededError):
        file.reserve(Budget(0.1, 9e-7), label="too much delta")


def test_what_is_left_of_many_small_shares_is_what_may_still_be_charged(tmp_path):
    """A hundred times .01 compose to .43 of 1: an account that says that nothing is left of it is wrong."""
    file = made(tmp_path)
    file.reserve(Budget(0.01), label="many", parts=100)
    left = file.read().remaining.epsilon
    assert 0.3 < left < 1 - file.read().spent + 1e-3
    with pytest.raises(BudgetExceededError):
        file.reserve(Budget(left + 1e-4), label="more than is left")
    file.reserve(Budget(left), label="the rest")


def test_what_is_left_of_a_subnormal_budget_is_told(tmp_path):
    """A millionth of it is 0, which no search comes down to."""
    file = made(tmp_path, Budget(1e-320))
    file.reserve(Budget(4e-321), label="some")
    assert file.read().remaining.epsilon == pytest.approx(6e-321, rel=1e-2)


def test_a_tampered_budget_is_not_used(tmp_path):
    file = made(tmp_path)
    file.reserve(Budget(0.25), label="pipeline")
    text = file.path.read_text()
    file.path.write_text(text.replace('"epsilon":1.0', '"epsilon":9.0'))
    with pytest.raises(TamperedError):
        file.reserve(Budget(0.25), label="more")
    file.path.write_text(text.splitlines()[0] + "\n")
    with pytest.raises(TamperedError, match="the end is missing"):
        file.reserve(Budget(0.25), label="more")


def test_a_budget_whose_head_is_gone_is_not_used(tmp_path):
    file = made(tmp_path)
    for _ in range(2):
        Ledger(account=file, unit=ROW).spend("fit", pure(0.4))
    lines = file.path.read_text().splitlines(keepends=True)
    file.path.write_text("".join(lines[:-1]))  # 0.4 to spend again
    file.path.with_name("toy.budget.head").unlink()
    with pytest.raises(TamperedError, match="is gone"):
        Ledger(account=file, unit=ROW).spend("fit", pure(0.4))
    with pytest.raises(TamperedError, match="is gone"):
        file.read()


def best_second_charge(room, orders, loss, epsilon):
    """Return the most (z,) that a release of two outcomes adds beyond epsilon, after a privacy loss (z,), of those
    whose Renyi divergence has room at one of the orders."""
    best = np.zeros(len(loss))
    gain = np.linspace(0.02, 2.5, 80)  # loss of the rarer outcome, which has probability p
    for order, most in zip(orders, room, strict=True):
        low, high = np.full(80, -60.0), np.full(80, -1e-9)
        for _ in range(50):
            middle = (low + high) / 2  # log p
            p = np.exp(middle)
            moment = np.logaddexp(
                middle + (order - 1) * gain, order * np.log1p(-p) + (1 - order) * np.log1p(-p * np.exp(-gain))
            )
            fits = moment <= (order - 1) * most
            low, high = np.where(fits, middle, low), np.where(fits, high, middle)
        p = np.exp(low)
        other = np.log1p(-p) - np.log1p(-p * np.exp(-gain))
        beyond = p * np.maximum(0, 1 - np.exp(epsilon - loss[:, None] - gain))
        beyond += (1 - p) * np.maximum(0, 1 - np.exp(epsilon - loss[:, None] - other))
        best = np.maximum(best, beyond.max(axis=1))
    return best


def test_charges_chosen_by_what_was_released_exceed_delta_by_no_more_than_is_said():
    # A Gaussian release, and then the release that this file admits and that is worst for what the first one showed.
    epsilon, delta = TOTAL.epsilon, TOTAL.delta
    orders = ORDERS[(ORDERS >= 2) & (ORDERS <= 200)]
    rho = rho_within(TOTAL) / 4
    room = epsilon - np.log1p(-1 / orders) + (math.log(delta) + np.log(orders)) / (orders - 1) - rho * orders
    z, width = np.linspace(-6, 12, 1_201, retstep=True)
    loss = math.sqrt(2 * rho) * z + rho
    worst = best_second_charge(room[room > 0], orders[room > 0], loss, epsilon)
    found = float((np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * worst).sum() * width)
    assert 1.5 * delta < found < ADAPTED * delta


def test_a_file_is_not_made_twice_and_needs_a_data_set_and_a_finite_epsilon(tmp_path):
    file = made(tmp_path)
    with pytest.raises(DataError, match="is there already"):
        made(tmp_path)
    with pytest.raises(ConfigError, match="is of a data set"):
        BudgetFile.create(tmp_path / "b", TOTAL)
    with pytest.raises(ConfigError, match="must be a finite number"):
        BudgetFile.create(tmp_path / "b", Budget(math.inf), name="toy")
    with pytest.raises(DataError, match="there is no budget file"):
        account(tmp_path / "none")
    (tmp_path / "other").write_text("")
    with pytest.raises(ArtifactError, match="is no budget file"):
        BudgetFile(tmp_path / "other").read()
    assert account() is None
    assert account(file) is file


def test_delta_is_held_against_a_declared_number_of_units(tmp_path):
    with pytest.raises(DeltaError, match="must be below 1 over the number of privacy units") as raised:
        fitted(None, delta=0.01, units=100)
    assert (raised.value.delta, raised.value.units) == (0.01, 100)
    with pytest.raises(DeltaError):
        made(tmp_path, Budget(1.0, 0.01), units=100)
    assert fitted(None, delta=0.009, units=100).privacy.delta == 0.009


def test_delta_is_held_against_a_noisy_number_of_units_that_is_paid_for():
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    many = pd.concat(
        [TABLE] * 100, ignore_index=True
    )  # 20,000 rows, and the noise at epsilon .1 is some hundreds at most
    with pytest.raises(DeltaError):
        synth.fit(many, generator="tabular.mst", epsilon=10.0, delta=1e-3, schema=SCHEMA)
    model = synth.fit(many, generator="tabular.mst", epsilon=10.0, delta=1e-6, schema=SCHEMA)
    (counting,) = [e for e in model.ledger.entries if e.label == "number of units, against delta"]
    assert counting.rdp[-1] == pytest.approx(0.1)  # 1 % of epsilon, pure


def test_what_speaks_against_a_fit_without_its_rows_is_told_before_the_units_are_counted_and_paid_for(tmp_path):
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    file = made(tmp_path, Budget(1.0, 1e-6))
    options = {"first": "tabular.mst", "columns": ["nowhere"], "second": "tabular.mst"}
    with pytest.raises(SynthError, match="nowhere"):
        synth.fit(TABLE, generator="tabular.hybrid", options=options, schema=SCHEMA, budget=file, delta=1e-7, epsilon=1)
    assert file.read().spent == 0


@pytest.mark.parametrize("unit", [None, Unit("table"), Unit("table", max_rows=5), Unit("table", ("who",), 5)])
def test_units_are_counted_only_where_one_more_is_one_more_in_the_count(unit, caplog):
    """Noise for a difference of one protects nobody of whom five rows may be counted."""
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    rows = pd.DataFrame({"who": np.repeat(["a", "b", "c"], 5)})
    data = Dataset({"table": rows}, Schema({"table": {"who": Categorical(categories=("a", "b", "c"))}}, unit=unit))
    ledger = Ledger(Budget(1.0, 1e-6))
    require_small(data, Budget(1.0, 1e-6), ledger)
    is_counted = unit is None or unit.max_rows == 1 or bool(unit.columns)
    assert len(ledger.entries) == is_counted
    assert ("declare units" in caplog.text) != is_counted


def test_a_noisy_number_that_proves_nothing_refuses_nothing():
    # 200 rows, delta 1/100: too large, but the noise at epsilon .003 hides it. The documentation says so.
    assert fitted(None, delta=0.01).privacy.delta == 0.01


def test_the_command_makes_shows_and_shares_out_a_budget(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    TABLE.to_csv("t.csv", index=False)
    assert main(["budget", "create", "t.budget", "--epsilon", "1", "--delta", "1e-6", "--data", "t.csv"]) == 0
    assert main(["budget", "reserve", "t.budget", "--epsilon", "0.25", "--parts", "2", "--label", "pipeline"]) == 0
    assert main(["audit", "verify", "t.budget"]) == 0
    capsys.readouterr()
    assert main(["budget", "show", "t.budget"]) == 0
    assert "spent epsilon 0.5 of 1 at delta 1e-06; left: epsilon 0.5" in capsys.readouterr().out
    train = ["train", "--data", "t.csv", "--model", "model", "--budget-file", "t.budget"]
    assert main([*train, "--generator", "tabular.independent"]) == 2
    assert "is not differentially private" in capsys.readouterr().err
    assert main(["profile", "--data", "t.csv", "--schema", "s.json", "--budget-file", "t.budget"]) == 2
    assert "is not differentially private" in capsys.readouterr().err
    assert main(["budget", "reserve", "t.budget", "--epsilon", "0.75", "--label", "more"]) == 2
    assert "where 0.5 is left" in capsys.readouterr().err


def test_a_charge_costs_the_same_whether_the_file_is_named_in_python_or_by_the_command(tmp_path, monkeypatch):
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    monkeypatch.chdir(tmp_path)
    TABLE.to_csv("t.csv", index=False)
    file = made(tmp_path)
    options = ["--generator", "tabular.mst", "--privacy", "dp", "--epsilon", "0.3", "--units", "200"]
    (tmp_path / "s.json").write_text(json.dumps(SCHEMA))
    train = ["train", "--data", "t.csv", "--schema", "s.json", "--model", "model", *options]
    assert main([*train, "--budget-file", str(file.path)]) == 0
    by_command = file.read().spent
    other = BudgetFile.create(tmp_path / "other", TOTAL, name="toy")
    fitted(other, units=200)
    assert other.read().spent == pytest.approx(by_command)
    assert np.isfinite(by_command)


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_rank_does_not_spare_a_fit_by_one_process_its_charge(tmp_path, world_size):
    file = made(tmp_path)
    fitted(file, 0.5, run=Run(rank=1, world_size=world_size))
    assert 0.4 < file.read().spent <= 0.5 * (1 + 1e-9)


PEOPLE = pd.DataFrame({"x": ["a", "b"] * 100, "who": np.repeat(["p", "q", "r", "s"], 50)})
PERSON = Unit("table", ("who",), 5)
OF_ROWS = Schema(
    {
        "table": {
            "x": Categorical(categories=("a", "b"), public=True),
            "who": Categorical(categories=("p", "q", "r", "s"), public=True),
        }
    }
)
OF_PEOPLE = dataclasses.replace(OF_ROWS, unit=PERSON)
OF_MANY = dataclasses.replace(OF_ROWS, unit=Unit("table", max_rows=5))
DP = EvaluateConfig(privacy="dp", epsilon=0.1, delta=1e-9)
DRAWN = Policy(layers=("differential_privacy",), epsilon=0.5, delta=1e-6, detect=False, private_generator="tabular.mst")


@pytest.mark.parametrize("first", [OF_ROWS, OF_PEOPLE, OF_MANY], ids=["rows", "people", "any rows"])
@pytest.mark.parametrize("other", [OF_ROWS, OF_PEOPLE, OF_MANY], ids=["rows", "people", "any rows"])
@pytest.mark.parametrize("read", ["fit", "evaluate", "protect", "recipe"])
def test_a_file_is_of_one_privacy_unit_and_refuses_any_other_before_anything_is_charged(
    read, first, other, tmp_path, monkeypatch
):
    """One row less is no person less: epsilons of both, added, bound neither."""
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    file = made(tmp_path, Budget(2.0, 1e-6), unit=first.unit)
    monkeypatch.setenv("SYNTH_BUDGET_FILE", str(file.path))
    data = Dataset({"table": PEOPLE}, other)
    recipe = generators.make("tabular.mst", {})
    done = {
        "fit": lambda: synth.fit(PEOPLE, generator="tabular.mst", epsilon=0.3, schema=other, units=4),
        "evaluate": lambda: evaluate(None, PEOPLE, PEOPLE, schema=other, config=DP),
        "protect": lambda: protect(PEOPLE, DRAWN, schema=other),
        "recipe": lambda: recipe.fit(data, rng=np.random.default_rng(0), ledger=Ledger(Budget(0.3, 1e-6)), run=Run()),
    }[read]
    if other is first:
        done()
        charged = [entry for entry in file.read().ledger.entries if entry.covered]
        assert charged
        assert {entry.unit for entry in charged} == {file.read().unit}
        return
    with pytest.raises(UnitError, match="no guarantee for either when they are added; nothing was read") as raised:
        done()
    assert raised.value.unit == file.read().unit != raised.value.charged
    assert file.read().ledger.entries == ()


def test_a_schema_that_is_found_is_of_rows_and_no_other_file_pays_for_it(tmp_path):
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    file = made(tmp_path, Budget(20.0, 1e-6), unit=PERSON)
    with pytest.raises(UnitError):
        synth.fit(pd.concat([TABLE] * 5, ignore_index=True), generator="tabular.mst", epsilon=8.0, budget=file)
    assert file.read().ledger.entries == ()


def test_a_charge_that_does_not_say_whom_it_is_of_is_refused(tmp_path):
    file = made(tmp_path)
    with pytest.raises(UnitError, match="does not say whom it is for"):
        Ledger(account=file).spend("by hand", pure(0.1))
    assert file.read().ledger.entries == ()


def test_a_file_of_an_earlier_version_is_shown_and_charged_no_more(tmp_path, capsys):
    """Nobody kept whom its charges are of: what it adds up may be no guarantee at all."""
    file = made(tmp_path)
    lines = [json.loads(line) for line in file.path.read_text().splitlines()]
    old = {name: value for name, value in lines[0].items() if name not in {"unit", "number", "previous", "digest"}}
    path = tmp_path / "old.budget"
    Chain(path, None, needs_head=True).append_after(lambda _: old | {"version": 1})
    before = path.read_bytes()
    for charge in (
        lambda: fitted(path),
        lambda: BudgetFile(path).reserve(Budget(0.1), label="share"),
        lambda: Ledger(account=BudgetFile(path), unit=ROW).spend("by hand", pure(0.1)),
    ):
        with pytest.raises(UnitError, match="made by an earlier version") as raised:
            charge()
        assert raised.value.unit == ""
    assert path.read_bytes() == before
    assert main(["budget", "show", str(path)]) == 0
    assert "for units that an earlier version did not keep, added or removed: spent" in capsys.readouterr().out


def test_the_command_makes_a_file_for_people_and_a_fit_of_rows_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    PEOPLE.to_csv("t.csv", index=False)
    create = ["budget", "create", "t.budget", "--epsilon", "1", "--delta", "1e-6", "--name", "t"]
    assert main([*create, "--unit", "who", "--max-rows", "5"]) == 0
    assert "for all rows that share ['who'], at most 5, added or removed: spent" in capsys.readouterr().out
    (tmp_path / "s.json").write_text(json.dumps(OF_ROWS.to_json()))
    train = ["train", "--data", "t.csv", "--schema", "s.json", "--model", "model", "--generator", "tabular.mst"]
    monkeypatch.setattr("synth_components.io.dataset.read_dataset", never)
    assert main([*train, "--privacy", "dp", "--epsilon", "0.3", "--budget-file", "t.budget"]) == 2
    assert "is for all rows that share ['who'], at most 5, and a charge is for a row" in capsys.readouterr().err


def test_a_ledger_of_ones_own_is_of_one_privacy_unit_too():
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    ledger = Ledger(Budget(2.0, 1e-6))
    evaluate(None, PEOPLE, PEOPLE, schema=OF_PEOPLE, config=DP, ledger=ledger)
    before = ledger.entries
    assert Ledger.from_json(ledger.to_json()).unit == ledger.unit == "all rows that share ['who'], at most 5"
    for other in (OF_ROWS, OF_MANY):
        with pytest.raises(UnitError, match="the ledger is for all rows that share"):
            evaluate(None, PEOPLE, PEOPLE, schema=other, config=DP, ledger=ledger)
    assert ledger.entries == before
    silent = Ledger(Budget(2.0, 1e-6))
    silent.spend("by hand", pure(0.1))
    with pytest.raises(UnitError, match="nobody said whom they are of"):
        evaluate(None, PEOPLE, PEOPLE, schema=OF_ROWS, config=DP, ledger=silent)


@pytest.mark.parametrize("is_named", [False, True], ids=["no file", "file"])
def test_the_fit_that_draws_for_a_policy_is_charged_to_the_ledger_that_protect_is_given(
    is_named, tmp_path, monkeypatch
):
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    file = made(tmp_path, tables=[PEOPLE], unit=PERSON)
    if is_named:
        monkeypatch.setenv("SYNTH_BUDGET_FILE", str(file.path))
    people = DRAWN.model_copy(update={"identifiers": ("who",)})  # not drawn, and the unit all the same
    ledger = Ledger(Budget(0.6, 1e-6))
    with audit.trail(tmp_path / "audit.jsonl") as trail:
        (applied,) = protect(PEOPLE, people, schema=OF_PEOPLE, ledger=ledger).audit.applied
    noted, counted, fitted_ = ledger.entries
    assert (noted.covered, counted.label, fitted_.label) == (False, "number of rows", "fit tabular.mst")
    assert counted.unit == fitted_.unit == "all rows that share ['who'], at most 5"
    assert ledger.epsilon(1e-6) <= applied.epsilon
    assert Ledger(None, [fitted_]).epsilon(1e-6) + counted.rdp[-1] == pytest.approx(applied.epsilon)
    assert file.read().ledger.entries == (ledger.entries if is_named else ())
    assert [line["label"] for line in trail.lines() if line["event"] == "spend"] == ["number of rows", fitted_.label]
    with pytest.raises(BudgetExceededError, match="the rows that are drawn"):  # two of .5 compose to .7
        protect(PEOPLE, people, schema=OF_PEOPLE, ledger=ledger)
    assert len(ledger.entries) == 3
    if is_named:
        with pytest.raises(DataError, match="is for other rows"):
            protect(PEOPLE.tail(150), people, schema=OF_PEOPLE)
