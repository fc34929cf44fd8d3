"""The paths of the service, and the OpenAPI document that says what each takes and gives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from synth_components.model import DEFAULT_ROWS
from synth_components.service.media import STREAMED, TYPES
from synth_components.service.options import ServeConfig
from synth_components.service.request import CONDITIONS, OPTIONS
from synth_components.steps.sample import SampleConfig

if TYPE_CHECKING:
    from fastapi import FastAPI

SEED = "x-synth-seed"
"""The header of an answer that tells the seed of its rows: with it, the same request gives the same bytes."""

Endpoint: TypeAlias = Callable[..., Awaitable[Any]]

_REFUSALS = {
    400: "The request does not fit the model.",
    401: "A token is missing or wrong.",
    406: "No accepted media type is written.",
    408: "The body did not come.",
    413: "More rows or bytes than one answer has; `max_rows` says how many fit.",
    415: "The media type of the body is not read.",
    429: "Too many requests; `Retry-After` says when to come again.",
    500: "A bug of the service.",
    503: "Too busy or stopping; ask again later.",
}

_ERROR = {
    "type": "object",
    "description": "What was refused.  No value of a cell stands in it.",
    "required": ["type", "status", "message"],
    "properties": {
        "type": {"type": "string", "description": "Class of the error.", "examples": ["ConditionError"]},
        "status": {"type": "integer", "description": "The HTTP status."},
        "message": {"type": "string", "description": "What is wrong, and what to do."},
        "columns": {"type": "array", "items": {"type": "string"}, "description": "Columns that it is about."},
        "max_rows": {"type": "integer", "description": "Rows that one answer has, or about how many fit."},
        "max_bytes": {"type": "integer", "description": "Bytes that a body may have."},
    },
}
_VALUE: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
_CONDITION = {
    "description": "A value, values of which each is allowed, or the two ends of an interval; null is null.",
    "anyOf": [
        _VALUE,
        {"type": "array", "items": _VALUE, "minItems": 1},
        {
            "type": "object",
            "properties": {"low": _VALUE, "high": _VALUE},
            "additionalProperties": False,
            "minProperties": 1,
        },
    ],
}
_ROWS = {"type": "array", "items": {"type": "object", "additionalProperties": _VALUE}}


def document(
    app: FastAPI, *, sample: Endpoint, health: Endpoint, schema: Endpoint, privacy: Endpoint, config: ServeConfig
) -> None:
    """Give an application its paths, and the document that describes them."""
    about = {
        "summary": "Draw rows",
        "description": (
            "Rows of the model: those that `Model.sample` draws with the same seed and conditions. A JSON body holds "
            "options and conditions. CSV, JSON Lines and Parquet bodies, and a JSON array, are conditions: one request "
            f"row for each output row, null being free. An answer has at most {config.max_rows:,} rows, and one of "
            f"`{STREAMED}`, which is sent while it is made, {config.max_stream_rows:,}. An answer that breaks off is "
            "left incomplete, so that no client takes it for the whole."
        ),
        "responses": {200: _rows_answer(), **_refusals(400, 401, 406, 408, 413, 415, 429, 500, 503)},
    }
    extra = {"parameters": _query(), "security": [{"bearer": []}]}
    _route(app, "/sample", sample, "GET", {**about, "operation_id": "sample_by_query"}, extra)
    _route(
        app, "/sample", sample, "POST", {**about, "operation_id": "sample"}, {**extra, "requestBody": _request_body()}
    )
    told = _refusals(401, 429, 500)
    for path, endpoint, summary in (
        ("/schema", schema, "Columns, types, bounds and rules of the model"),
        ("/privacy", privacy, "The privacy promise of the model"),
    ):
        responses: dict[int | str, Any] = {
            200: {"description": "JSON.", "content": {"application/json": {"schema": {"type": "object"}}}}
        }
        facts = {"summary": summary, "operation_id": path.strip("/"), "responses": {**responses, **told}}
        _route(app, path, endpoint, "GET", facts, {"security": [{"bearer": []}]})
    alive = {"description": "The service answers.", "content": {"application/json": {"schema": {"type": "object"}}}}
    facts = {"summary": "Whether the service answers", "operation_id": "health", "responses": {200: alive}}
    _route(app, "/health", health, "GET", facts, {"security": []})
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]  # FastAPI's own way to change the document


def _route(
    app: FastAPI, path: str, endpoint: Endpoint, method: str, facts: dict[str, Any], extra: dict[str, Any]
) -> None:
    from starlette.responses import Response

    app.add_api_route(path, endpoint, methods=[method], response_class=Response, openapi_extra=extra, **facts)


def _document(app: FastAPI) -> dict[str, Any]:
    from fastapi.openapi.utils import get_openapi

    made: dict[str, Any] = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    made["components"] = {
        "schemas": {"Error": _ERROR, "SampleRequest": _sample_request(), "Rows": _ROWS},
        "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
    }
    return made


def _options() -> dict[str, Any]:
    """Return the options of a request as the sample step declares them, but for what is meant by none."""
    declared = SampleConfig.model_json_schema()["properties"]
    found = {name: dict(declared[name]) for name in OPTIONS}
    found["num_rows"] |= {"description": f"Rows to draw; {DEFAULT_ROWS} by default, or one for each request row."}
    found["seed"]["description"] = f"Seed of the rows; without one they are fresh, and the header {SEED} tells it."
    for option in found.values():
        option.pop("default", None)
        option.pop("title", None)
    return found


def _sample_request() -> dict[str, Any]:
    given = {
        "type": "object",
        "additionalProperties": _CONDITION,
        "description": "What holds for every row, by column.",
    }
    conditions = {"anyOf": [given, {**_ROWS, "description": "One request row for each output row; null is free."}]}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {**_options(), CONDITIONS: conditions},
        "examples": [{"num_rows": 100, "seed": 1, "conditions": {"age": {"low": 30, "high": 40}}}],
    }


def _query() -> list[dict[str, Any]]:
    made = []
    for name, option in _options().items():
        about = option.pop("description")
        made.append({"name": name, "in": "query", "required": False, "description": about, "schema": option})
    return made


def _request_body() -> dict[str, Any]:
    schemas: dict[str, Any] = {
        "json": {"anyOf": [{"$ref": "#/components/schemas/SampleRequest"}, {"$ref": "#/components/schemas/Rows"}]},
        "csv": {"type": "string", "description": "A header with columns of the model, then a request row a line."},
        "ndjson": {"type": "string", "description": "A request row a line, each a JSON object."},
        "parquet": {"type": "string", "format": "binary"},
    }
    return {"required": False, "content": {name: {"schema": schemas[format]} for name, format in TYPES.items()}}


def _rows_answer() -> dict[str, Any]:
    schemas: dict[str, Any] = {
        "json": {"$ref": "#/components/schemas/Rows"},
        "csv": {"type": "string"},
        "ndjson": {"type": "string", "description": "A JSON object a line."},
        "parquet": {"type": "string", "format": "binary"},
    }
    return {
        "description": "Synthetic rows.",
        "headers": {SEED: {"description": "Seed of the rows.", "schema": {"type": "integer"}}},
        "content": {name: {"schema": schemas[format]} for name, format in TYPES.items()},
    }


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {status: {"description": _REFUSALS[status], "content": content} for status in statuses}
