"""The networks of torch generators, forward only and in numpy: rows are drawn where there is no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy import random
from numpy.typing import NDArray

from synth_components.protocols import Floats

Weights = Mapping[str, NDArray[np.float32]]
Matrix = NDArray[np.float32]
Ints = NDArray[np.int64]


def silu(values: Matrix) -> Matrix:
    """Return x sigmoid(x), which does not overflow."""
    return np.asarray(values * (0.5 * np.tanh(0.5 * values) + 0.5))


def softmax(logits: Matrix) -> Matrix:
    """Return the probabilities (n, k) of logits."""
    made = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(made / made.sum(axis=1, keepdims=True))


def drawn(masses: NDArray[np.floating[Any]], *, rng: random.Generator) -> tuple[Ints, Floats]:
    """Return for each row of masses (n, k) a place drawn in proportion to them, and their sum."""
    cumulative = np.cumsum(masses, axis=1, dtype=np.float64)
    points = rng.random(len(masses)) * cumulative[:, -1]
    place = (cumulative <= points[:, None]).sum(axis=1)
    # Rounding may point beyond the last mass: then it is the last one that is not nothing.
    last = masses.shape[1] - 1 - np.argmax(masses[:, ::-1] > 0, axis=1)
    return np.minimum(place, last), cumulative[:, -1]


def linear(weights: Weights, name: str, values: Matrix) -> Matrix:
    """Return what ``nn.Linear`` of that name makes of values (n, i): (n, o)."""
    return np.asarray(values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"])


def normalised(weights: Weights, name: str, values: Matrix) -> Matrix:
    """Return what ``nn.LayerNorm`` of that name makes of values (n, h)."""
    centred = values - values.mean(axis=1, keepdims=True)
    scale = 1 / np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + np.float32(1e-5))
    return np.asarray(centred * scale * weights[f"{name}.weight"] + weights[f"{name}.bias"])


def body(weights: Weights, name: str, values: Matrix) -> Matrix:
    """Return what a ``Body`` of that name makes of values (n, h)."""
    depth = sum(key.startswith(f"{name}.first.") and key.endswith(".bias") for key in weights)
    for number in range(depth):
        held = linear(weights, f"{name}.first.{number}", normalised(weights, f"{name}.norms.{number}", values))
        values = values + linear(weights, f"{name}.second.{number}", silu(held))
    return silu(normalised(weights, f"{name}.norm", values))
