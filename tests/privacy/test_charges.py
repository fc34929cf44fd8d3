"""What a ledger was charged, as reports tell it."""

import json
import math

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.errors import ArtifactError
from synth_components.evaluation import EvaluateConfig, FidelityConfig, Report, evaluate
from synth_components.io.artifact import Statement, ledger_of
from synth_components.privacy.accounting import pure, zero_concentrated
from synth_components.privacy.charges import charges, facts, of_model
from synth_components.privacy.ledger import ORDERS, Ledger, epsilon_of, not_private
from synth_components.protocols import Budget
from synth_components.schema import TABLE, Categorical, Schema, Unit
from synth_components.steps.evaluate import evaluate as evaluate_step
from synth_components.validation import validate

QUICK = EvaluateConfig(
    replicates=10, detector_rows=60, detector_folds=2, manifold_rows=60, global_utility=False, attacks=()
)
DELTA = 1e-6


def rows(seed, n=120):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"x": rng.normal(size=n), "city": rng.choice(["SECRET-A", "SECRET-B"], n)})


def ledger():
    made = Ledger(Budget(2.0, DELTA))
    made.spend("bounds", pure(0.5))
    made.note_uncovered("a look")
    made.spend("cells", zero_concentrated(0.02), delta=DELTA / 2)
    return made


def test_each_entry_tells_its_loss_alone_and_of_all_so_far_and_the_uncovered_come_first():
    look, bounds, cells = charges(ledger(), of="model", delta=DELTA, unit="a row")
    assert (look.label, look.covered, look.epsilon) == ("a look", False, None)
    assert (bounds.label, bounds.epsilon, bounds.total) == ("bounds", 0.5, 0.5)
    gaussian = zero_concentrated(0.02)(ORDERS)
    assert cells.epsilon == pytest.approx(epsilon_of(gaussian, DELTA / 2))
    assert cells.total == pytest.approx(epsilon_of(gaussian + pure(0.5)(ORDERS), DELTA / 2))
    assert cells.total == ledger().epsilon(DELTA)
    assert {(one.delta, one.unit, one.neighbours) for one in (look, bounds, cells)} == {
        (DELTA, "a row", "add or remove one unit")
    }


def test_what_is_not_bounded_has_no_number():
    made = Ledger()
    made.spend("fit", not_private)
    (one,) = charges(made, of="model", delta=0.0, unit="a row")
    assert (one.covered, one.epsilon, one.total) == (True, None, None)
    assert not {"epsilon", "delta", "unit"} & set(facts(made, Statement()))


def test_facts_change_with_any_entry():
    one, other = ledger(), ledger()
    other.note_uncovered("another look")
    stated = Statement(epsilon=1.0, delta=DELTA)
    assert facts(one, stated) == facts(ledger(), stated)
    assert facts(one, stated)["ledger.digest"] != facts(other, stated)["ledger.digest"]
    assert (facts(other, stated)["ledger.entries"], facts(other, stated)["ledger.uncovered"]) == (4, 2)


@pytest.fixture(scope="module")
def model():
    return synth.fit(rows(0), generator="tabular.independent", seed=0)


