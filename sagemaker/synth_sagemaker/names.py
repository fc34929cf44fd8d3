"""Names of jobs and other resources, which SageMaker lets be 63 letters, digits and single dashes at most."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version

MAX_NAME = 63
MAX_TUNING_NAME = 32
"""Characters of the name of a tuning job, which names its training jobs after itself."""


@cache
def package_version() -> str:
    """Return the version of this package."""
    return version("synth-components")


def resource_name(*parts: str, max_length: int = MAX_NAME) -> str:
    """Return a name of at most ``max_length`` characters that SageMaker takes, whatever the parts hold.

    What is no ASCII letter or digit becomes a dash.  The last part is kept whole, as far as it fits: it is what tells
    one job from another, so the others are cut.
    """
    clean = [word for part in parts if (word := re.sub(r"[^A-Za-z0-9]+", "-", part).strip("-"))] or ["synth"]
    last = clean[-1][-max_length:].strip("-")
    room = max_length - len(last) - 1
    head = "-".join(clean[:-1])[: max(room, 0)].strip("-")
    return f"{head}-{last}" if head else last


def job_name(*parts: str, moment: datetime | None = None, max_length: int = MAX_NAME) -> str:
    """Return a name that no earlier job has: the parts, then a moment (UTC, to the millisecond), now by default."""
    told = (moment or datetime.now(UTC)).astimezone(UTC).strftime("%Y%m%d%H%M%S%f")[:17]
    return resource_name(*parts, told, max_length=max_length)
