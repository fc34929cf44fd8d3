"""How much noise there is at a time between 0 and 1, and how a network is made a denoiser: torch and numpy agree here.

Source: Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models" (arXiv:2206.00364),
    Eq. 5 and Table 1.
Differs: what is denoised has variance 1 by construction, so that sigma_data is 1; the most noise is 10 times that, not
    80, which hides numbers of that size as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_components.protocols import Floats

SIGMA_MIN, SIGMA_MAX, RHO = 0.01, 10.0, 7.0
FREQUENCIES = 16
"""Sines, and as many cosines, that tell a network the time."""


def sigma_of(time: Any) -> Any:  # noqa: ANN401 - an array of numpy or of torch, and back
    """Return the standard deviation of the noise at times in [0, 1], Eq. 5."""
    low, high = SIGMA_MIN ** (1 / RHO), SIGMA_MAX ** (1 / RHO)
    return (low + time * (high - low)) ** RHO


def time_features(time: Floats) -> NDArray[np.float32]:
    """Return what a network is told of times (n,): (n, 2 * FREQUENCIES)."""
    angle = np.pi * time[:, None] * 2.0 ** np.linspace(0, 6, FREQUENCIES)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)
