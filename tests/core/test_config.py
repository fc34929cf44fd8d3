"""Options survive their strings, and a wrong one is named."""

import json
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from synth_components.config import Config, ConfigError, StepConfig, from_strings, json_schema, to_strings
from synth_components.errors import SynthError

TEXT = st.text(max_size=10)
INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)


class Sample(StepConfig):
    """One option of each type."""

    rows: int = Field(1000, description="Rows.")
    share: float = Field(0.5, description="Share.")
    name: str = Field("adult", description="Name.")
    quiet: bool = Field(default=False, description="Quiet.")
    mode: Literal["none", "dp"] = Field("none", description="Mode.")
    level: Literal[1, 2] = Field(1, description="Level.")
    columns: tuple[str, ...] = Field((), description="Columns.")
    counts: list[int] = Field(default_factory=list, description="Counts.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options.")
    seed: int | None = Field(None, description="Seed.")


JSONS = st.dictionaries(TEXT, st.one_of(TEXT, INTEGERS, st.booleans(), st.none(), st.floats(-1e9, 1e9)), max_size=3)


@settings(max_examples=60)
@given(
    st.builds(
        Sample,
        rows=INTEGERS,
        share=st.floats(allow_nan=False, allow_infinity=False),
        name=TEXT,
        quiet=st.booleans(),
        mode=st.sampled_from(["none", "dp"]),
        level=st.sampled_from([1, 2]),
        columns=st.lists(TEXT, max_size=3).map(tuple),
        counts=st.lists(INTEGERS, max_size=3),
        options=JSONS,
        seed=st.none() | INTEGERS,
    )
)
def test_every_option_survives_its_string(config):
    strings = to_strings(config)
    assert all(isinstance(text, str) for text in strings.values())
    assert from_strings(Sample, strings) == config
    assert Sample.parse(json.loads(config.canonical())) == config


def test_strings_speak_the_platforms_dialect():
    strings = to_strings(Sample(quiet=True, columns=("a", "b"), options={"b": 1, "a": [2]}))
    assert strings["quiet"] == "true"
    assert strings["columns"] == '["a", "b"]'
    assert strings["options"] == '{"a": [2], "b": 1}'
    assert strings["name"] == "adult"


@pytest.mark.parametrize(("text", "rows"), [("5", 5), ("5.0", 5), ("9007199254740991", 2**53 - 1), ("1e3", 1000)])
def test_an_integer_may_arrive_as_a_float_as_kfp_sends_it(text, rows):
    assert from_strings(Sample, {"rows": text}).rows == rows


def test_a_float_may_arrive_as_an_integer():
    assert from_strings(Sample, {"share": "1"}).share == 1.0


def test_an_empty_text_is_the_default_as_sagemaker_sends_it_except_for_text():
    made = from_strings(Sample, {"rows": "", "share": "", "quiet": "", "columns": "", "options": "", "name": ""})
    assert made == Sample(name="")


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"rows": "five"}, "rows"),
        ({"rows": "5.5"}, "rows"),
        ({"rows": "null"}, "rows"),
        ({"rows": "[5]"}, "rows"),
        ({"share": "NaN"}, "share"),
        ({"share": "Infinity"}, "share"),
        ({"quiet": "yes"}, "quiet"),
        ({"mode": "off"}, "mode"),
        ({"columns": "a,b"}, "columns"),
        ({"columns": '{"a": 1}'}, "columns"),
        ({"options": "[1]"}, "options"),
        ({"row": "5"}, "row"),
    ],
)
def test_a_wrong_option_is_named(options, option):
    with pytest.raises(ConfigError) as caught:
        from_strings(Sample, options)
    assert caught.value.option.split(".")[0] == option
    assert option in str(caught.value)


def test_an_unknown_option_is_answered_with_those_that_exist():
    with pytest.raises(ConfigError, match="rows, share, name"):
        Sample.parse({"lines": 3})


def test_an_error_does_not_repeat_the_value():
    with pytest.raises(ConfigError) as caught:
        Sample.parse({"rows": "do-not-tell"})
    assert "do-not-tell" not in str(caught.value)
    assert isinstance(caught.value, SynthError)


def test_a_config_is_frozen_and_equal_by_canonical_text():
    one, other = Sample(options={"a": 1, "b": 2}), Sample(options={"b": 2, "a": 1})
    assert one.canonical() == other.canonical()
    with pytest.raises(ValidationError):
        one.rows = 3


def test_no_options_are_the_defaults():
    assert Sample.parse() == Sample()
    assert from_strings(Config, {}) == Config()


def test_a_type_has_a_json_schema():
    assert json_schema(Literal["a", "b"])["enum"] == ["a", "b"]