@pytest.fixture(scope="module")
def reported(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reported")
    model.save(folder / "model")
    for name, seed in (("train", 0), ("holdout", 1), ("synthetic", 2)):
        rows(seed).to_parquet(folder / f"{name}.parquet")
    places = {name: folder / f"{name}.parquet" for name in ("train", "holdout", "synthetic")}
    evaluate_step(QUICK, **places, model=folder / "model", report=folder / "r.json", page=folder / "r.html")
    return folder


def test_a_report_holds_the_ledgers_of_evaluation_and_model_and_says_what_is_uncovered_first(model, reported):
    value = json.loads((reported / "r.json").read_text(encoding="utf-8"))
    told = [(one["of"], one["label"], one["covered"]) for one in value["ledger"]]
    assert told == [
        ("evaluation", "evaluate: 120 train and 120 holdout rows", False),
        *(("model", entry.label, True) for entry in model.ledger.entries),
    ]
    assert {one["neighbours"] for one in value["ledger"]} == {"add or remove one unit"}
    assert {one["unit"] for one in value["ledger"]} == {"a row of table 'table'"}
    again = Report.from_json(value)
    assert again.to_json() == value
    page, text = (reported / "r.html").read_text(encoding="utf-8"), again.to_markdown()
    assert f"Privacy ledger: {len(told)} reads of real rows, 1 outside any epsilon" in page
    for label in (one["label"] for one in value["ledger"]):
        assert label in page
        assert label in text
    assert page.index("uncovered</td>") < page.index("not bounded</td><td>0</td><td>a row of table &#39;table&#39;")
    assert "SECRET" not in json.dumps(value["ledger"])


def test_a_report_that_was_written_before_has_no_ledger(reported):
    value = json.loads((reported / "r.json").read_text(encoding="utf-8"))
    del value["ledger"]
    assert Report.from_json(value).ledger == ()


def test_a_ledger_that_was_changed_is_not_read(model, tmp_path):
    model.save(tmp_path / "model")
    assert ledger_of(tmp_path / "model") == model.ledger
    place = tmp_path / "model" / "ledger.json"
    place.write_text(place.read_text().replace("fit tabular.independent", "nothing at all"))
    with pytest.raises(ArtifactError, match=r"ledger\.json"):
        ledger_of(tmp_path / "model")


@pytest.mark.parametrize(("mechanism", "delta"), [("gaussian", DELTA), ("laplace", 0.0)])
def test_a_private_report_tells_what_it_cost_and_for_whom(mechanism, delta):
    pytest.importorskip("opendp", reason="the extra dp is not installed")
    columns = {name: Categorical(categories=("u", "v"), public=True) for name in ("y", "z")}
    columns["who"] = Categorical(categories=("p", "q"), public=True)
    schema = Schema({TABLE: columns}, unit=Unit(TABLE, ("who",), 2))
    table = pd.DataFrame({"y": ["u", "v"] * 50, "z": ["v", "v"] * 50, "who": ["p", "q"] * 50})
    asked = {"privacy": "dp", "epsilon": 2.0, "delta": DELTA, "mechanism": mechanism, "replicates": 10}
    spent = Ledger(Budget(5.0, DELTA))
    found = evaluate(None, table, table, schema=schema, config=EvaluateConfig.parse(asked), ledger=spent)
    (one,) = found.ledger
    assert (one.of, one.covered, one.label) == ("evaluation", True, f"evaluate privately, {mechanism} noise")
    assert one.delta == DELTA  # of the ledger's budget
    assert one.epsilon == one.total == spent.epsilon(DELTA) <= 2.0 * (1 + 1e-9)
    assert one.unit == "all rows of table 'table' that share ['who'], at most 2"
    (alone,) = evaluate(None, table, table, schema=schema, config=EvaluateConfig.parse(asked), ledger=Ledger()).ledger
    assert alone.delta == delta
    assert math.isclose(alone.epsilon, 2.0, rel_tol=1e-6)


def test_the_charges_of_a_model_are_at_the_delta_of_its_promise():
    told = of_model(ledger(), Statement(epsilon=1.0, delta=DELTA, unit="a person"))
    assert {(one.of, one.delta, one.unit) for one in told} == {("model", DELTA, "a person")}


def test_a_report_tells_what_its_own_call_was_charged_and_nothing_that_the_ledger_had_before(model):
    shared = Ledger.from_json(model.ledger.to_json())
    config = FidelityConfig(replicates=10, detector_rows=60, detector_folds=2, manifold_rows=60)
    judged = evaluate(rows(0), rows(1), rows(2), config=config, ledger=shared)
    assert [one.label for one in judged.ledger] == ["evaluate: 120 train and 120 holdout rows"]
    before = len(shared.entries)
    checked = validate(rows(2), real=rows(0), ledger=shared)
    assert [one.label for one in checked.ledger] == [entry.label for entry in shared.entries[before:]]
    assert checked.ledger[0].label == "validate: 120 real rows"
