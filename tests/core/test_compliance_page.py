"""The Python of docs/sensitive.md prints what the page says."""

import contextlib
import io
import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sensitive.md"


def test_the_page_prints_what_it_says():
    text = PAGE.read_text(encoding="utf-8")
    codes = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    expected = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    names, printed = {}, []
    for code in codes:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, "docs/sensitive.md", "exec"), names)
        printed.append(out.getvalue())
    assert printed == expected
    assert len(printed) == 3
