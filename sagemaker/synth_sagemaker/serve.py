"""A container that serves: ``/ping``, ``/invocations`` and what else SageMaker asks of an endpoint and a transform job.

It is the REST service of the core under SageMaker's paths.  Options of it come as variables of the environment, such as
``SYNTH_SERVE_MAX_ROWS``; what a body has no room for stands in the header of custom attributes, as a JSON map.
"""
# No `from __future__ import annotations`: FastAPI reads the annotations of functions that import it themselves.

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from synth_components.circumstances import around
from synth_components.config import from_strings
from synth_components.errors import DataError
from synth_components.io.archive import unpack
from synth_components.limits import bytes_of
from synth_components.model import Model
from synth_components.service.access import Access
from synth_components.service.answer import Terms
from synth_components.service.app import Desk, as_json, bare_application
from synth_components.service.command import load_served
from synth_components.service.media import TYPES
from synth_components.service.options import ServeConfig
from synth_components.service.refusal import Refusal
from synth_components.service.request import OPTIONS
from synth_components.service.server import run
from synth_components.service.slots import Slots
from synth_sagemaker.layout import MODEL_ARCHIVE, Layout
from synth_sagemaker.shelf import Shelf

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

PREFIX = "SYNTH_SERVE_"
"""Of the environment variables that set an option of the service: ``SYNTH_SERVE_MAX_ROWS`` is ``max_rows``."""

COLUMNS = "SYNTH_SERVE_COLUMNS"
"""The variable with the columns, parted by commas, of CSV records without a header in a transform job."""

ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"

MAX_BODY_BYTES = 6_291_456
MAX_SECONDS = 60.0
"""What SageMaker carries of a request and of an answer, and how long it waits, at an endpoint that answers at once."""

BATCH_MB = 1
"""Payload of a transform job's request: conditions are short, and each makes a whole row."""

BATCH_ANSWER_BYTES = 268_435_456
BATCH_SECONDS = 3_600.0

MEMORY_SHARE = 0.8
"""Share of the container's memory that the models of a multi-model endpoint may take."""

_INSTEAD = "draw more by a processing job of the step sample, which has no such limit"


def options(environment: Mapping[str, str]) -> ServeConfig:
    """Return the options of the service: the platform's limits, and over them what the environment says.

    Raises:
        ConfigError: for a variable that breaks its option's rule.
    """
    is_batch = _is_on(environment, "SAGEMAKER_BATCH")
    limits = ServeConfig(
        host="0.0.0.0",  # noqa: S104 - the container's own network, behind SageMaker, which asks callers who they are
        anonymous=True,
        port=8080,
        max_rows=BATCH_MB * 2**20 // 2 if is_batch else ServeConfig().max_rows,  # a row in takes two bytes
        max_answer_bytes=BATCH_ANSWER_BYTES if is_batch else MAX_BODY_BYTES,
        max_request_bytes=MAX_BODY_BYTES,
        answer_seconds=BATCH_SECONDS if is_batch else MAX_SECONDS,
    )
    names = {f"{PREFIX}{name.upper()}": name for name in ServeConfig.model_fields}
    said = {name: environment[key] for key, name in names.items() if environment.get(key)}
    if environment.get("SAGEMAKER_BIND_TO_PORT"):
        said["port"] = environment["SAGEMAKER_BIND_TO_PORT"]
    given = from_strings(ServeConfig, said)
    return limits.model_copy(update={name: getattr(given, name) for name in said})


def serve(layout: Layout, environment: Mapping[str, str] | None = None) -> None:
    """Serve the model below ``/opt/ml/model``, or those that SageMaker names, until SIGTERM.

    Raises:
        ConfigError: for a variable of the environment that breaks its option's rule.
        ArtifactError: if there is no model.
    """
    said = os.environ if environment is None else environment
    config = options(said)
    slots = Slots(concurrency=config.concurrency, queue=config.queue, max_bytes=bytes_of(around().max_memory))
    if _is_on(said, "SAGEMAKER_MULTI_MODEL"):
        max_bytes = bytes_of(around().max_memory) or int(MEMORY_SHARE * container_memory())
        shelf = Shelf(layout.root / "models", config, max_bytes)
        run(multi_model_application(shelf, config, slots=slots), config, slots)
        return
    model = _model(layout, config)
    columns = tuple(name.strip() for name in said.get(COLUMNS, "").split(",") if name.strip())
    is_batch = _is_on(said, "SAGEMAKER_BATCH")
    run(application(model, config, slots=slots, is_batch=is_batch, columns=columns), config, slots)


