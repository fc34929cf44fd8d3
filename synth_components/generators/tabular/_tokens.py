"""The codes of one feature as a token, and for a token of many codes a normal score that says which.

It is how a network reads and writes a table of any columns: a category, a null and a number that many rows share are
tokens of their own; other numbers share a token with their neighbours, and are told apart by the standard normal score
of their rank among these.  The mode-specific normalisation of Xu et al. 2019 is this with a Gaussian for each mode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy import random
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from synth_components.encode import slices
from synth_components.errors import UnsupportedError
from synth_components.generators.tabular._grid import Grid, rows_of
from synth_components.protocols import Dataset, Floats, Given
from synth_components.schema import Schema

Ints = NDArray[np.int64]
Matrix = NDArray[np.float32]

MOST_ATOMS = 128
"""Up to as many single values of a column are tokens; where there are more, those that ``ATOM`` of the rows share."""
ATOM = 0.002
MOST_CATEGORIES = 512
"""The categories beyond as many, the rarest, share tokens."""
EDGE = 1e-5
"""Ranks are kept as far from 0 and 1: scores lie within 4.3 of 0."""

NARROWEST, WIDEST = -5.0, 1.0
"""Bounds of the logarithm of a drawn score's standard deviation."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """A partition of the codes of a grid.

    Attributes:
        grid: The codes.
        of_code: (size,) the token of each code.
        has_scores: Whether a score says which value of its token one is; without, it is drawn evenly among them.
    """

    grid: Grid
    of_code: Ints
    has_scores: bool = True

    @classmethod
    def of(cls, grid: Grid, *, cells: int) -> Tokens:
        """Return a token for each code of much mass, and ``cells`` tokens of about equal mass for the others."""
        mass, pieces = grid.mass, len(grid.marginal.mass)
        if grid.is_nominal:
            is_own = np.argsort(np.argsort(-mass, kind="stable"), kind="stable") < MOST_CATEGORIES
        else:
            is_atom = grid.marginal.low == grid.marginal.high
            is_few = is_atom.sum() <= MOST_ATOMS
            is_heavy = is_atom & (is_few | (mass[:pieces] >= ATOM))
            is_own = np.append(is_heavy, np.ones(int(grid.has_null), dtype=bool))
        of_code = np.zeros(grid.size, dtype=np.int64)
        shared = np.flatnonzero(~is_own)
        ranks = np.cumsum(mass[shared]) - mass[shared] / 2
        run = np.floor(ranks / max(mass[shared].sum(), 1e-300) * cells).astype(np.int64)
        # Tokens stand in the order of their first codes, so that neighbours have near numbers.
        of_code[shared] = grid.size + run
        of_code[is_own] = np.flatnonzero(is_own)
        _, first, inverse = np.unique(of_code, return_index=True, return_inverse=True)
        return cls(grid, np.argsort(np.argsort(first))[inverse.ravel()])

    @cached_property
    def mass(self) -> Floats:
        """Probability of each token (t,)."""
        return np.bincount(self.of_code, weights=self.grid.mass).astype(np.float64)

    @cached_property
    def is_scored(self) -> NDArray[np.bool_]:
        """Whether a token (t,) holds more than one value, so that a score says which."""
        if not self.has_scores:
            return np.zeros(len(self.mass), dtype=bool)
        marginal = self.grid.marginal
        is_wide = np.append(marginal.low < marginal.high, np.zeros(int(self.grid.has_null), dtype=bool))
        return np.asarray(np.bincount(self.of_code, weights=1.0 + is_wide) > 1)

    @cached_property
    def _order(self) -> Ints:
        """The codes, token by token."""
        return np.argsort(self.of_code, kind="stable")

    @cached_property
    def _below(self) -> Floats:
        """The mass of the codes before each one in that order (size + 1,)."""
        return np.concatenate([[0.0], np.cumsum(self.grid.mass[self._order])])

    @cached_property
    def _first(self) -> Ints:
        """Where each token (t + 1,) begins in that order."""
        return np.searchsorted(self.of_code[self._order], np.arange(len(self.mass) + 1))

    def split(self, values: Floats, *, rng: random.Generator) -> tuple[Ints, Matrix]:
        """Return tokens (n,) and scores (n,) of encoded values.

        The score of a token that has none says nothing: it is drawn, standard normal.
        """
        codes = self.grid.codes(values, rng=rng)
        token = self.of_code[codes]
        place = np.argsort(self._order)[codes]
        spread = rng.random(len(codes))
        pieces = len(self.grid.marginal.mass)
        within = spread
        if pieces:
            held = np.minimum(codes, pieces - 1)
            low, high = self.grid.marginal.low[held], self.grid.marginal.high[held]
            # An extreme beyond the last piece is anywhere in it: at its end, it would be a score that no rank has.
            is_within = (high > low) & (codes < pieces) & (values >= low) & (values <= high)
            part = (values - low) / np.where(is_within, high - low, 1.0)
            within = np.where(is_within, part, spread)
        reached = self._below[place] + within * self.grid.mass[codes] - self._below[self._first[token]]
        rank = np.where(self.is_scored[token], reached / np.maximum(self.mass[token], 1e-300), spread)
        return token, ndtri(np.clip(rank, EDGE, 1 - EDGE)).astype(np.float32)

    def join(self, token: Ints, score: NDArray[np.floating[Any]], *, rng: random.Generator) -> Floats:
        """Return encoded values (n,) of tokens and scores; NaN for null."""
        begin, end = self._first[token], self._first[token + 1] - 1
        rank = np.where(self.is_scored[token], ndtr(score.astype(np.float64)), rng.random(len(token)))
        reached = self._below[begin] + rank * self.mass[token]
        place = np.clip(np.searchsorted(self._below, reached, side="right") - 1, begin, end)
        code = self._order[place]
        pieces = len(self.grid.marginal.mass)
        if pieces == 0:
            return np.full(len(token), np.nan)
        held = np.minimum(code, pieces - 1)
        low, high = self.grid.marginal.low[held], self.grid.marginal.high[held]
        within = np.clip((reached - self._below[place]) / np.maximum(self.grid.mass[code], 1e-300), 0.0, 1.0)
        values = low + within * (high - low)
        if not self.grid.is_exact:
            values = np.rint(values)
        return np.where(code >= pieces, np.nan, values)


def tokens_of(grids: Sequence[Grid], *, cells: int) -> tuple[Tokens, ...]:
    """Return the tokens of each grid."""
    return tuple(Tokens.of(grid, cells=cells) for grid in grids)


def scored(features: Sequence[Tokens]) -> list[int]:
    """Return the features of which some token has a score."""
    return [feature for feature, one in enumerate(features) if one.is_scored.any()]


def split_rows(features: Sequence[Tokens], values: Floats, *, rng: random.Generator) -> tuple[Ints, Matrix]:
    """Return tokens (n, d) of encoded rows (n, d), and scores (n, m) of the m features that have any."""
    parts = [one.split(values[:, feature], rng=rng) for feature, one in enumerate(features)]
    tokens = np.stack([token for token, _ in parts], axis=1)
    held = [parts[feature][1] for feature in scored(features)]
    return tokens, np.stack(held, axis=1) if held else np.zeros((len(values), 0), dtype=np.float32)


def join_rows(
    features: Sequence[Tokens], tokens: Ints, scores: NDArray[np.floating[Any]], *, rng: random.Generator
) -> Floats:
    """Return the encoded rows (n, d) of tokens (n, d) and scores (n, m)."""
    place = {feature: number for number, feature in enumerate(scored(features))}
    nothing = np.zeros(len(tokens), dtype=np.float32)
    return np.stack(
        [
            one.join(tokens[:, feature], scores[:, place[feature]] if feature in place else nothing, rng=rng)
            for feature, one in enumerate(features)
        ],
        axis=1,
    )


def drawn_rows(
    draw: Callable[[int], Floats], n: int, *, part: int, schema: Schema, given: Given | None, generator: str
) -> Dataset:
    """Return ``n`` rows that are drawn without conditions, a part of them at a time.

    Args:
        draw: Returns the encoded rows (k, d) of a number k.
        part: Most rows at a time, so that what the network holds does not grow with ``n``.

    Raises:
        UnsupportedError: for any condition; ``Model`` resamples instead.
    """
    if given is not None and given.columns:
        raise UnsupportedError(f"{generator} does not condition by itself")
    parts = [draw(min(part, n - start)) for start in range(0, n, part)]
    width = sum(where.stop - where.start for where in slices(schema).values())
    return rows_of(np.concatenate([np.empty((0, width)), *parts]), schema)
