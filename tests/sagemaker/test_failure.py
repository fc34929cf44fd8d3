"""Why a job failed (requirement 4)."""

import errno
import signal

import click
import pytest

from synth_components.errors import DataError, StoppedError, ThresholdError
from synth_sagemaker.failure import MAX_BYTES, described, reported


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("column 'age' is empty; drop it"), "UserError: column 'age' is empty; drop it"),
        (click.UsageError("no such option: --rows"), "UserError: no such option: --rows"),
        (ThresholdError("the overall score is 0.4"), "ThresholdError: the overall score is 0.4"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/opt/ml/model"),
            "PlatformError: No space left on device: '/opt/ml/model'",
        ),
        (MemoryError("canary"), "PlatformError: out of memory; take a larger instance, or give fewer rows"),
        (DataError("two\nlines"), "UserError: two lines"),
    ],
)
def test_the_beginning_says_whose_error_it_is(error, line):
    """Requirement 4."""
    assert described(error) == line


def test_a_bug_is_told_by_its_place_and_never_by_its_message(tmp_path):
    """Requirement 4: the message of an error that is not ours may hold a cell value."""
    with pytest.raises(ValueError, match="canary-4711"), reported(tmp_path / "failure"):
        raise ValueError("could not convert string to float: 'canary-4711'")
    text = (tmp_path / "failure").read_text(encoding="utf-8")
    assert text.startswith("AlgorithmError: ValueError in test_a_bug_is_told")
    assert "canary" not in text
    assert "Traceback" not in text


@pytest.mark.parametrize("letter", ["a", "é", "\N{GRINNING FACE}"])
def test_the_text_ends_within_what_sagemaker_keeps_and_with_a_whole_letter(letter, tmp_path):
    """Requirement 4: a message that is no UTF-8 would fail the job by itself."""
    with pytest.raises(DataError), reported(tmp_path / "output" / "failure"):
        raise DataError(letter * 2000)
    raw = (tmp_path / "output" / "failure").read_bytes()
    assert MAX_BYTES - 4 < len(raw) <= MAX_BYTES
    assert raw.decode("utf-8").endswith(letter)


def test_a_name_that_is_no_text_can_be_told(tmp_path):
    assert described(DataError("file '\udcff.csv'")) == "UserError: file '?.csv'"


def test_a_job_that_a_signal_stopped_did_not_fail(tmp_path):
    with pytest.raises(StoppedError), reported(tmp_path / "failure"):
        raise StoppedError("stopped", signal=signal.SIGTERM)
    assert not (tmp_path / "failure").exists()


def test_the_reason_of_an_earlier_attempt_is_gone(tmp_path):
    (tmp_path / "failure").write_text("UserError: old")
    with reported(tmp_path / "failure"):
        pass
    assert not (tmp_path / "failure").exists()
