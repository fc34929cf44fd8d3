"""Asked for epsilon, every generator keeps it, or is refused before a row is read: why, and which others keep one."""

import math

import pandas as pd
import pytest
from cases import CASES

import synth_components as synth
from synth_components import generators
from synth_components.errors import BudgetExceededError
from synth_components.schema import TABLE, Boolean, Schema

PRIVATE = sorted({case.name for case in CASES if case.private})
COMPOSED = ["auto", "tabular.ensemble", "tabular.hybrid"]  # private where their members are
WITHOUT_ROWS = ["tabular.specified"]
SCHEMA = Schema({TABLE: {"a": Boolean(public=True)}})
ROWS = pd.DataFrame({"a": [True, False] * 20})


def test_every_generator_has_a_private_case_or_a_reason_why_not():
    assert sorted(generators.private_names()) == sorted([*PRIVATE, *COMPOSED, *WITHOUT_ROWS])


@pytest.mark.parametrize("name", sorted(set(generators.names()) - {*PRIVATE, *COMPOSED, *WITHOUT_ROWS}))
def test_a_generator_without_privacy_is_refused_with_the_reason_and_those_that_have_it(name, monkeypatch):
    def read(*_):
        pytest.fail("a row was read")

    monkeypatch.setattr("synth_components.fitting.dataset_of", read)
    # No package that fits it need be installed: what it cannot promise is told first.
    with pytest.raises(BudgetExceededError, match="nothing was read") as caught:
        synth.fit(ROWS, generator=name, epsilon=1.0, schema=SCHEMA)
    message = str(caught.value)
    assert message.startswith(f"{name} offers no differential privacy: ")
    assert generators.recipe_type(name).without_privacy in message
    assert all(private in message for private in PRIVATE)
    assert caught.value.requested == math.inf


@pytest.mark.parametrize("name", ["tabular.ensemble", "tabular.hybrid"])
def test_members_without_privacy_are_refused_too(name):
    options = {
        "tabular.ensemble": {"generators": ["tabular.mst", "tabular.independent"], "weights": [1, 1]},
        "tabular.hybrid": {"first": "tabular.independent", "columns": ["a"], "second": "tabular.mst"},
    }[name]
    with pytest.raises(BudgetExceededError, match=r"its member tabular\.independent does not .*nothing was read"):
        synth.fit(ROWS.assign(b=True), generator=name, epsilon=1.0, schema=PAIR, options=options)


PAIR = Schema({TABLE: {"a": Boolean(public=True), "b": Boolean(public=True)}})
