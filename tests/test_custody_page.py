"""docs/custody.md: each call of the page ends in what the page shows, and each command is one."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import click
import pytest

from synth_components.__main__ import synth
from synth_components.errors import SynthError

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "custody.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(python|sh|text)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_calls_end_in_what_the_page_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    said = None
    for language, text in BLOCKS:
        if language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                try:
                    exec(compile(text, "docs/custody.md", "exec"), names)
                except SynthError as error:
                    out.write(str(error))
            said = out.getvalue().strip()
        elif language == "text":
            assert said == text.strip()


@pytest.mark.parametrize(
    "line", [line for language, text in BLOCKS if language == "sh" for line in text.splitlines() if "synth " in line]
)
def test_the_commands_and_options_exist(line):
    words = shlex.split(line)[1:]
    command, context = synth, click.Context(synth)
    while isinstance(command, click.Group):
        command = command.get_command(context, words.pop(0))
        assert command is not None
        context = click.Context(command)
    known = {flag for param in command.params for flag in param.opts}
    assert {word for word in words if word.startswith("--")} <= known
