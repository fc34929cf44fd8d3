from pathlib import Path
from typing import Annotated

import pytest

from synth_components.config import StepConfig
from synth_components.steps import STEPS, load
from synth_components.steps.port import InDataset, OutModel, Port, config_of, ports, summary

ALL = [pytest.param(load(name), id=name) for name in STEPS]


class Knobs(StepConfig):
    pass


def grow(config: Knobs, *, data: InDataset, model: OutModel) -> None:
    """Grow a thing.

    Longer text.

    Args:
        data: The rows,
            on two lines.
        model: Where it goes.

    Raises:
        OSError: never.
    """


def test_ports_come_with_the_words_of_the_docstring():
    assert ports(grow) == {
        "data": Port("in", "dataset", description="The rows, on two lines."),
        "model": Port("out", "model", description="Where it goes."),
    }


def test_config_of_is_the_annotation_of_the_first_parameter():
    assert config_of(grow) is Knobs


def test_ports_refuses_a_keyword_that_is_no_port():
    def bad(config: Knobs, *, data: Path) -> None: ...

    with pytest.raises(TypeError, match="'data'"):
        ports(bad)


def test_ports_refuses_an_optional_port_without_default():
    def bad(config: Knobs, *, data: Annotated[Path | None, Port("in", "dataset", optional=True)]) -> None: ...

    with pytest.raises(TypeError, match="default"):
        ports(bad)


def test_config_of_refuses_a_step_without_config():
    def bad(config: int) -> None: ...

    with pytest.raises(TypeError, match="StepConfig"):
        config_of(bad)


@pytest.mark.parametrize("step", ALL)
def test_every_step_says_what_it_does_in_one_line(step):
    assert summary(step).endswith(".")
    assert len(summary(step)) <= 120


@pytest.mark.parametrize("step", ALL)
def test_every_port_says_what_it_is_for(step):
    assert [name for name, port in ports(step).items() if not port.description] == []


@pytest.mark.parametrize("step", ALL)
def test_every_option_has_a_help_text_and_a_default_that_json_can_carry(step):
    fields = config_of(step).model_fields
    assert [name for name, field in fields.items() if not field.description] == []
    assert [name for name, field in fields.items() if field.is_required() or field.default is None] == []


@pytest.mark.parametrize("name", ["evaluate", "evaluate_fidelity", "evaluate_tstr", "evaluate_privacy"])
def test_the_evaluations_insist_on_a_holdout(name):
    assert not ports(load(name))["holdout"].optional
