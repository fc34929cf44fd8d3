"""A stream: units that no stop changes, a pace, a sink that holds back, and a stop after a whole row."""

import io
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import synth_components as synth
from synth_components import stream
from synth_components.constraints import Unique
from synth_components.errors import DataError, UnsupportedError
from synth_components.protocols import BLOCK_ROWS
from synth_components.stream.descriptor import DescriptorSink
from synth_components.stream.pace import Pace
from synth_components.stream.stop import Stop, stopped_by_signals
from synth_components.stream.unit import BATCH_ROWS, cutter, require_start

FORMATS = ("ndjson", "csv", "arrow")
ROWS = BLOCK_ROWS + 100


def table(rows=400, seed=0):
    """Numbers, categories, times, nulls, and text that CSV must quote."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 80, rows),
            "income": np.where(rng.random(rows) < 0.2, np.nan, rng.normal(3e4, 5e3, rows).round(2)),
            "city": pd.Categorical(rng.choice(["Rome, IT", 'Oslo "N"', "Bonn\nDE"], rows)),
            "seen": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, rows), unit="D"),
            "well": rng.random(rows) < 0.5,
        }
    )


@pytest.fixture(scope="module")
def model():
    return synth.fit(table(), generator="tabular.independent", seed=0)


@pytest.fixture(scope="module")
def blocks(model):
    """All blocks of a stream of ``ROWS`` rows, with the numbers of their first rows."""
    return list(stream.blocks(model, ROWS, seed=3))


class Kept:
    """A sink that keeps what it is given and can ask to stop."""

    def __init__(self, stop_after=None):
        self.units = []
        self.stop_after = stop_after

    @property
    def next_row(self):
        return self.units[-1].end if self.units else 0

    def write(self, units, stop):
        self.units += units
        if self.stop_after is not None and self.next_row >= self.stop_after:
            stop.signal = 2

    def close(self, *, is_complete):
        """Nothing to end."""

    @property
    def body(self):
        return b"".join(unit.body for unit in self.units)


def poured(model, format, *, offset=0, n=ROWS, sink=None, pace=None, stop=None):
    """Return a sink after a stream from row ``offset`` on."""
    sink = Kept() if sink is None else sink
    head = next(stream.blocks(model, n, seed=3))[1]
    stream.pour(
        stream.blocks(model, n, seed=3, offset=offset),
        sink,
        cutter=cutter(format, head),
        columns=list(head.columns),
        offset=offset,
        pace=Pace(0.0) if pace is None else pace,
        stop=Stop() if stop is None else stop,
    )
    return sink


@pytest.fixture(scope="module")
def whole(model):
    """The sink of a whole stream, by format."""
    return {format: poured(model, format) for format in FORMATS}


def test_the_rows_of_a_stream_are_those_of_a_sample(model, whole):
    lines = whole["ndjson"].body.decode().splitlines()
    assert pd.DataFrame(map(json.loads, lines))["age"].tolist() == model.sample(ROWS, seed=3)["age"].tolist()


def test_csv_has_the_bytes_of_a_csv_file(model, whole, tmp_path):
    from synth_components.io.dataset import write_table

    write_table(model.sample(ROWS, seed=3), tmp_path / "t.csv")
    head = cutter("csv", table()).opening
    assert head + whole["csv"].body == (tmp_path / "t.csv").read_bytes()


@pytest.mark.parametrize("format", FORMATS)
def test_a_stream_that_goes_on_where_it_stopped_has_the_identical_bytes(format, model, whole):
    head = poured(model, format, sink=Kept(stop_after=5_000))
    tail = poured(model, format, offset=head.next_row)
    assert 5_000 <= head.next_row < BLOCK_ROWS
    assert head.body + tail.body == whole[format].body


@pytest.mark.parametrize("format", ["ndjson", "csv"])
def test_a_text_stream_goes_on_at_any_row(format, blocks, model):
    cut = cutter(format, blocks[0][1])
    bodies = [unit.body for first, block in blocks for unit in cut.units(block, first)]
    for offset in (1, BLOCK_ROWS + 1):
        assert poured(model, format, offset=offset).body == b"".join(bodies[offset:])


def test_an_arrow_stream_is_read_by_arrow_with_every_row(model, whole):
    cut = cutter("arrow", model.sample(BLOCK_ROWS, seed=3))
    body = cut.opening + whole["arrow"].body + cut.ending
    read = pa.ipc.open_stream(io.BytesIO(body)).read_all()
    drawn = model.sample(ROWS, seed=3)
    assert read.column("city").to_pylist() == drawn["city"].tolist()
    assert read.column("income").null_count == drawn["income"].isna().sum()


def test_an_arrow_stream_cut_off_after_a_batch_is_read_up_to_there(model):
    cut = cutter("arrow", model.sample(BLOCK_ROWS, seed=3))
    head = poured(model, "arrow", sink=Kept(stop_after=1))
    assert pa.ipc.open_stream(io.BytesIO(cut.opening + head.body)).read_all().num_rows == head.next_row


def test_batches_of_arrow_divide_a_block():
    assert BLOCK_ROWS % BATCH_ROWS == 0


def test_an_offset_within_an_arrow_batch_is_refused_with_its_neighbours():
    require_start("arrow", 512)
    require_start("csv", 300)
    with pytest.raises(DataError, match="offset 256 or 512"):
        require_start("arrow", 300)


def test_a_stream_that_starts_late_draws_no_block_before_it(model, monkeypatch):
    drawn = []
    real = type(model.sampler).sample
    monkeypatch.setattr(type(model.sampler), "sample", lambda self, n, **k: drawn.append(n) or real(self, n, **k))
    list(stream.blocks(model, ROWS, seed=3, offset=BLOCK_ROWS + 5))
    assert sum(drawn) < BLOCK_ROWS


def test_no_block_is_drawn_before_the_sink_took_the_one_before(model, blocks):
    taken = Kept()

    def drawn():
        for first, block in blocks:
            assert taken.next_row == first
            yield first, block

    head = blocks[0][1]
    stream.pour(
        drawn(), taken, cutter=cutter("csv", head), columns=list(head.columns), offset=0, pace=Pace(0.0), stop=Stop()
    )
    assert taken.next_row == ROWS


@pytest.mark.parametrize("rate", [0.5, 7.0, 1_000.0, 50_000.0])
def test_no_more_rows_go_than_the_rate_allows(rate, blocks):
    seconds = 0.0
    sent = []

    class Waits(Stop):
        def wait(self, time):
            nonlocal seconds
            seconds += time

    class Notes(Kept):
        def write(self, units, stop):
            sent.append((seconds, units[-1].end))
            if len(sent) == 15:
                stop.signal = 2

    pace = Pace(rate, clock=lambda: seconds)
    stream.pour(
        iter(blocks), Notes(), cutter=cutter("csv", blocks[0][1]), columns=list(blocks[0][1].columns), offset=0,
        pace=pace, stop=Waits(),
    )  # fmt: skip
    assert len(sent) > 10
    assert all(rows <= rate * at + pace.rows_per_write + 1e-6 for at, rows in sent)
    assert sent[-1][1] >= rate * sent[-1][0]  # nor fewer


def test_a_stalled_stream_does_not_make_up_for_lost_time():
    at = 0.0
    pace = Pace(10.0, clock=lambda: at)
    assert pace.delay(10) == 0.0
    at = 100.0
    assert pace.delay(10) == 0.0
    assert pace.delay(10) == 1.0


def test_without_a_rate_nothing_waits():
    assert Pace(0.0, clock=lambda: 1.0).delay(10**9) == 0.0


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    for end in (reader, writer):
        with open(end, closefd=True):  # noqa: PTH123 - a descriptor
            pass


def read_all(reader):
    os.set_blocking(reader, False)
    body = b""
    while True:
        try:
            part = os.read(reader, 2**20)
        except BlockingIOError:
            return body
        if not part:
            return body
        body += part


@pytest.mark.parametrize("format", FORMATS)
def test_a_reader_who_stands_still_holds_the_stream_back_until_it_is_stopped_after_a_whole_unit(format, blocks, pipe):
    cut = cutter(format, blocks[0][1])
    units = cut.units(blocks[0][1], 0)
    sink = DescriptorSink(pipe[1], cut, offset=0)

    class Asked(Stop):
        looks = 0

        def wait_writable(self, descriptor):
            if select_now(descriptor):
                return True
            self.signal = 15  # the pipe is full: now someone asks to stop
            body.append(os.read(pipe[0], 4_096)) if format == "arrow" else None  # a unit begun is ended
            return False

    body = []
    sink.write(units, Asked())
    assert 0 < sink.next_row < BLOCK_ROWS
    got = b"".join(body) + read_all(pipe[0])
    assert got == cut.opening + b"".join(unit.body for unit in units if unit.end <= sink.next_row)


def select_now(descriptor):
    import select

    return bool(select.select([], [descriptor], [], 0)[1])


def test_an_opening_is_written_once_and_only_at_row_0(blocks, pipe):
    cut = cutter("csv", blocks[0][1])
    units = cut.units(blocks[0][1].head(10), 0)
    sink = DescriptorSink(pipe[1], cut, offset=0)
    sink.write(units[:5], Stop())
    sink.write(units[5:], Stop())
    later = DescriptorSink(pipe[1], cut, offset=10)
    later.close(is_complete=True)
    assert read_all(pipe[0]) == cut.opening + b"".join(unit.body for unit in units)


def test_a_complete_stream_without_rows_has_its_header(blocks, pipe):
    cut = cutter("csv", blocks[0][1])
    DescriptorSink(pipe[1], cut, offset=0).close(is_complete=True)
    assert read_all(pipe[0]) == cut.opening


def test_an_endless_stream_under_a_rule_that_compares_all_rows_is_refused():
    rows = pd.DataFrame({"a": np.arange(300) % 150, "b": np.arange(300) // 2})
    ruled = synth.fit(rows, generator="tabular.independent", seed=0, constraints=[Unique(columns=("a", "b"))])
    with pytest.raises(UnsupportedError, match="compares all rows"):
        stream.blocks(ruled, stream.ENDLESS, seed=0)
    with pytest.raises(UnsupportedError, match="left out"):
        stream.blocks(ruled, BLOCK_ROWS + 5, seed=0, offset=BLOCK_ROWS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2])
def test_signals_are_noted_within_a_stream_and_have_their_handlers_after_it(number):
    def handler(*_):
        raise InterruptedError

    before = {each: signal.signal(each, handler) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)}
    try:
        with stopped_by_signals() as stop:
            assert not stop.is_asked
            signal.raise_signal(number)
            assert stop.signal == number
            stop.wait(3_600)  # at once
        with pytest.raises(InterruptedError):
            signal.raise_signal(number)
    finally:
        for each, held in before.items():
            signal.signal(each, held)


def test_a_signal_that_asks_nothing_does_not_end_a_wait_for_a_reader(pipe):
    woken = []
    before = signal.signal(signal.SIGUSR1, lambda *_: woken.append(1))
    try:
        with stopped_by_signals() as stop:
            signal.raise_signal(signal.SIGUSR1)
            while not stop.wait_writable(pipe[1]):
                assert not stop.is_asked
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert woken == [1]


def test_outside_the_main_thread_nobody_asks_to_stop():
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: stopped_by_signals().__enter__().is_asked).result() is False
