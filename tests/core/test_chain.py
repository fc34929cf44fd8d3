"""The chain: what is done to its lines is found out, as far as the module says; writers do not hinder each other."""

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import subprocess
import sys

import pytest

from synth_components.__main__ import main
from synth_components.chain import START, Anchor, Chain, _canonical, read_key
from synth_components.config import ConfigError
from synth_components.errors import DataError, TamperedError

KEY = b"0123456789abcdef"


def chain(folder, n=5, key=None):
    made = Chain(folder / "trail.jsonl", key)
    for number in range(n):
        made.append({"event": "fit", "what": f"model {number}"})
    return made


def rewritten(made, change):
    """Change the list of lines, as text, and write it back."""
    lines = made.path.read_text().splitlines()
    change(lines)
    made.path.write_text("".join(f"{line}\n" for line in lines))


def forged(made, count):
    """Write the first lines anew, each with a right digest, and the head: what an attacker without the key can do."""
    told = [json.loads(line) for line in made.path.read_text().splitlines()][:count]
    made.path.unlink()
    made.head.unlink()
    fresh = Chain(made.path)
    for line in told:
        facts = {name: value for name, value in line.items() if name not in {"number", "previous", "digest"}}
        fresh.append(facts | {"what": "nothing of interest"})


def edit(lines):
    lines[2] = lines[2].replace("model 2", "model 9")


def remove(lines):
    del lines[2]


def swap(lines):
    lines[1], lines[2] = lines[2], lines[1]


def insert(lines):
    lines.insert(3, lines[1])


def cut(lines):
    del lines[4]


def add_space(lines):
    lines[2] = lines[2].replace(":", ": ", 1)


@pytest.mark.parametrize("number", ["1e999", "-Infinity", "NaN"])
@pytest.mark.parametrize("line", [3, 5])
def test_a_number_that_json_does_not_have_is_found_out_by_its_line(tmp_path, capsys, number, line):
    made = chain(tmp_path)

    def put(lines):
        lines[line - 1] = lines[line - 1].replace(f'"number":{line - 1}', f'"number":{number}')

    rewritten(made, put)
    with pytest.raises(TamperedError) as raised:
        made.lines()
    assert raised.value.line == line
    if line == 5:
        with pytest.raises(TamperedError):
            made.append({"event": "fit"})
    assert main(["audit", "verify", str(made.path)]) == 2
    assert f"line {line} " in capsys.readouterr().err
    evidence = tmp_path / "e.json"
    assert main(["compliance", "--trail", str(made.path), "--evidence", str(evidence)]) == 0
    assert f"line {line}" in evidence.read_text()


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "keyed"])
@pytest.mark.parametrize(
    ("change", "line"),
    [(edit, 3), (remove, 3), (swap, 2), (insert, 4), (cut, 5), (add_space, 3)],
    ids=["edit", "remove", "swap", "insert", "cut", "add_space"],
)
def test_edited_removed_reordered_inserted_and_truncated_lines_are_found_out(tmp_path, change, line, key):
    made = chain(tmp_path, key=key)
    assert len(made.lines()) == 5
    rewritten(made, change)
    with pytest.raises(TamperedError) as raised:
        made.lines()
    assert raised.value.line == line


def test_a_missing_end_without_the_head_is_found_out_by_an_anchor_alone(tmp_path):
    made = chain(tmp_path)
    anchor = Anchor.parse(str(made.anchor()))
    rewritten(made, cut)
    made.head.unlink()
    assert len(made.lines()) == 4
    with pytest.raises(TamperedError, match="has 4 lines and had 5: the end is missing"):
        made.lines(anchor=anchor)


def test_a_file_written_anew_is_found_out_by_an_anchor_or_by_the_key(tmp_path):
    made = chain(tmp_path)
    anchor = made.anchor()
    forged(made, 5)
    assert len(made.lines()) == 5
    with pytest.raises(TamperedError, match="was written anew"):
        made.lines(anchor=anchor)
    keyed = Chain(tmp_path / "keyed.jsonl", KEY)
    keyed.append({"event": "fit"})
    forged(keyed, 1)
    with pytest.raises(TamperedError):
        keyed.lines()


def test_a_forged_head_is_found_out_by_the_key(tmp_path):
    made = chain(tmp_path, key=KEY)
    rewritten(made, cut)
    digest = json.loads(made.path.read_text().splitlines()[-1])["digest"]
    seal = made.head.read_text().split()[1]
    made.head.write_text(f"4:{digest} {seal}\n")
    with pytest.raises(TamperedError, match="another key"):
        made.lines()


def test_an_anchor_holds_for_the_file_as_it_grows(tmp_path):
    made = chain(tmp_path)
    anchor = made.anchor()
    made.append({"event": "gate"})
    assert len(made.lines(anchor=anchor)) == 6
    assert len(made.lines(anchor=Anchor(0, START))) == 6


def test_nothing_is_added_to_a_file_whose_end_was_tampered_with(tmp_path):
    made = chain(tmp_path)
    rewritten(made, cut)
    before = made.path.read_bytes()
    with pytest.raises(TamperedError, match="the end is missing"):
        made.append({"event": "fit"})
    assert made.path.read_bytes() == before


def test_nothing_follows_a_forged_line_without_a_number(tmp_path):
    made = chain(tmp_path)
    line = {"event": "fit", "previous": START}
    made.path.write_bytes(_canonical(line | {"digest": made._digest(line)}) + b"\n")
    with pytest.raises(TamperedError, match="the last line"):
        made.append({"event": "fit"})


