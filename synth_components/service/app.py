"""The ASGI application: paths, what they take and give, and the OpenAPI document that says so."""
# No `from __future__ import annotations`: FastAPI reads the annotations of functions that import it themselves.

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from synth_components.model import Model
from synth_components.service.access import Access
from synth_components.service.answer import Terms, pieces, tables, whole
from synth_components.service.guard import UNTIL_SENT, Guard
from synth_components.service.media import accepted, media_of
from synth_components.service.openapi import SEED, document
from synth_components.service.options import ServeConfig
from synth_components.service.refusal import Refusal, too_large
from synth_components.service.request import Asked, asked_of
from synth_components.service.slots import Slots

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

OPEN = ("/health", "/openapi.json")
"""The paths that need no token, and are not logged while they go well."""

_PIECE_BYTES = 65_536


@dataclass(frozen=True)
class Desk:
    """Where requests for rows are answered.

    Attributes:
        slots: The threads that draw.
        terms: How large an answer may be.
        max_request_bytes: Largest body of a request.
        reader_seconds: How long a caller may send nothing.
        seed: Seed of requests that bring none; -1 for fresh rows.
    """

    slots: Slots
    terms: Terms
    max_request_bytes: int
    reader_seconds: float
    seed: int = -1

    @classmethod
    def of(cls, config: ServeConfig, slots: Slots, terms: Terms) -> "Desk":
        """Return the desk of a service."""
        return cls(slots, terms, config.max_request_bytes, config.reader_seconds, config.seed)

    async def answer(
        self,
        request: "Request",
        model: Model,
        *,
        options: Mapping[str, object],
        default: str = "application/json",
        unnamed: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> "Response":
        """Return the rows that a request asks for.

        Args:
            options: Options that the request gives outside of its body.
            default: Media type for a caller who accepts anything.
            unnamed: Columns of a CSV body whose first line does not name them.
            headers: More headers of the answer, in which ``{seed}`` is the seed of the rows.

        Raises:
            Refusal: for a request that is not answered with rows.
        """
        from starlette.responses import StreamingResponse

        arrived = time.monotonic()
        media = accepted(request.headers.get("accept"), default)
        read = media_of(request.headers.get("content-type"))
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refusal(415, "UnsupportedMediaType", "a compressed body is not read; send it as it is")
        # Until the last byte is taken: what is held for slow readers counts too.
        await request.scope[UNTIL_SENT].enter_async_context(self.slots.admitted())
        body = await self.body(request)

        def asked() -> Asked:
            return asked_of(
                body,
                read,
                {**self._seeded(body, options), **options},
                model.schema,
                max_rows=self.terms.rows_for(media),
                instead=self.terms.instead,
                unnamed=unnamed,
            )

        def said(seed: int) -> dict[str, str]:
            more = {name: text.replace("{seed}", str(seed)) for name, text in (headers or {}).items()}
            return {SEED: str(seed), "cache-control": "no-store", "content-type": media.type, **more}

        if not media.is_streamed:

            def made() -> tuple[bytes, int]:
                wanted = asked()
                return whole(model, wanted, media, self.terms, arrived=arrived), wanted.seed

            content, seed = await self.slots.run(made)
            # In pieces, of which each may take as long as a reader may stand still.
            length = {"content-length": str(len(content))}
            return StreamingResponse(_in_parts(content), headers={**said(seed), **length})

        def begun() -> tuple[Iterator[bytes], bytes, int]:
            wanted = asked()
            made = pieces(tables(model, wanted), media)
            # The first block before the status: what the model cannot draw is known by then.
            return made, next(made), wanted.seed

        rest, first, seed = await self.slots.run(begun)
        return StreamingResponse(self._sent(first, rest), headers=said(seed))

    def _seeded(self, body: bytes, options: Mapping[str, object]) -> dict[str, object]:
        """Return the seed of a request that brings none."""
        if self.seed == -1:
            return {}
        told = json.dumps([self.seed, sorted(options.items())], default=str).encode()
        return {"seed": int.from_bytes(hashlib.sha256(told + body).digest()[:8], "big") >> 11}  # 53 bits

    async def _sent(self, first: bytes, rest: Iterator[bytes]) -> AsyncIterator[bytes]:
        piece: bytes | None = first
        while piece is not None:
            for part in _parts(piece):
                yield part
            piece = await self.slots.run(lambda: next(rest, None))

    async def body(self, request: "Request") -> bytes:
        """Return the body of a request.

        Raises:
            Refusal: 413 for more than it may have, 408 if it does not come.
        """
        held = bytearray()
        refusal = too_large(
            f"the body has more than {self.max_request_bytes} bytes; {self.terms.instead}",
            max_bytes=self.max_request_bytes,
        )
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > self.max_request_bytes:
            raise refusal
        chunks = request.stream()
        while True:
            try:
                async with asyncio.timeout(self.reader_seconds):
                    held += await anext(chunks)
            except StopAsyncIteration:
                return bytes(held)
            except TimeoutError:
                raise Refusal(408, "Timeout", "the body did not come; send the request again") from None
            if len(held) > self.max_request_bytes:
                raise refusal


async def _in_parts(content: bytes) -> AsyncIterator[bytes]:
    for part in _parts(content):
        yield part


def _parts(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), _PIECE_BYTES):
        yield content[start : start + _PIECE_BYTES]


