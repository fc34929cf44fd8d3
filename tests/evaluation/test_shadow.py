"""The shadow-model audit must see a generator that hands out its rows, and no other, and go on where it was."""

import json

import numpy as np
import pytest
from leaky import SCHEMA, data, population

from synth_components.__main__ import main
from synth_components.evaluation.attacks.risk import risk
from synth_components.evaluation.attacks.shadow import likelihood_ratios, shadow
from synth_components.evaluation.judged import Judged
from synth_components.io.artifact import fingerprint_of
from synth_components.steps.report_file import read_report

ROWS = population(400, 1)


def audit(tmp_path, *, share, noise=0.05, budget=10.0, **options):
    asked = {"rows": 150, "records": 20, "most": 16, "trust": ("leaky",), **options}
    return shadow(
        data(ROWS),
        generator="leaky",
        options={"share": share, "noise": noise},
        budget=budget,
        state=tmp_path / "shadows.jsonl",
        **asked,
    )


def test_a_generator_that_hands_out_noisy_rows_is_caught(tmp_path):
    found = audit(tmp_path, share=1.0)
    assert {one.name for one in found.scores} == {"privacy.shadow.auc", "privacy.shadow.tpr_at_1_in_100"}
    # Without an interval where every resample tells all pairs apart; the risk takes the value itself then.
    assert (found.scores[0].interval or (found.scores[0].value,))[0] > 0.8
    assert risk(found.scores)[0].value > 0.6


def test_a_generator_that_shuffles_its_columns_passes(tmp_path):
    (auc, _) = audit(tmp_path, share=0.0).scores
    # 16 shadows of 20 records: AUC of 160 and 160 tries deviates by sqrt(1 / (6 * 160)) = .032 were they independent.
    assert abs(auc.value - auc.floor) < 4 * 0.032


def test_an_audit_goes_on_where_it_was_and_ends_with_the_same_scores(tmp_path):
    seen = []
    ticks = iter(range(0, 10_000, 60))  # a minute passes at every look
    first = audit(tmp_path / "a", share=1.0, budget=3.5, clock=lambda: next(ticks))
    assert not first.scores
    assert "the budget allowed 3 shadow models" in first.tables["left_out"]["reason"].iloc[0]
    again = audit(tmp_path / "a", share=1.0, report=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 16) for done in range(3, 17)]
    assert again.scores == audit(tmp_path / "b", share=1.0).scores


def test_another_recipe_starts_anew_and_the_state_holds_no_value(tmp_path):
    audit(tmp_path, share=1.0, most=2)
    audit(tmp_path, share=0.5, most=2)
    text = (tmp_path / "shadows.jsonl").read_text()
    assert len(text.splitlines()) == 4
    assert "city" not in text
    assert f"{ROWS['x'].iloc[0]}" not in text


def test_ratios_are_those_of_two_normal_laws_judged_by_the_others():
    inside = np.array([[1], [1], [0], [0]], dtype=bool)
    close = np.array([[2.0], [4.0], [0.0], [1.0]])
    # The first is judged by 4 inside and a mean of .5 outside; own means 4, 2, 1, 0 give a variance of (4+4+1+1)/4.
    expected = ((2 - 0.5) ** 2 - (2 - 4) ** 2) / (2 * 2.5)
    assert likelihood_ratios(inside, close)[0, 0] == pytest.approx(expected)


@pytest.fixture
def trained(tmp_path):
    """A folder with rows, and a model of them."""
    ROWS.to_csv(tmp_path / "rows.csv", index=False)
    words = ["train", "--data", tmp_path / "rows.csv", "--model", tmp_path / "model", "--quiet", "--seed", "3"]
    assert main([*map(str, words), "--generator", "tabular.independent", "--generator.knots", "20"]) == 0
    return tmp_path


def of_model(folder, *more, knots="20"):
    """Audit with the folder's model, and return the exit status."""
    words = ["shadow-audit", "--data", folder / "rows.csv", "--model", folder / "model", "--budget", "5"]
    words += ["--shadow-rows", "100", "--shadows", "8", "--records", "20", "--report", folder / "audit.json", "--quiet"]
    words += ["--generator", "tabular.independent", "--generator.knots", knots, *more]
    return main([str(word) for word in words])


def test_an_audit_names_the_model_whose_generator_options_and_rows_it_refits(trained):
    assert of_model(trained) == 0
    judged = read_report(trained / "audit.json").judged
    assert judged == Judged(fingerprint_of(trained / "model"))
    gate = ["gate", "--report", str(trained / "audit.json"), "--quiet", "--max-risk", "1"]
    assert main([*gate, "--model", str(trained / "model")]) == 0
    assert main([*gate, "--data", str(trained / "rows.csv")]) == 3  # no rows were judged, so none are named


@pytest.mark.parametrize(
    ("more", "knots", "told"),
    [
        ((), "30", "other options of tabular.independent than are audited: knots"),
        (("--generator", "tabular.gaussian_copula"), "20", "the model is of tabular.independent"),
        (("--data", "other.csv"), "20", "fitted to other rows"),
    ],
)
def test_an_audit_of_something_else_than_the_model_is_refused_before_a_fit(trained, capsys, more, knots, told):
    ROWS[:300].to_csv(trained / "other.csv", index=False)
    more = [str(trained / word) if word.endswith(".csv") else word for word in more]
    assert of_model(trained, *more, knots=knots) == 2
    assert told in capsys.readouterr().err
    assert not (trained / "audit.json").exists()


def test_the_command_writes_a_report_that_the_gate_stops(tmp_path):
    ROWS.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "schema.json").write_text(SCHEMA.canonical())
    words = ["shadow-audit", "--data", tmp_path / "rows.csv", "--schema", tmp_path / "schema.json"]
    words += ["--generator", "leaky", "--trust", '["leaky"]', "--budget", "5", "--shadow-rows", "100"]
    words += ["--shadows", "8", "--records", "20", "--checkpoint", tmp_path / "kept"]
    words += ["--report", tmp_path / "audit.json", "--page", tmp_path / "audit.html", "--quiet"]
    assert main([str(word) for word in words]) == 0
    names = {one["name"] for one in json.loads((tmp_path / "audit.json").read_text())["scores"]}
    assert {"privacy.shadow.auc", "privacy.risk"} <= names
    assert "Attacks and risk" in (tmp_path / "audit.html").read_text()
    assert len((tmp_path / "kept" / "shadows.jsonl").read_text().splitlines()) == 8
    assert main(["gate", "--report", str(tmp_path / "audit.json"), "--quiet"]) == 3
