"""Text that matches a regular expression."""

import re

import numpy as np
import pandas as pd
import pytest

from synth_components.errors import ConstraintError
from synth_components.pattern import matches, require_pattern, written

PATTERNS = [
    "AB-[0-9]{4}",
    r"\d{3}-\d{2}",
    "[A-Z][a-z]+",
    "(red|green|blue)( dark)?",
    "[^x]{2}",
    r"\w+@\w+\.(com|org)",
    "a*b+c?",
    "(?:ab){2,3}",
    "^x.y$",
    "[a-c_-]{5}",
    "x|y|",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_is_written_matches_according_to_python_too(pattern):
    texts = written(pattern, 200, rng=np.random.default_rng(0))
    assert all(re.fullmatch(pattern, text) for text in texts)
    assert matches(pd.Series(texts), pattern).all()


def test_what_is_written_varies():
    assert len(set(written("[A-Z]{4}", 100, rng=np.random.default_rng(0)))) > 95


@pytest.mark.parametrize("pattern", [r"\bx\b", r"\p{Lu}x", "(?i)x"])
def test_what_cannot_be_written_is_not_written_wrongly(pattern):
    require_pattern(pattern)
    assert written(pattern, 5, rng=np.random.default_rng(0)) is None


@pytest.mark.parametrize("pattern", ["(", "[a", r"(a)\1", "(?=a)b"])
def test_what_is_no_expression_of_linear_time_is_refused(pattern):
    with pytest.raises(ConstraintError, match="RE2"):
        require_pattern(pattern)


def test_the_whole_text_must_match_and_null_does_not():
    values = pd.Series(["ab", "xab", "ab\n", "aby", None], dtype=object)
    assert matches(values, "ab").tolist() == [True, False, False, False, False]


def test_a_pattern_that_hangs_python_takes_linear_time():
    assert matches(pd.Series(["a" * 40 + "!"]), "(a+)+").tolist() == [False]