def application(
    model: Model, config: ServeConfig, *, slots: Slots, is_batch: bool = False, columns: tuple[str, ...] = ()
) -> "FastAPI":
    """Return the application of an endpoint with one model.

    Args:
        slots: The threads that draw.
        is_batch: Whether a transform job asks: CSV then has no header, neither in nor out.
        columns: Columns of CSV records without a header; the model's own by default.

    Raises:
        DataError: if the model has no such column.
    """
    from starlette.requests import Request
    from starlette.responses import Response

    if any(name not in model.schema.columns for name in columns):
        raise DataError(f"{COLUMNS} names a column that the model does not have; it has {list(model.schema.columns)}")
    unnamed = (columns or tuple(model.schema.columns)) if is_batch else ()
    desk = _desk(config, slots, has_header=not is_batch)
    app = bare_application(Access((), 0, 1), config, open_paths=("/ping",), has_document=False)

    async def ping() -> Response:
        return as_json({})

    async def parameters() -> Response:
        return as_json(
            {
                "MaxConcurrentTransforms": config.concurrency,
                "BatchStrategy": "MULTI_RECORD",
                "MaxPayloadInMB": BATCH_MB,
            }
        )

    async def invocations(request: Request) -> Response:
        return await _answered(desk, request, model, unnamed)

    app.add_api_route("/ping", ping, methods=["GET"])
    app.add_api_route("/execution-parameters", parameters, methods=["GET"])
    app.add_api_route("/invocations", invocations, methods=["POST"])
    return app


def multi_model_application(shelf: Shelf, config: ServeConfig, *, slots: Slots) -> "FastAPI":
    """Return the application of an endpoint whose models come and go."""
    from starlette.requests import Request
    from starlette.responses import Response

    desk = _desk(config, slots)
    app = bare_application(Access((), 0, 1), config, open_paths=("/ping",), has_document=False)

    async def ping() -> Response:
        return as_json({})

    async def load(request: Request) -> Response:
        name, url = _named(await desk.body(request))
        await asyncio.to_thread(shelf.load, name, url)
        return as_json({})

    async def listed(request: Request) -> Response:
        found = [_told(name, url) for name, url in shelf.urls().items()]
        first, limit = _page(request, len(found))
        rest = {"nextPageToken": str(first + limit)} if first + limit < len(found) else {}
        return as_json({"models": found[first : first + limit], **rest})

    async def one(request: Request) -> Response:
        name = request.path_params["name"]
        return as_json(_told(name, shelf.get(name).url))

    async def unload(request: Request) -> Response:
        shelf.unload(request.path_params["name"])
        return as_json({})

    async def invoke(request: Request) -> Response:
        return await _answered(desk, request, shelf.get(request.path_params["name"]).model, ())

    app.add_api_route("/ping", ping, methods=["GET"])
    app.add_api_route("/models", load, methods=["POST"])
    app.add_api_route("/models", listed, methods=["GET"])
    app.add_api_route("/models/{name:path}/invoke", invoke, methods=["POST"])
    app.add_api_route("/models/{name:path}", one, methods=["GET"])
    app.add_api_route("/models/{name:path}", unload, methods=["DELETE"])
    return app


def container_memory() -> int:
    """Return the memory of this container in bytes: its own limit, or the machine's memory."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for place in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        path = Path(place)
        if path.is_file() and (text := path.read_text(encoding="ascii").strip()).isdigit():
            limits.append(int(text))
    return min(limits)


def _is_on(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").strip().lower() == "true"


def _desk(config: ServeConfig, slots: Slots, *, has_header: bool = True) -> Desk:
    terms = Terms(
        config.max_rows, config.max_stream_rows, config.max_answer_bytes, config.answer_seconds, _INSTEAD, has_header
    )
    return Desk.of(config, slots, terms)


def _model(layout: Layout, config: ServeConfig) -> Model:
    """Return the model of the container: SageMaker unpacks it, and whoever runs the container by hand may not."""
    archive = layout.model / MODEL_ARCHIVE
    if not archive.is_file():
        return load_served(layout.model, config)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        unpack(archive, folder)
        return load_served(folder, config)


async def _answered(desk: Desk, request: "Request", model: Model, unnamed: tuple[str, ...]) -> "Response":
    """Return the rows that a request asks for, by default in the format of its body."""
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return await desk.answer(
        request,
        model,
        options=_attributes(request.headers.get(ATTRIBUTES, "")),
        default=sent if sent in TYPES else "application/json",
        unnamed=unnamed,
        headers={ATTRIBUTES: '{"seed": {seed}}'},
    )


def _attributes(text: str) -> dict[str, object]:
    """Return the options in the header of custom attributes; text that is no JSON map is somebody else's."""
    if not text.lstrip().startswith("{"):
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Refusal(400, "ConfigError", f"the custom attributes are no JSON map of {', '.join(OPTIONS)}") from None
    return dict(found)


def _named(body: bytes) -> tuple[str, str]:
    try:
        said = json.loads(body)
        name, url = said["model_name"], said["url"]
    except (ValueError, RecursionError, KeyError, TypeError):
        name = url = None
    if not isinstance(name, str) or not isinstance(url, str):
        raise Refusal(400, "DataError", "the body must be a JSON map with the texts model_name and url")
    return name, url


def _told(name: str, url: str) -> dict[str, str]:
    return {"modelName": name, "modelUrl": url}


def _page(request: "Request", count: int) -> tuple[int, int]:
    token, limit = request.query_params.get("next_page_token", "0"), request.query_params.get("limit", str(count or 1))
    if not (token.isdigit() and limit.isdigit() and int(limit) > 0):
        raise Refusal(400, "ConfigError", "limit and next_page_token must be whole numbers")
    return int(token), int(limit)
