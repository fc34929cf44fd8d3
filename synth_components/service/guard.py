"""The outermost layer of the application: lets callers in, answers errors, cuts stalled readers, writes the log."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeAlias

from synth_components.errors import SynthError
from synth_components.service.access import Access
from synth_components.service.refusal import CONTENT_TYPE, Refusal, of_bug, refusal_of, unavailable

_LOG = logging.getLogger(__name__)

UNTIL_SENT = "synth_components.until_sent"
"""The entry of a request's scope with an exit stack that is left when the answer is sent or cut."""

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _Stalled(Exception):
    """A reader took nothing for too long."""


@dataclass
class _Told:
    """What the caller was told so far."""

    status: int = 0
    num_bytes: int = 0


class Guard:
    """Wraps an ASGI application; nothing that is raised within gets past it.

    An answer that ends early is never completed, so that nobody takes a part of it for the whole.
    """

    def __init__(self, app: Any, *, access: Access, reader_seconds: float, open_paths: Collection[str]) -> None:  # noqa: ANN401
        self._app = app
        self._access = access
        self._reader_seconds = reader_seconds
        self._open = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, told = time.monotonic(), _Told()

        async def sending(message: MutableMapping[str, Any]) -> None:
            told.status = message.get("status", told.status)
            told.num_bytes += len(message.get("body", b""))
            try:
                async with asyncio.timeout(self._reader_seconds):
                    await send(message)
            except TimeoutError:
                raise _Stalled from None

        async with AsyncExitStack() as until_sent:
            scope[UNTIL_SENT] = until_sent
            refusal = await self._refusal(scope, receive, sending)
            if refusal is not None and told.status == 0:
                await _answer(refusal, sending)
        if scope["path"] not in self._open or told.status >= 400:
            route = getattr(scope.get("route"), "path", "-")  # never the path itself, which may name anything
            ending = " (cut)" if refusal is not None and refusal.status != told.status else ""
            took = 1000 * (time.monotonic() - started)
            _LOG.info(
                "%s %s %d, %d bytes in %.0f ms%s", scope["method"], route, told.status, told.num_bytes, took, ending
            )

    async def _refusal(self, scope: Scope, receive: Receive, send: Send) -> Refusal | None:
        from starlette.requests import ClientDisconnect

        try:
            if scope["path"] not in self._open:
                address = (scope.get("client") or ("unknown",))[0]
                self._access.require(_header(scope, b"authorization"), str(address))
            await self._app(scope, receive, send)
        except Refusal as refusal:
            return refusal
        except SynthError as error:
            return refusal_of(error)
        except asyncio.CancelledError:  # the server cancels what is left when its time to stop is over
            return unavailable("the service is stopping; ask another one, or later")
        except (_Stalled, ClientDisconnect, OSError):
            return unavailable("the caller is gone")
        except Exception as error:  # noqa: BLE001 - the last resort: its message may hold cell values, so it is not shown
            last = traceback.extract_tb(error.__traceback__)[-1]
            _LOG.error("internal error (%s in %s, line %d)", type(error).__name__, last.name, last.lineno)
            return of_bug()
        return None


async def _answer(refusal: Refusal, send: Send) -> None:
    headers = {"Content-Type": CONTENT_TYPE, "Content-Length": str(len(refusal.body)), **refusal.headers}
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    try:
        await send({"type": "http.response.start", "status": refusal.status, "headers": pairs})
        await send({"type": "http.response.body", "body": refusal.body, "more_body": False})
    except (_Stalled, OSError):
        return


def _header(scope: Scope, name: bytes) -> str | None:
    found = [value for key, value in scope["headers"] if key == name]
    return found[0].decode("latin-1") if found else None
