import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from synth_components.evaluation import evaluate
from synth_components.evaluation.card import card
from synth_components.evaluation.options import EvaluateConfig
from synth_components.evaluation.report import Report
from synth_components.protocols import Score

QUICK = EvaluateConfig(replicates=10, detector_rows=60, detector_folds=2, manifold_rows=60, global_utility=False)


@pytest.fixture(scope="module")
def report():
    def rows(seed):
        rng = np.random.default_rng(seed)
        return pd.DataFrame({"a<b": rng.normal(size=120), "city": rng.choice(["x", "y"], 120)})

    return evaluate(rows(0), rows(1), rows(2), config=QUICK)


def test_a_report_shows_overall_verdicts_and_worst_columns(report):
    shown = repr(report)
    assert shown.startswith(f"Report: overall {report.overall.value:.3f} (")
    assert all(verdict.name in shown for verdict in report.card)
    assert "  a<b: 0." in shown
    assert len(shown.splitlines()) == 2 + len(report.card) + 1 + 2  # headline, head, verdicts, two columns
    assert len(shown) < 2_000


def test_a_notebook_gets_a_table_of_the_same(report):
    shown = report._repr_html_()
    assert shown.count("<tr>") == 1 + len(report.card)
    assert "a&lt;b" in shown
    assert "a<b" not in shown


def test_scores_without_an_interval_say_so_everywhere(report):
    bare = {score.name for score in report.scores if score.interval is None}
    assert {"privacy.copies.p_value", "fidelity.coverage"} <= bare
    written = json.loads(json.dumps(report.to_json()))
    assert {one["name"] for one in written["scores"] if one["interval"] is None} == bare
    assert Report.from_json(written).scores == report.scores
    assert "| none |" in report.to_markdown()
    assert '<td class="num">none</td>' in report.to_html()


def test_no_interval_is_a_point(report):
    made = [score for score in report.scores if score.interval is not None]
    assert made
    assert [score.name for score in made if score.interval[0] == score.interval[1]] == []


def test_the_report_says_what_an_interval_covers(report):
    for text in (report.to_markdown(), report.to_html()):
        assert "An interval of 95 % covers" in text


def test_markdown_shows_the_names_of_columns_and_runs_none_of_them():
    name, tag = "a|b\n# <script>alert(1)</script> [x](y) *z* _w_ `v`", "<script"
    rng = np.random.default_rng(0)
    real, unseen = (pd.DataFrame({name: rng.normal(size=120), "b": rng.normal(size=120)}) for _ in range(2))
    drawn = real.assign(**{name: rng.normal(size=120) + 5})
    made = evaluate(real, unseen, drawn, config=QUICK, target=name)
    text = made.to_markdown()
    assert any(name in one.subject for one in made.recommendations)
    assert text.count(r"a\|b # &lt;script>alert(1)&lt;/script> \[x\](y) \*z\* \_w\_ \`v\`") > 5
    assert tag not in text
    assert "\n# " not in text.removeprefix("# Report")
    assert "privacy.near_copies" in text


def test_a_verdict_that_rests_on_chance_says_so():
    share = Score("privacy.dcr.share", 0.541, (0.512, 0.570), 0.015, 0.5, 0.5)
    (by_chance,) = card([share], ())
    assert by_chance.passed
    assert by_chance.sign == "pass (above by no more than chance)"
    (missed,) = card([replace(share, interval=(0.535, 0.547))], ())
    assert (missed.passed, missed.sign) == (False, "MISS")
    (plain,) = card([replace(share, value=0.52, interval=(0.5, 0.54))], ())
    assert (plain.passed, plain.sign) == (True, "pass")


def test_every_printed_card_says_where_a_verdict_rests_on_chance(report):
    (verdict,) = card([Score("privacy.dcr.share", 0.541, (0.512, 0.570), 0.015, 0.5, 0.5)], ())
    told = replace(report, card=(verdict,))
    for text in (repr(told), told._repr_html_(), told.to_markdown()):
        assert "pass (above by no more than chance)" in text


def people(seed, rows=400):
    rng = np.random.default_rng(seed)
    age = rng.normal(size=rows)
    return pd.DataFrame({"age": age, "ill": np.where(age + rng.normal(size=rows) > 0, "yes", "no"), "pay": -2 * age})


@pytest.fixture(scope="module")
def judged():
    config = QUICK.model_copy(update={"tasks": {"illness": "ill", "income": "pay"}, "replicates": 100})
    return evaluate(people(0), people(1), people(2), config=config)


def test_the_values_tell_of_the_whole_table_and_of_the_task_that_fares_worst(judged):
    values = judged.to_json()["values"]
    assert values["quality"] == judged.overall.value
    assert values["quality_fidelity"] == judged.overall.parts["fidelity"]
    assert values["privacy_copies"] == judged.value("privacy.copies")
    told = {verdict.name.split()[-1]: verdict.value for verdict in judged.card if verdict.name.startswith("TSTR")}
    assert values["utility_ratio"] == min(told.values())
    worst = min(told, key=lambda task: told[task])
    assert ("utility_tstr_r2" in values) == (worst == "income")
    assert all("." not in name for name in values)


def test_samples_of_four_fifths_deviate_half_as_much_as_resamples(judged):
    """Without replacement, the variance is (1 - 0.8) / 0.8 = 1/4 of the bootstrap's: half the deviation.

    Of 5 samples, the deviation has 4 degrees of freedom: below 0.15 times its expectation, chi-square 4 * 0.15^2, with
    probability 1 in 1,000; above 2.3 times, likewise.
    """
    samples = judged.tables["utility.samples"].query("measure == 'accuracy'")
    assert set(samples["classes"]) == {2}
    for row in samples.to_dict("records"):
        (bootstrap,) = (
            one.deviation
            for one in judged.scores
            if one.name == "utility.tstr.accuracy" and one.subject == (row["task"], row["learner"])
        )
        assert 0.15 * bootstrap / 2 < row["deviation"] < 2.3 * bootstrap / 2


def test_a_holdout_of_fewer_than_200_rows_has_no_deviation_over_samples():
    config = QUICK.model_copy(update={"target": "ill"})
    made = evaluate(people(0), people(1, rows=199), people(2), config=config).to_json()
    assert set(made["tables"]["utility.samples"]["deviation"]) == {None}
