"""The networks of torch generators, forward only and in numpy: rows are drawn where there is no torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

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


def linear(weights: Weights, name: str, values: Matrix) -> Matrix:
    """Return what ``nn.Linear`` of that name makes of values (..., i): (..., o)."""
    return np.asarray(values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"])


def normalised(weights: Weights, name: str, values: Matrix) -> Matrix:
    """Return what ``nn.LayerNorm`` of that name makes of values (..., h)."""
    centred = values - values.mean(axis=-1, keepdims=True)
    scale = 1 / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + np.float32(1e-5))
    return np.asarray(centred * scale * weights[f"{name}.weight"] + weights[f"{name}.bias"])


def depth_of(weights: Weights, name: str) -> int:
    """Return how many layers a list of that name has."""
    return sum(key.startswith(f"{name}.") and key.endswith(".bias") for key in weights)


def body(weights: Weights, name: str, values: Matrix) -> Matrix:
    """Return what a ``Body`` of that name makes of values (n, h)."""
    for number in range(depth_of(weights, f"{name}.first")):
        held = linear(weights, f"{name}.first.{number}", normalised(weights, f"{name}.norms.{number}", values))
        values = values + linear(weights, f"{name}.second.{number}", silu(held))
    return silu(normalised(weights, f"{name}.norm", values))