def application(model: Model, config: ServeConfig, *, tokens: tuple[bytes, ...] = (), slots: Slots) -> "FastAPI":
    """Return the application of ``synth serve``.

    Args:
        tokens: Digests of the tokens that callers must bring; none lets everyone in.
        slots: The threads that draw.
    """
    from starlette.requests import Request
    from starlette.responses import Response

    desk = Desk.of(config, slots, Terms.of(config))
    app = bare_application(Access(tokens, config.rate, config.burst), config, open_paths=OPEN)

    async def sample(request: Request) -> Response:
        return await desk.answer(request, model, options=query_options(request))

    async def health() -> Response:
        return as_json({"status": "ok", "version": version("synth-components")})

    async def schema() -> Response:
        return as_json(model.schema.to_json())

    async def privacy() -> Response:
        return as_json(promise(model))

    document(app, sample=sample, health=health, schema=schema, privacy=privacy, config=config)
    return app


def bare_application(
    access: Access, config: ServeConfig, *, open_paths: Collection[str], has_document: bool = True
) -> "FastAPI":
    """Return an application without paths of its own, behind a ``Guard``.

    Args:
        open_paths: Paths that need no token, and are not logged while they go well.
        has_document: Whether it has an OpenAPI document.
    """
    from fastapi import FastAPI
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response

    app = FastAPI(
        title="synth-components",
        version=version("synth-components"),
        description="Synthetic rows of a model.",
        docs_url=None,  # those pages load their scripts from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json" if has_document else None,
        redirect_slashes=False,
    )

    async def refused(_: Request, error: Any) -> Response:  # noqa: ANN401 - Starlette's type of handler
        kinds = {404: "NotFound", 405: "MethodNotAllowed"}
        messages = {404: "there is no such path here", 405: "the path does not take this method"}
        kind = kinds.get(error.status_code, "BadRequest")
        refusal = Refusal(error.status_code, kind, messages.get(error.status_code, "the request is not understood"))
        return Response(refusal.body, error.status_code, error.headers, "application/json")

    app.add_exception_handler(HTTPException, refused)
    app.add_middleware(Guard, access=access, reader_seconds=config.reader_seconds, open_paths=open_paths)
    return app


def query_options(request: "Request") -> dict[str, object]:
    """Return the options in the query of an address; columns are repeated, or parted by commas."""
    found: dict[str, object] = {}
    for name in request.query_params:
        values = request.query_params.getlist(name)
        if name == "columns":
            found[name] = [part for value in values for part in (value.split(",") if len(values) == 1 else [value])]
        else:
            found[name] = values[-1]
    return found


def promise(model: Model) -> dict[str, Any]:
    """Return the privacy promise of a model as a JSON value; no epsilon is null."""
    stated = asdict(model.privacy)
    private = stated["epsilon"] != float("inf")
    return {**stated, "epsilon": stated["epsilon"] if private else None, "holds_rows": model.manifest.holds_rows}


def as_json(value: object) -> "Response":
    """Return a JSON value as an answer."""
    from starlette.responses import Response

    return Response(json.dumps(value, ensure_ascii=False, allow_nan=False), media_type="application/json")
