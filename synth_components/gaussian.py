"""The multivariate normal: nearest correlation matrix, draws given points and given unions of intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import random
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from synth_components.protocols import Floats

SWEEPS = 25
"""Gibbs sweeps over the latents that are confined to intervals."""


def nearest_correlation(matrix: Floats, *, floor: float = 1e-4, max_rounds: int = 100) -> Floats:
    """Return the correlation matrix (q, q) nearest to a symmetric one, its eigenvalues above ``floor``.

    Source: Higham 2002, "Computing the nearest correlation matrix", Algorithm 3.3.
    Differs: eigenvalues are cut at ``floor``, not 0, so that a Cholesky factor exists; stops at a change below 1e-8.
    """
    nearest = (matrix + matrix.T) / 2
    np.fill_diagonal(nearest, 1.0)
    correction = np.zeros_like(nearest)
    for _ in range(max_rounds):
        before = nearest
        shifted = nearest - correction
        values, vectors = np.linalg.eigh(shifted)
        if values[0] >= floor and not correction.any():
            return nearest
        projected = (vectors * np.maximum(values, floor)) @ vectors.T
        correction = projected - shifted
        nearest = projected.copy()
        np.fill_diagonal(nearest, 1.0)
        if np.max(np.abs(nearest - before), initial=0.0) < 1e-8:
            break
    # The last projection is definite; its diagonal is 1 up to the tolerance, which scaling mends.
    scale = 1 / np.sqrt(np.diag(projected))
    return np.asarray((projected + projected.T) / 2 * scale[:, None] * scale, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Region:
    """Where latents may lie, row by row: a union of k intervals for each of m latents.

    Attributes:
        latents: (m,) indices among the latents.
        low: (n, m, k) lower ends; an unused interval has ``low = inf`` and ``high = -inf``.
        high: (n, m, k) upper ends; equal to ``low`` for a point.
    """

    latents: NDArray[np.int64]
    low: Floats
    high: Floats


def interval_mass(low: Floats, high: Floats) -> Floats:
    """Return the standard normal probability of intervals; 0 where low >= high."""
    flip = low > 0  # in the upper tail the lower one keeps the precision
    return np.maximum(np.where(flip, ndtr(-low) - ndtr(-high), ndtr(high) - ndtr(low)), 0.0)


def truncated_draw(low: Floats, high: Floats, mean: Floats, scale: Floats, *, rng: random.Generator) -> Floats:
    """Return draws (n,) of normals confined to a union of intervals, (n, k) lower and upper ends.

    Where floating point leaves no interval any mass, the point of the union nearest to the mean is returned.
    """
    lows, highs = (low - mean[:, None]) / scale[:, None], (high - mean[:, None]) / scale[:, None]
    mass = interval_mass(lows, highs)  # (n, k)
    total = mass.sum(axis=1)
    cumulative = np.cumsum(mass, axis=1)
    chosen = (cumulative < (rng.random(len(mean)) * total)[:, None]).sum(axis=1)
    chosen = np.minimum(chosen, mass.shape[1] - 1)
    distance = np.where(lows <= highs, np.maximum(np.maximum(lows, -highs), 0.0), np.inf)
    chosen = np.where(total > 0, chosen, np.argmin(distance, axis=1))
    rows = np.arange(len(mean))
    lower, upper = lows[rows, chosen], highs[rows, chosen]
    flip = lower > 0
    left, right = np.where(flip, -upper, lower), np.where(flip, -lower, upper)
    share = ndtr(left) + rng.random(len(mean)) * (ndtr(right) - ndtr(left))
    drawn = np.where(flip, -1.0, 1.0) * ndtri(share)
    held = np.clip(np.where(np.isfinite(drawn), drawn, np.clip(0.0, lower, upper)), lower, upper)
    return np.asarray(np.clip(mean + scale * held, low[rows, chosen], high[rows, chosen]), dtype=np.float64)


def draw(correlation: Floats, n: int, *, rng: random.Generator) -> Floats:
    """Return normal draws (n, q)."""
    factor = np.linalg.cholesky(correlation)
    return np.asarray(rng.standard_normal((n, len(correlation))) @ factor.T, dtype=np.float64)  # (n, q) @ (q, q)


def conditional_draw(correlation: Floats, region: Region, *, rng: random.Generator) -> Floats:
    """Return draws (n, q) of the normal, given that each of the region's latents lies in its intervals.

    Points are conditioned on in closed form; latents in intervals are drawn one after another from the truncated
    conditional, then by Gibbs sweeps; the rest given all of these in closed form.

    Source: Geweke 1991, "Efficient simulation from the multivariate normal and Student-t distributions subject to
        linear constraints", Sec. 3 (Gibbs within intervals).
    Differs: starts from the sequential draw of Geweke, Hajivassiliou and Keane, and takes ``SWEEPS`` sweeps.
    """
    n = len(region.low)
    values = np.empty((n, len(correlation)))
    used = region.low <= region.high
    is_point = np.all((used.sum(axis=2) == 1) & np.any(used & (region.low == region.high), axis=2), axis=0)
    points, confined = region.latents[is_point], region.latents[~is_point]
    values[:, points] = np.where(used, region.low, 0.0).sum(axis=2)[:, is_point]
    low, high = region.low[:, ~is_point], region.high[:, ~is_point]
    weights, covariance = _condition(correlation, points, confined)
    mean = values[:, points] @ weights.T  # (n, i)
    residual = np.zeros_like(mean)
    factor = np.linalg.cholesky(covariance) if len(confined) else covariance
    noise = np.zeros_like(mean)
    for i in range(len(confined)):
        centre = mean[:, i] + noise[:, :i] @ factor[i, :i]
        scale = np.full(n, factor[i, i])
        drawn = truncated_draw(low[:, i], high[:, i], centre, scale, rng=rng)
        noise[:, i] = (drawn - centre) / factor[i, i]
        residual[:, i] = drawn - mean[:, i]
    precision = np.linalg.inv(covariance) if len(confined) > 1 else covariance
    for _ in range(SWEEPS if len(confined) > 1 else 0):
        for i in range(len(confined)):
            others = residual @ precision[i] - residual[:, i] * precision[i, i]
            centre = mean[:, i] - others / precision[i, i]
            scale = np.full(n, 1 / np.sqrt(precision[i, i]))
            residual[:, i] = truncated_draw(low[:, i], high[:, i], centre, scale, rng=rng) - mean[:, i]
    values[:, confined] = mean + residual
    free = np.setdiff1d(np.arange(len(correlation)), region.latents)
    weights, covariance = _condition(correlation, region.latents, free)
    if len(free):
        values[:, free] = values[:, region.latents] @ weights.T + draw(covariance, n, rng=rng)
    return values


def _condition(correlation: Floats, given: NDArray[np.int64], wanted: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return the weights (w, g) of the given latents in the mean of the wanted, and the covariance (w, w) left."""
    across = correlation[np.ix_(wanted, given)]
    weights = across
    if len(given):
        weights = np.asarray(np.linalg.solve(correlation[np.ix_(given, given)], across.T).T, dtype=np.float64)
    covariance = correlation[np.ix_(wanted, wanted)] - weights @ across.T
    covariance = (covariance + covariance.T) / 2 + 1e-12 * np.eye(len(wanted))
    return weights, covariance
