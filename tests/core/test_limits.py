"""Time and memory are measured by stage, and a limit ends the work with an error that names both."""

import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from synth_components import limits
from synth_components.errors import LimitError
from synth_components.limits import bytes_of, costing, costs_so_far, memory, metered
from synth_components.progress import stage

MIB = 2**20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("512", 512 * MIB),
        ("1.5", 1.5 * MIB),
        ("500MB", 500e6),
        ("500M", 500e6),
        ("2GiB", 2 * 2**30),
        ("2Gi", 2 * 2**30),
        ("3 kB", 3e3),
        ("7B", 7),
        ("1TiB", 2**40),
    ],
)
def test_memory_is_written_as_people_write_it(text, expected):
    assert bytes_of(text) == expected


@pytest.mark.parametrize("text", ["much", "-5MB", "5iB", "5 GBs", "1e9"])
def test_what_is_no_memory_is_refused(text):
    with pytest.raises(ValueError, match="500MB"):
        bytes_of(text)


def test_stages_are_counted_in_order_and_a_stage_within_a_stage_is_part_of_it():
    with metered() as meter:
        with costing("one"), costing("within"):
            pass
        with stage("two"):
            pass
        assert costs_so_far() == tuple(meter.costs)

    assert [cost.stage for cost in meter.costs] == ["one", "two"]
    assert all(cost.seconds >= 0 and cost.peak_mib > 0 for cost in meter.costs)
    assert costs_so_far() == ()


def test_peak_of_a_stage_knows_what_it_held_and_gave_back():
    with metered() as meter:
        before = memory()[0] / MIB
        with costing("large"):
            held = np.ones(64 * MIB, dtype=np.uint8)
            meter.look()
            del held
        with costing("small"):
            pass
    large, small = meter.costs

    assert large.peak_mib >= before + 60  # 64 MiB, less what the process gave back meanwhile
    assert small.peak_mib < large.peak_mib
    assert meter.peak_mib >= large.peak_mib


# The limit may fall where the memory is read, between the opening of a file and what closes it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_memory_beyond_its_limit_ends_the_work_and_names_the_stage():
    def grow():
        held = []
        with stage("grow") as report:
            for done in range(1_000):
                held.append(np.ones(4 * MIB, dtype=np.uint8))
                report(done, 1_000)

    with pytest.raises(LimitError, match=r"stage 'grow': .* MiB") as caught, metered(max_bytes=memory()[0] + 32 * MIB):
        grow()
    assert (caught.value.option, caught.value.stage) == ("max_memory", "grow")


def test_work_that_cannot_begin_within_its_memory_does_not_begin():
    begun = []
    with pytest.raises(LimitError, match="stage 'start'"), metered(max_bytes=1):
        begun.append(True)
    assert begun == []


def spin(deadline):
    while time.monotonic() < deadline:
        pass


def test_time_beyond_its_limit_ends_work_that_reports_nothing():
    deadline = time.monotonic() + 30
    with pytest.raises(LimitError, match="stage 'silent'") as caught, metered(max_seconds=0.5), costing("silent"):
        spin(deadline)
    assert caught.value.option == "max_seconds"
    assert time.monotonic() < deadline


def test_time_beyond_its_limit_ends_a_wait():
    with pytest.raises(LimitError), metered(max_seconds=0.1):
        threading.Event().wait(30)


def test_work_in_another_thread_ends_at_its_next_report():
    caught = []

    def work():
        deadline = time.monotonic() + 30
        try:
            with metered(max_seconds=0.5), stage("thread") as report:
                while time.monotonic() < deadline:
                    report(0, 1)
        except LimitError as error:
            caught.append(error.stage)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert caught == ["thread"]


def test_limit_is_told_though_a_library_wrapped_it():
    def wrapping():
        try:
            spin(time.monotonic() + 30)
        except LimitError as error:
            raise RuntimeError("a callback failed") from error

    with pytest.raises(LimitError) as caught, metered(max_seconds=0.1):
        wrapping()
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_other_errors_pass_unchanged():
    with pytest.raises(KeyError), metered(max_seconds=600, max_bytes=2**50):
        raise KeyError("mine")


def test_work_within_its_limits_comes_to_its_end_and_leaves_no_handler():
    before = signal.getsignal(signal.SIGUSR2)
    with metered(max_seconds=600, max_bytes=2**50) as meter:
        meter.check()
    assert signal.getsignal(signal.SIGUSR2) == before
    assert not [thread for thread in threading.enumerate() if thread.name == "synth-meter"]


def test_no_limit_interrupts_the_reading_of_memory(monkeypatch):
    whole, read = Path.read_bytes, []

    def reading(path):
        signal.pthread_kill(threading.main_thread().ident, limits._SIGNAL)
        read.append(path)
        return whole(path)

    def stop(number, frame):
        raise LimitError("over", option="max_seconds", stage="fit")

    monkeypatch.setattr(Path, "read_bytes", reading)
    before = signal.signal(limits._SIGNAL, stop)
    try:
        with pytest.raises(LimitError, match="over"):
            memory()
    finally:
        signal.signal(limits._SIGNAL, before)
    assert len(read) == 1
