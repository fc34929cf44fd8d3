"""The choice of noise on counts."""

from __future__ import annotations

from typing import Literal, TypeAlias

Mechanism: TypeAlias = Literal["gaussian", "laplace"]
"""Gaussian noise is zCDP and needs delta above 0; Laplace noise is pure epsilon-DP."""
