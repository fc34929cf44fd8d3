"""A process that serves an application until SIGTERM or Ctrl-C, and then ends within seconds."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from synth_components.service.options import ServeConfig
from synth_components.service.slots import Slots

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

_LOG = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_MAX_HEADER_BYTES = 65_536


class _Forward(logging.Handler):
    """Passes on what the server warns of, without the text of an exception, which may hold cell values."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[0] if record.exc_info else None
        kind = "" if error is None else f" ({error.__name__})"
        _LOG.log(record.levelno, "server: %s%s", record.getMessage().strip().partition("\n")[0], kind)


def run(app: FastAPI, config: ServeConfig, slots: Slots) -> None:
    """Serve until a signal says to stop; requests that run then may go on for ``stop_seconds``.

    Threads may draw beyond that, for requests that were cut: end the process by ``leave``, which waits for nobody.

    Raises:
        OSError: if the address cannot be listened on.
    """
    import uvicorn

    with _listening(config) as listener, _forwarded_log():
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=config.stop_seconds,  # type: ignore[arg-type]  # any number of seconds works
                h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
            )
        )
        host, port = listener.getsockname()[:2]
        _LOG.info("serving on http://%s:%d", f"[{host}]" if ":" in host else host, port)
        with _ended_by_signals(server):
            server.run(sockets=[listener])
    slots.close()


def leave() -> NoReturn:
    """End the process with status 0, now: taking an interpreter apart that holds a model takes seconds."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


@contextmanager
def _listening(config: ServeConfig) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.create_server((config.host, config.port), family=family) as listener:
        yield listener


@contextmanager
def _ended_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """Let signals end the server, and nothing more: it raises them again once it has ended."""

    def stop(_: int, __: FrameType | None) -> None:
        server.should_exit = True

    before: dict[signal.Signals, Any] = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _forwarded_log() -> Iterator[None]:
    log, handler = logging.getLogger("uvicorn"), _Forward(logging.WARNING)
    propagate = log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagate
