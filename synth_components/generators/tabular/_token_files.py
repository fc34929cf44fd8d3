"""What the samplers of networks over tokens keep on disk: the schema, the tokens of each feature, and weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from synth_components.encode import slices
from synth_components.errors import ArtifactError
from synth_components.generators.tabular._forward import Weights
from synth_components.generators.tabular._grid import Grid
from synth_components.generators.tabular._tokens import Tokens
from synth_components.marginal import Marginal
from synth_components.schema import Schema

_PARTS = ("low", "high", "mass", "null")


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
    plan = {
        "facts": dict(facts),
        "nominal": [one.grid.is_nominal for one in features],
        "exact": [one.grid.is_exact for one in features],
        "scored": [one.has_scores for one in features],
    }
    (directory / f"{name}.json").write_text(json.dumps(plan, sort_keys=True), encoding="utf-8")
    arrays: dict[str, NDArray[Any]] = {f"weight.{key}": array for key, array in weights.items()}
    for feature, one in enumerate(features):
        arrays[f"tokens.{feature}"] = one.of_code
        for part, array in one.grid.marginal.to_arrays().items():
            arrays[f"grid.{feature}.{part}"] = np.ascontiguousarray(array)
    save_file(arrays, directory / f"{name}.safetensors")


def read(directory: Path, name: str) -> tuple[Schema, tuple[Tokens, ...], Weights, dict[str, Any]]:
    """Return the schema, tokens, weights and facts that ``write`` wrote.

    Raises:
        ArtifactError: if the files are not of one model.
    """
    schema = Schema.from_json(json.loads((directory / "schema.json").read_text(encoding="utf-8")))
    plan = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
    arrays = load_file(directory / f"{name}.safetensors")
    width = sum(where.stop - where.start for where in slices(schema).values())
    has_scores = plan.get("scored", [True] * width)  # an older file says nothing: all have
    if not width == len(plan["nominal"]) == len(plan["exact"]) == len(has_scores):
        raise ArtifactError(f"{name}.json does not fit schema.json: the model was altered; save it anew")
    features = tuple(
        Tokens(
            Grid(
                Marginal.from_arrays({part: arrays[f"grid.{feature}.{part}"] for part in _PARTS}),
                is_nominal=is_nominal,
                is_exact=is_exact,
            ),
            arrays[f"tokens.{feature}"],
            has_scores=is_scored,
        )
        for feature, (is_nominal, is_exact, is_scored) in enumerate(
            zip(plan["nominal"], plan["exact"], has_scores, strict=True)
        )
    )
    weights = {key.removeprefix("weight."): held for key, held in arrays.items() if key.startswith("weight.")}
    return schema, features, weights, plan["facts"]
