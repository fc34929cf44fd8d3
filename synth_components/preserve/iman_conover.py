"""Numbers: rank reordering, so that a column has given associations with columns that stay."""

from __future__ import annotations

import numpy as np
from numpy import random
from numpy.typing import NDArray

from synth_components.preserve.frame import Aim, Frame, Order
from synth_components.preserve.raking import joint_counts, one_hot
from synth_components.protocols import Floats

_ROUNDS = 12
_MOST_EXPLAINED = 0.9995  # of the variance of a column's scores; the rest keeps the regression solvable
_FEASIBLE = 0.98  # the share up to which targets count as consistent
_HALVINGS = 20
_SINGULAR = 1e-6  # a smaller eigenvalue of the features' correlations is a dependence among them
_NO_VARIANCE = 1e-13  # scores have variance 1, and the rarest indicator of ten million rows 1e-7
_INDEFINITE = 1e-9
_SLIGHT = 1e-3  # a lower eigenvalue says that the fixed entries contradict each other
_CLOSE = 0.4  # share of the tolerance to come within


def reorder(column: int, placed: list[int], frame: Frame, aim: Aim, *, rng: random.Generator) -> Order:
    """Return the order that gives a numeric column its associations with the ``placed`` columns.

    The scores of the column are regressed on the ranks and indicators of the placed columns, with the coefficients
    that the wanted covariances ask for; what is left of its own normal scores is added, and the values take the ranks
    of the sum.  The covariances that result are measured, and the aim is moved by what is missing, until all
    associations are close.  Rows where the column is null stay as they are.

    Source: Iman & Conover 1982, "A distribution-free approach to inducing rank correlation among input variables".
    Differs: one column at a time, which the Cholesky factor does as well, so that indicators of categories can stand
        among the columns; the correction is repeated; ties are broken at random.
    """
    from scipy.special import ndtri

    n = len(frame.codes)
    rows = np.flatnonzero(frame.codes[:, column] != frame.sizes[column] - 1)
    identity = np.arange(n)
    values = frame.ranks[rows, column]
    variance = float((frame.ranks[:, column] ** 2).sum()) / n
    if len(rows) < 2 or variance <= 0 or not placed:
        return identity
    features = _Features(placed, frame, rows)
    spread = variance * n / len(rows)
    wanted = features.feasible(features.wanted(column, aim, variance), features.declared(column, aim), spread)
    held = features.covariance(values)
    limit = aim.tolerance * _CLOSE
    least = features.excess(held, column, aim, variance, limit)
    if features.excess(held, column, aim, variance, aim.tolerance) == 0:
        return identity
    ladder = np.lexsort((rng.random(len(rows)), values))  # rows by rising value, ties at random
    scores = np.empty(len(rows))
    scores[ladder] = ndtri((np.arange(len(rows)) + 0.5) / len(rows))
    rest = features.residual(scores, rng)
    rising = values[ladder]
    best, target = identity[rows], wanted
    for _ in range(_ROUNDS):
        explained, share = features.predicted(target, spread)
        places = np.argsort(explained + np.sqrt(spread * (1 - share)) * rest, kind="stable")
        made = np.empty(len(rows))
        made[places] = rising
        covariance = features.covariance(made)
        excess = features.excess(covariance, column, aim, variance, limit)
        if excess < least:
            least, best = excess, np.empty_like(rows)
            best[places] = rows[ladder]
        if excess == 0:
            break
        target = target + wanted - covariance
    identity[rows] = best
    return identity


