"""The Python of docs/protection.md prints what the page says."""

import contextlib
import io
import re
from pathlib import Path

from synth_components.policy import OF_LEVEL

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "protection.md").read_text(encoding="utf-8")


def test_the_page_prints_what_it_says():
    names, printed = {}, []
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, "docs/protection.md", "exec"), names)
        printed.append(out.getvalue())
    assert [text for text in printed if text] == re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert len(printed) == 4


def test_the_page_tells_the_techniques_of_each_level():
    told = dict(re.findall(r"^\| (low|medium|high|critical) \| (.*) \|$", PAGE, re.MULTILINE))
    spoken = {"k_anonymity": "k-anonymity", "l_diversity": "l-diversity", "t_closeness": "t-closeness"}
    for level, techniques in OF_LEVEL.items():
        assert told[level] == ", ".join(spoken.get(one, one.replace("_", " ")) for one in techniques)
