"""The overall score: what it may not let through."""

import json

import numpy as np
import pandas as pd
import pytest

from synth_components.evaluation import evaluate
from synth_components.evaluation.options import EvaluateConfig
from synth_components.evaluation.quality import MIN_ROWS, quality
from synth_components.evaluation.report import Report
from synth_components.protocols import Score

QUICK = {"replicates": 10, "detector_rows": 60, "detector_folds": 2, "manifold_rows": 60, "global_utility": False}
GOOD = Score("fidelity.shape", 0.99, None, 0, 0.99, 1)
TASK = (
    Score("utility.ratio", 1.0, None, 0, 1, 1, ("known", "boosted")),
    Score("utility.trtr.accuracy", 0.9, None, 0, 0.9, 1, ("known", "boosted")),
)


def rows(n, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return pd.DataFrame({"x": x, "c": np.where(x + rng.normal(size=n) > 0, "u", "v")})


TRAIN, HOLDOUT, FRESH = rows(200, 1), rows(200, 2), rows(200, 3)


def judged(synthetic, *, holdout=HOLDOUT, **options):
    return evaluate(TRAIN, holdout, synthetic, config=EvaluateConfig(**QUICK, **options))


@pytest.mark.parametrize("synthetic", [HOLDOUT.iloc[:1], FRESH.iloc[: MIN_ROWS - 1]], ids=["one row", "29 rows"])
def test_too_few_synthetic_rows_reach_no_quality(synthetic):
    made = judged(synthetic, min_quality=0.01, target="c")
    assert made.overall.value is None
    assert not made.passed
    assert "the synthetic table has" in made.recommendations[0].finding
    assert "missed" in made.to_markdown()
    assert "missed" in made.to_html()


def test_a_holdout_too_small_to_set_a_floor_reaches_no_quality():
    made = judged(FRESH, holdout=HOLDOUT.iloc[:5], min_quality=0.01)
    assert (made.overall.value, made.passed) == (None, False)
    assert "the holdout table has 5 rows" in made.recommendations[0].finding


def test_enough_rows_are_judged():
    made = judged(FRESH.iloc[:MIN_ROWS], min_quality=0.01)
    assert made.overall.value is not None
    assert made.passed


def test_a_report_of_too_few_rows_written_by_an_older_version_has_no_quality():
    made = judged(FRESH, min_quality=0.5)
    value = json.loads(json.dumps(made.to_json()))
    value["rows"]["synthetic"] = 1
    old = Report.from_json(value)
    assert (old.overall.value, old.passed) == (None, False)
    assert Report.from_json(old.to_json()).to_json() == old.to_json()


def test_a_named_task_that_was_not_scored_counts_as_nothing():
    assert quality((GOOD, *TASK), ["known"], threshold=0.5).parts["utility"] == 1.0
    half = quality((GOOD, *TASK), ["known", "other"], threshold=0.9)
    assert (half.parts["utility"], half.passed) == (0.5, False)
    none = quality((GOOD,), ["other"], threshold=0.01)
    assert (none.value, none.passed) == (0.0, False)


def test_a_task_that_synthetic_rows_cannot_teach_fails_the_report_and_has_advice():
    made = judged(FRESH.assign(c=None), min_quality=0.01, target="c")
    assert (made.overall.value, made.passed) == (0.0, False)
    assert any("task 'c' could not be scored" in one.finding for one in made.recommendations)


def test_without_a_threshold_nothing_fails():
    assert judged(HOLDOUT.iloc[:1]).passed
    assert quality((), [], threshold=0.0).passed
    assert not quality((), [], threshold=0.1).passed
