"""Maps that a person writes as JSON or YAML: schemas, conditions, options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from synth_components.errors import DataError
from synth_components.schema import Schema


def read_map(path: Path, what: str) -> dict[str, Any]:
    """Return the map that a JSON or YAML file holds.

    Args:
        what: What the file is, for the error: "schema", "options".

    Raises:
        DataError: naming the file and the line that cannot be read.
    """
    if path.suffix.lower() not in {".json", ".yaml", ".yml"}:
        raise DataError(f"the {what} '{path}' must be a .json, .yaml or .yml file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"the {what} '{path}' is not UTF-8 text; save it as UTF-8") from None
    value = _json(text, path, what) if path.suffix.lower() == ".json" else _yaml(text, path, what)
    if not isinstance(value, dict):
        raise DataError(f"the {what} '{path}' must hold a map of names to values at its top")
    return {str(name): entry for name, entry in value.items()}


def read_schema(path: Path | None, model: Path | None = None) -> Schema | None:
    """Return the schema that a JSON or YAML file declares, else that of a model; ``None`` without either.

    Raises:
        DataError: if the file cannot be read.
        SchemaError: naming the entry that cannot be understood.
        ArtifactError: if the folder is no model.
    """
    if path is not None:
        return Schema.from_json(read_map(path, "schema"))
    if model is None:
        return None
    from synth_components.model import Model

    return Model.load(model).schema


def _json(text: str, path: Path, what: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"the {what} '{path}' is not valid JSON: line {error.lineno}, column {error.colno}") from None


def _yaml(text: str, path: Path, what: str) -> object:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f": line {mark.line + 1}, column {mark.column + 1}"
        raise DataError(f"the {what} '{path}' is not valid YAML{where}") from None
    except yaml.YAMLError:
        raise DataError(f"the {what} '{path}' is not valid YAML") from None
