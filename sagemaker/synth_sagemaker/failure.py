"""Why a job failed, where SageMaker looks for it: ``failure`` of a training job, ``message`` of a processing job.

Whoever may describe a job reads it, so it names columns, rules and files, and neither cell values nor lines of code.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from synth_components.errors import StoppedError, SynthError, ThresholdError
from synth_components.steps.record import write_text

MAX_BYTES = 1024
"""What SageMaker keeps of the text."""


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Write why the block failed into a file, and let the error go on: the exit status is the command line's.

    A job that a signal stopped did not fail, nor did one that was asked for help.
    """
    path.unlink(missing_ok=True)  # of an attempt before an interruption
    try:
        yield
    except click.exceptions.Exit:  # --help
        raise
    except Exception as error:
        if not (isinstance(error, StoppedError) and error.signal):
            write_text(path, described(error))
        raise


def described(error: Exception) -> str:
    """Return one line, whose beginning says whose error it is, of at most ``MAX_BYTES`` bytes of UTF-8.

    ``UserError``: data or options are wrong.  ``ThresholdError``: the model was judged and missed what was asked for.
    ``PlatformError``: disk, memory or permissions.  ``AlgorithmError``: a bug, told by its place alone.
    """
    match error:
        case ThresholdError():
            line = f"ThresholdError: {error}"
        case SynthError():
            line = f"UserError: {error}"
        case click.ClickException():
            line = f"UserError: {error.format_message()}"
        case OSError():
            where = f": '{error.filename}'" if error.filename else ""
            line = f"PlatformError: {error.strerror or type(error).__name__}{where}"
        case MemoryError():
            line = "PlatformError: out of memory; take a larger instance, or give fewer rows"
        case _:
            place = traceback.extract_tb(error.__traceback__)[-1]
            line = f"AlgorithmError: {type(error).__name__} in {place.name}, line {place.lineno}; please report it"
    return " ".join(line.split()).encode("utf-8", "replace")[:MAX_BYTES].decode("utf-8", "ignore")
