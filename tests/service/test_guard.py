"""Who gets in, how often, how much at once; and how a server ends."""

import asyncio
import contextlib
import http.client
import json
import signal
import time
from contextvars import Context
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from served import SECRET, serving

from synth_components import audit
from synth_components.__main__ import main
from synth_components.chain import Chain
from synth_components.circumstances import circumstance
from synth_components.config import ConfigError
from synth_components.io import artifact
from synth_components.limits import _kib
from synth_components.protocols import BLOCK_ROWS
from synth_components.service.access import Access, read_tokens
from synth_components.service.answer import Terms, whole
from synth_components.service.guard import Guard
from synth_components.service.media import Media
from synth_components.service.options import ServeConfig
from synth_components.service.refusal import Refusal
from synth_components.service.request import Asked
from synth_components.service.slots import Slots

pytestmark = pytest.mark.timeout(600)

NDJSON = "application/x-ndjson"
TOKEN = "a-token-of-the-tests-0123456789"
OTHER = "another-token-of-the-tests-9876"


def resident(server):
    return _kib(Path(f"/proc/{server.process.pid}/status").read_bytes(), b"VmRSS:") * 1024


def test_r8_tokens_let_in_and_the_rate_limit_turns_away(guarded):
    wrong = [None, "Bearer", "Bearer wrong", f"Basic {TOKEN}"]
    for authorization in wrong:
        headers = {} if authorization is None else {"Authorization": authorization}
        answer = guarded.ask("/schema", **headers)
        assert (answer.status, answer.json["type"]) == (401, "Unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    # Four failed requests of this address used up its burst; a token has its own, and so has each.
    assert guarded.ask("/schema").status == 429
    for token in (TOKEN, OTHER):
        statuses = [guarded.ask("/privacy", Authorization=f"Bearer {token}").status for _ in range(5)]
        assert statuses == [200] * 4 + [429]
    refused = guarded.ask("/sample", Authorization=f"bearer {TOKEN}")
    assert (refused.status, refused.json["type"]) == (429, "TooManyRequests")
    assert int(refused.headers["retry-after"]) >= 1
    assert guarded.ask("/health").status == 200  # needs no token and is not counted
    assert guarded.ask("/openapi.json").status == 200
    assert TOKEN not in guarded.log
    assert OTHER not in guarded.log


def test_every_token_is_compared_in_constant_time(monkeypatch):
    import hmac

    compared = []
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or a == b)
    monkeypatch.setenv("SYNTH_SERVE_TOKEN", TOKEN)
    access = Access((*read_tokens(ServeConfig()), b"x" * 32), 0, 1)
    access.require(f"Bearer {TOKEN}", "there")
    assert len(compared) == 2
    assert all(TOKEN.encode() not in pair for pair in compared)  # digests: equal lengths whatever is sent


def test_the_bucket_of_a_caller_fills_again():
    now = [0.0]
    access = Access((), 2.0, 2, clock=lambda: now[0])

    def is_let_in():
        try:
            access.require(None, "10.0.0.1")
        except Refusal:
            return False
        return True

    assert [is_let_in() for _ in range(3)] == [True, True, False]
    now[0] = 0.5
    assert [is_let_in() for _ in range(2)] == [True, False]
    access.require(None, "10.0.0.2")  # another caller has a bucket of its own


def test_the_callers_that_are_counted_are_bounded(monkeypatch):
    monkeypatch.setattr("synth_components.service.access.MAX_CALLERS", 10)
    access = Access((), 1.0, 1)
    for number in range(100):
        access.require(None, f"10.0.0.{number}")
    assert len(access._buckets) == 10


