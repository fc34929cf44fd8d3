"""Generators by name: those of packages that are installed while a process runs, and the line about each."""

import importlib
import sys
import time

import pytest

from synth_components.errors import UnsupportedError
from synth_components.generators import GROUP, module_of, names
from synth_components.steps.catalogue import summary_of


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages, which was searched before anything was in it."""
    monkeypatch.syspath_prepend(tmp_path)
    assert "acme.new" not in names()
    with pytest.raises(UnsupportedError, match=r"no generator 'acme\.new'"):
        module_of("acme.new")
    yield tmp_path
    sys.modules.pop("acme_new", None)


def install(site, text):
    time.sleep(0.02)  # the clock that folders are dated by ticks every few milliseconds
    info = site / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nacme.new = acme_new\n")
    (site / "acme_new.py").write_text(text, encoding="utf-8")
    importlib.invalidate_caches()


def test_a_generator_that_is_installed_while_a_process_runs_is_found(site):
    install(site, "")
    assert "acme.new" in names()
    assert module_of("acme.new").__name__ == "acme_new"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('"""Draw rows.\n\nMore.\n"""\n\nimport nothing_that_exists\n', "Draw rows."),
        ('# Whose it is.\n\nr"""\nDraw \\d rows.\n"""\n', "Draw \\d rows."),
        ("import os\n\n'''No docstring.'''\n", ""),
        ("", ""),
    ],
    ids=["first", "after a comment", "none", "nothing"],
)
def test_the_line_about_a_generator_is_the_first_of_its_docstring_and_imports_nothing(site, text, line):
    install(site, text)
    assert summary_of("acme.new") == line