def test_a_line_that_a_crash_cut_short_is_none_and_the_next_one_takes_its_place(tmp_path):
    made = chain(tmp_path)
    with made.path.open("ab") as file:
        file.write(b'{"number": 5, "event": "un')
    assert len(made.lines()) == 5
    made.append({"event": "fit"})
    assert len(made.lines()) == 6


@pytest.mark.parametrize("told", [4, 5])
def test_a_last_line_without_its_newline_counts_and_the_next_one_follows_it(tmp_path, told):
    """Whether the head counts it, or a crash kept it from being told: it is whole, and its digest says so."""
    made = chain(tmp_path, n=4)
    head = made.head.read_bytes()
    made.append({"event": "fit", "what": "the last"})
    if told == 4:
        made.head.write_bytes(head)
    made.path.write_bytes(made.path.read_bytes()[:-1])
    assert made.lines()[-1]["what"] == "the last"
    made.append({"event": "gate"})
    assert [line.get("what") for line in made.lines()][-2:] == ["the last", None]
    made.path.write_bytes(made.path.read_bytes()[:-1])
    made.append_after(lambda lines: {"event": f"after {len(lines)}"})
    assert made.lines()[-1]["event"] == "after 6"


@pytest.mark.parametrize("bytes_off", [2, 40])
def test_nothing_is_cut_off_a_file_whose_head_counts_the_line_that_was_cut_short(tmp_path, bytes_off):
    """So that whoever still has the end can put it back."""
    made = chain(tmp_path)
    cut_short = made.path.read_bytes()[:-bytes_off]
    made.path.write_bytes(cut_short)
    for write in (lambda: made.append({"event": "fit"}), lambda: made.append_after(lambda _: {"event": "fit"})):
        with pytest.raises(TamperedError, match="the end is missing"):
            write()
        assert made.path.read_bytes() == cut_short


def test_no_line_is_written_where_its_head_cannot_be(tmp_path):
    made = chain(tmp_path)
    before = made.path.read_bytes()
    made.head.with_name(f".{made.head.name}.partial").mkdir()
    with pytest.raises(DataError, match=r"head' cannot be written to"):
        made.append({"event": "fit"})
    assert made.path.read_bytes() == before


def test_a_disk_without_locks_is_refused(tmp_path, monkeypatch):
    made = chain(tmp_path)
    before = made.path.read_bytes()

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    for work in (made.lines, lambda: made.append({"event": "fit"})):
        with pytest.raises(DataError, match="No locks available"):
            work()
    assert made.path.read_bytes() == before


def test_a_line_that_another_wrote_where_locks_do_not_hold_is_not_lost(tmp_path, monkeypatch):
    made = chain(tmp_path)
    monkeypatch.setattr("fcntl.flock", lambda *_: None)

    def meanwhile(_):
        Chain(made.path).append({"event": "fit", "what": "another's"})
        return {"event": "fit", "what": "mine"}

    with pytest.raises(DataError, match="keeps no locks"):
        made.append_after(meanwhile)
    assert [line["what"] for line in made.lines()][-2:] == ["model 4", "another's"]


def test_a_process_that_is_forked_off_while_a_line_is_written_holds_nobody_up(tmp_path):
    """It has the lock, too, for as long as it lives, if the writer only closes its file."""
    made = chain(tmp_path)
    ended, child = os.pipe(), 0

    def fork(_):
        nonlocal child
        child = os.fork()
        if not child:
            os.close(ended[1])
            os.read(ended[0], 1)  # until the parent closes its end
            os._exit(0)
        return {"event": "fit"}

    made.append_after(fork)
    try:
        with made.path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where anybody has it
    finally:
        os.close(ended[1])
        os.waitpid(child, 0)


def test_the_file_is_its_owners_alone(tmp_path):
    made = chain(tmp_path)
    assert [path.stat().st_mode & 0o777 for path in (made.path, made.head)] == [0o600, 0o600]


def test_long_lines_are_followed_as_short_ones_are(tmp_path):
    made = chain(tmp_path, n=1)
    made.append({"event": "fit", "what": "x" * 200_000})
    made.append({"event": "fit"})
    assert len(made.lines()) == 3


def write_many(path, count):
    for number in range(count):
        Chain(path).append({"event": "fit", "what": f"{os.getpid()} {number}"})


def test_lines_of_several_processes_are_all_there_and_chained(tmp_path):
    path = tmp_path / "trail.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(path, 25)) for _ in range(4)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    told = [line["what"] for line in Chain(path).lines()]
    assert len(set(told)) == 100


def test_a_writer_that_is_killed_leaves_a_whole_file(tmp_path):
    path = tmp_path / "trail.jsonl"
    code = (
        "import sys\nfrom pathlib import Path\nfrom synth_components.chain import Chain\n"
        "while True:\n    Chain(Path(sys.argv[1])).append({'event': 'fit', 'what': 'x' * 3000})\n"
    )
    for _ in range(2):
        writer = subprocess.Popen([sys.executable, "-c", code, str(path)])
        while not path.exists() or path.stat().st_size < 20_000:
            pass
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        known = len(Chain(path).lines())
        Chain(path).append({"event": "fit"})
        assert len(Chain(path).lines()) == known + 1


def test_a_key_needs_16_bytes_and_an_anchor_its_form(tmp_path):
    (tmp_path / "key").write_text("short\n")
    with pytest.raises(DataError, match="fewer than 16 bytes"):
        read_key(tmp_path / "key")
    with pytest.raises(DataError, match="cannot be read"):
        read_key(tmp_path / "none")
    with pytest.raises(ConfigError, match="an anchor is a count and a digest"):
        Anchor.parse("12")