class _Features:
    """Indicators and ranks of the placed columns, over the rows where the moving column is present (m rows)."""

    def __init__(self, placed: list[int], frame: Frame, rows: Order) -> None:
        self.groups = [place for place in placed if not frame.numbers[place]]
        self.numbers = [place for place in placed if frame.numbers[place]]
        self.sizes = [frame.sizes[place] for place in self.groups]
        self.n, self.m = len(frame.codes), len(rows)
        self.shares = [
            np.bincount(frame.codes[:, place], minlength=size) / self.n
            for place, size in zip(self.groups, self.sizes, strict=True)
        ]
        self.ranks = frame.ranks[rows][:, self.numbers]
        self.deviations = np.sqrt((frame.ranks[:, self.numbers] ** 2).sum(axis=0) / self.n)
        codes = frame.codes[rows][:, self.groups]
        self.hot = one_hot(codes, self.sizes)
        self.mean = self._sums(np.ones(self.m)) / self.m
        cross = self.hot.T @ self.ranks
        square = np.block([[joint_counts(codes, self.sizes), cross], [cross.T, self.ranks.T @ self.ranks]])
        self.square = square / self.m - np.outer(self.mean, self.mean)
        self.inverse = _inverse(self.square)

    def _sums(self, values: Floats) -> Floats:
        return np.concatenate([self.hot.T @ values, self.ranks.T @ values])

    def _apply(self, coefficients: Floats) -> Floats:
        width = self.hot.shape[1]
        made: Floats = self.hot @ coefficients[:width] + self.ranks @ coefficients[width:]
        return made - float(self.mean @ coefficients)

    def covariance(self, values: Floats) -> Floats:
        """Return the mean product of each feature with centred values, over all n rows."""
        return self._sums(values) / self.n

    def wanted(self, column: int, aim: Aim, variance: float) -> Floats:
        """Return the covariances that give the associations of the aim."""
        parts = []
        for group, shares in zip(self.groups, self.shares, strict=True):
            means = aim.means(group, column)
            covariance = shares * (means - shares @ means)
            ratio = _ratio(covariance, shares, variance)
            parts.append(covariance * (aim.strength[group, column] / ratio if ratio > 0 else 0.0))
        parts.append(aim.strength[self.numbers, column] * self.deviations * np.sqrt(variance))
        return np.concatenate(parts)

    def declared(self, column: int, aim: Aim) -> NDArray[np.bool_]:
        """Return which features belong to a column whose association a person declared."""
        groups = np.repeat(aim.declared[self.groups, column], self.sizes)
        return np.concatenate([groups, aim.declared[self.numbers, column]])

    def feasible(self, covariance: Floats, declared: NDArray[np.bool_], variance: float) -> Floats:
        """Return the covariances, those not declared moved as little as needed towards what the others imply."""
        if not declared.any() or self.share(covariance, variance) <= _FEASIBLE:
            return covariance
        implied = self.square[:, declared] @ _inverse(self.square[np.ix_(declared, declared)]) @ covariance[declared]
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            weight = (low + high) / 2
            fits = self.share(implied + weight * (covariance - implied), variance) <= _FEASIBLE
            low, high = (weight, high) if fits else (low, weight)
        return implied + low * (covariance - implied)

    def share(self, covariance: Floats, variance: float) -> float:
        """Return the share of ``variance`` that values with these covariances over all n rows would have explained."""
        aimed = covariance * (self.n / self.m)
        return float(aimed @ self.inverse @ aimed) / variance

    def excess(self, covariance: Floats, column: int, aim: Aim, variance: float, limit: float) -> float:
        """Return by how much the associations miss their aims beyond ``limit``, weighed and summed."""
        starts = np.cumsum([0, *self.sizes])
        gaps = [
            abs(_ratio(covariance[start : start + size], shares, variance) - aim.strength[group, column])
            for group, shares, start, size in zip(self.groups, self.shares, starts, self.sizes, strict=False)
        ]
        scale = self.deviations * np.sqrt(variance)
        held = covariance[starts[-1] :]
        found = np.divide(held, scale, out=np.zeros_like(held), where=scale > 0)
        missed = np.concatenate([gaps, np.abs(found - aim.strength[self.numbers, column])])
        weights = aim.weights(column, [*self.groups, *self.numbers])
        return float(weights @ np.maximum(missed - limit, 0.0))

    def predicted(self, covariance: Floats, variance: float) -> tuple[Floats, float]:
        """Return values (m,) with these covariances over all n rows, and their share of ``variance``."""
        aimed = covariance * (self.n / self.m)
        coefficients = self.inverse @ aimed
        share = self.share(covariance, variance)
        if share > _MOST_EXPLAINED:
            coefficients = coefficients * np.sqrt(_MOST_EXPLAINED / share)
        return self._apply(coefficients), min(max(share, 0.0), _MOST_EXPLAINED)

    def residual(self, scores: Floats, rng: random.Generator) -> Floats:
        """Return what the features do not explain of the scores (m,), with variance 1."""
        for values in (scores, rng.normal(size=self.m)):
            centred = values - values.mean()
            rest = centred - self._apply(self.inverse @ (self._sums(centred) / self.m))
            deviation = float(rest.std())
            if deviation > 1e-6:
                made: Floats = rest / deviation
                return made
        return np.zeros(self.m)


def _inverse(square: Floats) -> Floats:
    """Return the pseudo-inverse of a covariance matrix, by way of the correlation matrix.

    Directions without variance are left out: the indicators of a column add up to 1, and one column may determine
    another.  What targets ask for along them cannot be had.
    """
    variances = np.diag(square)
    varies = variances > _NO_VARIANCE
    scale = np.sqrt(np.where(varies, variances, 1.0))
    # Of a column that does not vary rounding may leave covariances, which nothing may be divided into.
    values, vectors = np.linalg.eigh(np.where(np.outer(varies, varies), square / np.outer(scale, scale), 0.0))
    kept = values > _SINGULAR
    half = vectors[:, kept] / np.sqrt(values[kept]) / scale[:, None]
    made: Floats = half @ half.T
    return made


def _ratio(covariance: Floats, shares: Floats, variance: float) -> float:
    """Return the correlation ratio of groups with these shares and these covariances with their indicators."""
    between = float(np.divide(covariance**2, shares, out=np.zeros_like(shares), where=shares > 0).sum())
    return float(np.sqrt(min(1.0, between / variance)))


def nearest(matrix: Floats, *, fixed: NDArray[np.bool_], rounds: int = 300) -> Floats:
    """Return the correlation matrix nearest to a symmetric one; itself if it is one.

    The ``fixed`` entries stay as they are, if there is such a matrix; else they give way like the others.

    Source: Higham 2002, "Computing the nearest correlation matrix", Algorithm 3.3.
    Differs: the second set that is projected onto holds the fixed entries beside the diagonal.
    """
    if len(matrix) == 0 or np.linalg.eigvalsh(matrix).min() >= -_INDEFINITE:
        return matrix
    held = fixed | np.eye(len(matrix), dtype=np.bool_)
    made, correction = matrix.copy(), np.zeros_like(matrix)
    for _ in range(rounds):
        lowered = made - correction
        values, vectors = np.linalg.eigh(lowered)
        positive = (vectors * np.maximum(values, 0.0)) @ vectors.T
        correction = positive - lowered
        previous, made = made, np.where(held, matrix, positive)
        if np.abs(made - previous).max() < _INDEFINITE:
            break
    if fixed.any() and np.linalg.eigvalsh(made).min() < -_SLIGHT:
        return nearest(matrix, fixed=np.zeros_like(fixed), rounds=rounds)
    return np.clip(made, -1.0, 1.0)
