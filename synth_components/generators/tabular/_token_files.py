"""What the samplers of networks over tokens keep on disk: the schema, the tokens of each feature, and weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from synth_components.errors import ArtifactError
from synth_components.generators.tabular._forward import Weights
from synth_components.generators.tabular._grid import arrays_of, grids_from, plan_of
from synth_components.generators.tabular._tokens import Tokens
from synth_components.schema import Schema


def write(
    directory: Path,
    name: str,
    *,
    schema: Schema,
    features: Sequence[Tokens],
    weights: Weights,
    facts: Mapping[str, Any],
) -> None:
    """Write ``schema.json``, ``NAME.json`` and ``NAME.safetensors``; ``facts`` are the sampler's own."""
    (directory / "schema.json").write_text(schema.canonical(), encoding="utf-8")
    grids = [one.grid for one in features]
    plan = {"facts": dict(facts), "scored": [one.has_scores for one in features], **plan_of(grids)}
    (directory / f"{name}.json").write_text(json.dumps(plan, sort_keys=True), encoding="utf-8")
    arrays = arrays_of(grids)
    arrays |= {f"weight.{key}": array for key, array in weights.items()}
    arrays |= {f"tokens.{feature}": one.of_code for feature, one in enumerate(features)}
    save_file(arrays, directory / f"{name}.safetensors")


def read(directory: Path, name: str) -> tuple[Schema, tuple[Tokens, ...], Weights, dict[str, Any]]:
    """Return the schema, tokens, weights and facts that ``write`` wrote.

    Raises:
        ArtifactError: if the files are not of one model.
    """
    schema = Schema.from_json(json.loads((directory / "schema.json").read_text(encoding="utf-8")))
    plan = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
    arrays = load_file(directory / f"{name}.safetensors")
    grids = grids_from(plan, arrays, schema, file=f"{name}.json")
    has_scores = plan.get("scored", [True] * len(grids))  # an older file says nothing: all have
    if len(has_scores) != len(grids):
        raise ArtifactError(f"{name}.json does not fit schema.json: the model was altered; save it anew")
    features = tuple(
        Tokens(grid, arrays[f"tokens.{feature}"], has_scores=is_scored)
        for feature, (grid, is_scored) in enumerate(zip(grids, has_scores, strict=True))
    )
    weights = {key.removeprefix("weight."): held for key, held in arrays.items() if key.startswith("weight.")}
    return schema, features, weights, plan["facts"]