@pytest.mark.parametrize(
    ("config", "option"),
    [
        (ServeConfig(host="0.0.0.0"), "anonymous"),
        (ServeConfig(host="example"), "anonymous"),
        (ServeConfig(token_file="short"), "token_file"),
        (ServeConfig(token_file="empty"), "token_file"),
    ],
)
def test_an_open_service_and_weak_tokens_are_refused(config, option, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short").write_text("secret\n")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ConfigError) as raised:
        read_tokens(config)
    assert raised.value.option == option
    assert "secret" not in str(raised.value)


def test_loopback_and_anonymous_need_no_token():
    assert read_tokens(ServeConfig(host="::1")) == read_tokens(ServeConfig(host="0.0.0.0", anonymous=True)) == ()


def test_a_model_that_keeps_rows_is_refused_unless_told(model, tmp_path, capsys):
    rows = replace(model, manifest=model.manifest.model_copy(update={"holds_rows": True}))
    artifact.save(artifact.Artifact(rows.sampler, rows.schema, rows.ledger, rows.manifest), tmp_path / "model")
    assert main(["serve", str(tmp_path / "model")]) == 2
    assert "keeps training rows" in capsys.readouterr().err


def test_what_is_no_model_is_an_error_of_the_user(tmp_path, capsys):
    assert main(["serve", str(tmp_path)]) == 2
    assert main(["serve"]) == 2
    assert "--model is missing" in capsys.readouterr().err


def test_a_port_that_is_taken_is_an_error_of_the_user(server, model_path, capsys):
    assert main(["serve", str(model_path), "--port", str(server.port)]) == 2
    assert "in use" in capsys.readouterr().err


def test_help_lists_every_option(capsys):
    assert main(["serve", "--help"]) == 0
    shown = capsys.readouterr().out
    for name in ServeConfig.model_fields:
        assert f"--{name.replace('_', '-')} " in shown
    assert "--max-memory" in shown
    assert "--cache" not in shown


def through_guard(app):
    """Return the messages that a caller gets from an application behind a guard."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    guard = Guard(app, access=Access((), 0, 1), reader_seconds=5, open_paths=())
    scope = {"type": "http", "path": "/sample", "method": "POST", "headers": [], "client": ("127.0.0.1", 1)}
    asyncio.run(guard(scope, receive, send))
    return sent


def test_r8_a_bug_is_told_without_the_text_of_its_error(caplog):
    async def broken(scope, receive, send):
        raise ValueError(f"cannot convert {SECRET}")

    with caplog.at_level("INFO"):
        start, body = through_guard(broken)
    assert (start["status"], json.loads(body["body"])["type"]) == (500, "InternalError")
    assert "internal error (ValueError in broken, line " in caplog.text
    assert SECRET not in body["body"].decode() + caplog.text


def test_an_answer_that_breaks_off_is_never_ended(caplog):
    async def broken(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError(SECRET)

    with caplog.at_level("INFO"):
        messages = through_guard(broken)
    assert [message.get("more_body") for message in messages] == [None, True]
    assert "(cut)" in caplog.text


def test_r8_what_would_take_too_long_is_refused_with_the_rows_that_fit(model, monkeypatch):
    seconds = iter(range(100, 200, 10))  # each look at the clock is ten seconds after the one before
    monkeypatch.setattr("synth_components.service.answer.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    asked, media = Asked(40_000, 1, ["age"], None), Media("text/csv", "csv")
    terms = Terms.of(ServeConfig())
    with pytest.raises(Refusal, match="pass the limit of 20 seconds") as raised:
        whole(model, asked, media, replace(terms, max_seconds=25), arrived=95)
    assert raised.value.status == 413
    assert raised.value.about["max_rows"] == 2 * BLOCK_ROWS  # one block was drawn in ten seconds
    with pytest.raises(Refusal, match="waited too long") as raised:
        whole(model, asked, media, terms, arrived=0)
    assert raised.value.status == 503


def opened(server, path):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", path, headers={"Accept": NDJSON})
    return connection, connection.getresponse()


def test_a_stream_waits_for_its_reader_in_constant_memory_and_others_are_answered(server):
    before = resident(server)
    connection, response = opened(server, "/sample?num_rows=5000000")
    response.read(100_000)
    time.sleep(3)  # the reader stands still: a service that went on would hold hundreds of megabytes by now
    first = resident(server)
    assert server.ask("/sample?num_rows=5").status == 200
    for _ in range(100):
        assert len(response.read(100_000)) == 100_000
    grown = resident(server)
    connection.close()
    assert first - before < 100e6
    assert grown - first < 50e6  # 10 MB were read meanwhile, and blocks of 3 MB come and go


def test_r8_overload_slow_bodies_and_stalled_readers_are_refused_and_ctrl_c_ends_it(model_path, tmp_path):
    limits = ("--concurrency", 1, "--queue", 0, "--reader-seconds", 4)
    with serving(tmp_path, "serve", model_path, "--port", "PORT", *limits, ready="/health") as one:
        slow = http.client.HTTPConnection("127.0.0.1", one.port, timeout=60)
        slow.putrequest("POST", "/sample")
        slow.putheader("Content-Type", "application/json")
        slow.putheader("Content-Length", "100")
        slow.endheaders(b'{"city": "' + SECRET.encode())
        response = slow.getresponse()
        assert (response.status, json.loads(response.read())["type"]) == (408, "Timeout")
        slow.close()

        connection, stream = opened(one, "/sample?num_rows=9000000")
        refused = one.ask("/sample?num_rows=1")
        assert (refused.status, refused.json["type"]) == (503, "Unavailable")
        assert refused.headers["retry-after"] == "1"
        assert one.ask("/health").status == 200
        # Nobody reads the stream: it is cut after 4 seconds, and its place is free again.
        deadline = time.monotonic() + 90
        while "(cut)" not in one.log:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert one.ask("/sample?num_rows=1").status == 200
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            stream.read()
        connection.close()
        assert SECRET not in one.log

        one.process.send_signal(signal.SIGINT)
        assert one.process.wait(timeout=30) == 0
        assert "Traceback" not in one.log


def test_over_its_memory_it_turns_requests_away():
    async def admitted(max_bytes):
        slots = Slots(concurrency=1, queue=0, max_bytes=max_bytes)
        async with slots.admitted():
            return await slots.run(lambda: "drawn")

    assert asyncio.run(admitted(2**50)) == "drawn"
    with pytest.raises(Refusal, match="limit of memory") as raised:
        asyncio.run(admitted(2**20))
    assert raised.value.status == 503


def test_what_draws_is_under_the_circumstances_that_the_service_began_in(tmp_path):
    async def drawn(slots):
        return await asyncio.gather(*(slots.run(lambda: circumstance("audit")) for _ in range(4)))

    with audit.trail(tmp_path / "audit.jsonl"):
        slots = Slots(concurrency=2, queue=0)
    # In an empty context, as servers may give each request one.
    assert Context().run(asyncio.run, drawn(slots)) == [str(tmp_path / "audit.jsonl")] * 4


def test_the_trail_of_the_command_line_tells_of_the_rows_that_callers_got(model_path, tmp_path, monkeypatch):
    monkeypatch.delenv("SYNTH_AUDIT", raising=False)
    trail = tmp_path / "audit.jsonl"
    options = ("--port", "PORT", "--audit", trail)
    with serving(tmp_path, "serve", model_path, *options, ready="/health") as one:
        for path, accept in (("/sample", "application/json"), ("/sample?num_rows=7", NDJSON)):
            assert one.ask(path, {"num_rows": 7} if path == "/sample" else None, Accept=accept).status == 200
    told = [line["rows"] for line in Chain(trail, None).lines() if line["event"] == "generation"]
    assert told[-2:] == [7, 7]


def test_r8_sigterm_ends_it_with_status_0_within_5_seconds_and_what_runs_finishes_or_is_cut(model_path, tmp_path):
    with serving(tmp_path, "serve", model_path, "--port", "PORT", ready="/health") as one:
        connection, stream = opened(one, "/sample?num_rows=9000000")
        stream.read(10_000)
        # Sent before the signal; whether it is read before, too, is chance.
        other = http.client.HTTPConnection("127.0.0.1", one.port, timeout=60)
        other.request("GET", "/sample?num_rows=3000&seed=1", headers={"Accept": "text/csv"})
        time.sleep(0.05)
        status, seconds = one.stop()
        assert status == 0
        assert seconds < 5
        with contextlib.suppress(ConnectionError):  # it was not read
            running = other.getresponse()
            assert running.status in (200, 503)
            if running.status == 200:
                assert running.read().count(b"\n") == 3_001
        other.close()
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            stream.read()
        connection.close()
        assert "Traceback" not in one.log
