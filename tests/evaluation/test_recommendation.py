import re

import pandas as pd
import pytest

from synth_components.evaluation.recommendation import recommendations
from synth_components.generators import recipe_type
from synth_components.protocols import Score

POOR = (
    Score("fidelity.marginal.ks", 0.5, None, 0, 0.99, 1, ("age",)),
    Score("fidelity.marginal.tv", 0.5, None, 0, 0.99, 1, ("city",)),
    Score("fidelity.missing", 0.5, None, 0, 0.99, 1, ("age",)),
    Score("fidelity.coverage", 0.5, None, 0, 0.99, 1, ("city",)),
    Score("utility.ratio", 0.5, None, 0, 1, 1, ("t", "boosted")),
    Score("utility.trtr.accuracy", 0.9, None, 0, 0.9, 1, ("t", "boosted")),
    Score("validity.rule", 0.5, None, 0, 1, 1, ("r",)),
    Score("validity.column", 0.5, None, 0, 1, 1, ("age",)),
    Score("privacy.copies", 0.5, None, 0, 0, 0),
    Score("privacy.copies.bound", 0.01, None, 0, 0, 0),
    Score("privacy.copies.p_value", 0.0, None, 0, 0.5, 1),
    Score("privacy.dcr.share", 0.9, (0.88, 0.92), 0.01, 0.5, 0.5),
    Score("fidelity.detection.boosted.holdout", 0.1, None, 0, 0.9, 1),
)
PAIRS = pd.DataFrame([{"first": "age", "second": "city", "score": 0.5, "floor": 0.99, "real": 0.8, "synthetic": 0.1}])


@pytest.fixture(scope="module")
def made():
    return recommendations(POOR, {"fidelity.pairs": PAIRS}, ["t"])


def test_every_kind_of_finding_has_advice(made):
    assert len(made) == 11  # one per poor score but the two that only support others, and one for the pair


def test_advice_names_only_options_that_exist(made):
    options = set(recipe_type("tabular.trees").model_fields)
    named = {word for one in made for word in re.findall(r"\b[a-z]+(?:_[a-z]+)+\b|\bknots\b", one.change)}
    assert {"min_leaf", "knots", "min_category_count", "correction_rounds"} <= named <= options
    assert not any("jitter" in one.change for one in made)


def test_no_advice_asks_for_more_knots_than_the_default_which_is_the_most():
    field = recipe_type("tabular.trees").model_fields["knots"]
    assert field.default == next(rule.le for rule in field.metadata if hasattr(rule, "le"))
    (one,) = recommendations(POOR[:1], {}, [])
    assert "where knots were lowered" in one.change


def test_a_good_report_needs_no_advice():
    assert recommendations((Score("fidelity.marginal.ks", 0.99, None, 0, 0.99, 1, ("age",)),), {}, []) == ()


def test_a_task_that_was_not_scored_is_named():
    (one,) = recommendations((), {}, ["t"])
    assert one.finding == "the task 't' could not be scored, and counts as 0"
