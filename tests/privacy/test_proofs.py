"""The page of proofs: every mechanism has its row, and every test that a row names is there."""

import inspect
import re
from pathlib import Path

from synth_components.privacy import noise

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "synth_components" / "privacy" / "README.md").read_text(encoding="utf-8")
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "privacy").glob("test_*.py"))
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and "where |" not in line]


def test_every_function_that_adds_noise_has_a_row():
    made = [
        name
        for name, one in vars(noise).items()
        if inspect.isfunction(one) and one.__module__ == noise.__name__ and "_count_noise" in inspect.getsource(one)
    ]
    public = {name for name in [*made, "noisy_best", "kept_keys"] if not name.startswith("_")}
    assert public >= {"noisy_counts", "laplace_counts"}
    assert not [name for name in public if f"`noise.{name}`" not in PAGE]


def test_every_private_generator_has_a_row():
    from cases import CASES

    assert not [case.name for case in CASES if case.private and f"`{case.name}`" not in PAGE]


def test_every_row_names_tests_that_exist():
    for row in ROWS:
        named = re.findall(r"`(test_\w+)`", row)
        assert named or "the same two" in row, row
        assert not [name for name in named if f"def {name}(" not in TESTS]
