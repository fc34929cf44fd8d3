"""A Gaussian copula over numbers, categories, times and nulls: marginals joined by one correlation matrix.

Source: Liu, Lafferty & Wasserman 2009 (arXiv:0903.0649), "The nonparanormal"; Nelsen 2006, "An Introduction to
    Copulas", Sec. 2.3 (Sklar's theorem); Higham 2002 for the nearest correlation matrix.
Differs: an atom scores its conditional mean instead of a random draw within it, and the attenuation that this causes
    is inverted pair by pair through Mehler's expansion (Xiao 2014, "Evaluating correlation coefficient for Nataf
    transformation"), so that the correlation is the latent one. Categories without an order take the order of their
    means along the direction in which the other columns differ most between them. Whether a value is null is a latent
    of its own, correlated with all others. Correlations shrink towards 0 by ``prior_rows`` rows without dependence. Of
    integers beyond 2^53, which are two features with a latent each, the lower half's marginal is given the upper one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray
from pydantic import Field
from safetensors.numpy import load_file, save_file
from scipy.special import ndtr, ndtri

from synth_components.conditions import ends_of, typed
from synth_components.config import MIN_CATEGORY_COUNT, SAFER_DOWN, MinCategoryCount, Recipe
from synth_components.encode import Features, decode, encode, encoder, slices
from synth_components.errors import ConditionError, StoppedError, UnsupportedError
from synth_components.gaussian import Region, conditional_draw, draw, interval_mass, nearest_correlation
from synth_components.marginal import Marginal, marginals_of, quantiles, second_given
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Allowed, Dataset, Floats, Given, Interval, PrivacyLedger, Run
from synth_components.schema import Boolean, Categorical, Datetime, Numeric, Schema, Value, outside_of
from synth_components.support import Owners

TERMS = 40
"""Terms of Mehler's expansion."""

ORDER_ROUNDS = 2
"""Times that the order of categories is improved."""


class GaussianCopula(Recipe):
    """Join the columns' marginals by the correlation of their normal scores."""

    without_privacy: ClassVar[str] = "its marginals and correlations are taken off the rows without noise"

    knots: Annotated[int, SAFER_DOWN] = Field(
        500, ge=2, le=1000, description="Knots of a numeric column's quantile function."
    )
    min_category_count: MinCategoryCount = MIN_CATEGORY_COUNT
    max_rows: int = Field(
        200_000, ge=100, le=10_000_000, description="Most rows, chosen at random, that correlations are estimated on."
    )
    prior_rows: float = Field(
        10.0, ge=0, le=1_000_000, description="Rows without dependence that every correlation is averaged with."
    )

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> GaussianCopulaSampler:
        """Return marginals and latent correlations of ``data``; ``rng`` chooses rows where there are too many.

        Raises:
            UnsupportedError: if a column has no value with enough support.
        """
        ledger.spend("fit tabular.gaussian_copula", not_private)
        features = encode(data)
        owners = features.owners
        steps = len(features.columns) + 1
        columns: dict[str, ColumnModel] = {}
        for done, (name, where) in enumerate(features.columns.items(), start=1):
            _stop_if_asked(run)
            columns[name] = self._column(features.values[:, where], data.schema, name, owners)
            run.report(done, steps)
        _stop_if_asked(run)
        values = features.values
        if len(values) > self.max_rows:
            values = values[np.sort(rng.choice(len(values), self.max_rows, replace=False))]
        columns = self._ordered(values, features.columns, columns, data.schema)
        correlation = self._correlation(values, features.columns, columns)
        run.report(steps, steps)
        return GaussianCopulaSampler(data.schema, columns, correlation)

    def _column(self, values: Floats, schema: Schema, name: str, owners: Owners) -> ColumnModel:
        column = schema.columns[name]
        found = marginals_of(
            values, column, name=name, knots=self.knots, min_count=self.min_category_count, owners=owners
        )
        null, marginals, order = found[0].null, [_known(marginal) for marginal in found], np.empty(0, dtype=np.int64)
        if isinstance(column, Categorical | Boolean) and len(marginals[0].mass):
            # Positions stand in for codes, so that an order may be chosen; frequency is the first one.
            by_mass = np.argsort(-marginals[0].mass, kind="stable") if _is_nominal(schema, name) else slice(None)
            order = marginals[0].low[by_mass].astype(np.int64)
            marginals[0] = _atoms(marginals[0].mass[by_mass])
        return ColumnModel(tuple(marginals), null, order)

    def _ordered(
        self, values: Floats, places: Mapping[str, slice], columns: Mapping[str, ColumnModel], schema: Schema
    ) -> dict[str, ColumnModel]:
        """Return the columns with the categories of unordered ones in the order of their normal scores."""
        made = dict(columns)
        nominal = [name for name, model in made.items() if _is_nominal(schema, name) and len(model.order) > 2]
        for _ in range(ORDER_ROUNDS):
            scores = {name: model.scores(values[:, places[name]]) for name, model in made.items()}
            for name in nominal:
                others = [score for other, score in scores.items() if other != name and score.shape[1]]
                if not others:
                    continue
                model = made[name]
                rest = np.nan_to_num(np.hstack(others))  # (n, w)
                positions = model.positions(values[:, places[name]])[:, 0]
                known = ~np.isnan(positions)
                group = positions[known].astype(np.int64)
                counts = np.bincount(group, minlength=len(model.order)).astype(np.float64)
                sums = np.stack([np.bincount(group, weights=z, minlength=len(counts)) for z in rest[known].T], axis=1)
                means = sums / (counts + max(self.prior_rows, 1.0))[:, None]  # (k, w)
                means -= counts @ means / max(counts.sum(), 1.0)
                _, vectors = np.linalg.eigh((means * counts[:, None]).T @ means)
                rank = np.argsort(means @ vectors[:, -1], kind="stable")
                made[name] = ColumnModel((_atoms(model.marginals[0].mass[rank]),), model.null, model.order[rank])
        return made

    def _correlation(self, values: Floats, places: Mapping[str, slice], columns: Mapping[str, ColumnModel]) -> Floats:
        """Return the latent correlation (q, q) whose scores have the covariance that the rows show."""
        parts = [model.scores(values[:, places[name]]) for name, model in columns.items()]
        scores = np.hstack(parts) if parts else np.empty((len(values), 0))
        coefficients = np.array([c for model in columns.values() for c in model.hermite()]).reshape(-1, TERMS)
        known = ~np.isnan(scores)
        filled = np.where(known, scores, 0.0)
        both = known.astype(np.float64).T @ known  # (q, q) rows where both are known
        rows = np.maximum(both, 1.0)
        mean = filled.T @ known / rows  # (q, q) mean of the first where both are known
        square = (filled**2).T @ known / rows
        covariance = filled.T @ filled / rows - mean * mean.T
        spread = np.sqrt(np.maximum(square - mean**2, 0.0))
        scale = spread * spread.T
        observed = np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 1e-12)
        latent = _invert(observed, coefficients)
        latent *= both / np.maximum(both + self.prior_rows, 1e-300)
        return nearest_correlation(latent) if len(latent) else latent


@dataclass(frozen=True, eq=False)
class ColumnModel:
    """One column: the marginals of its known values, the null share, the order of categories.

    Attributes:
        marginals: Over encoded values, as ``marginals_of`` gives them; over positions in ``order`` for categories and
            booleans.
        null: Probability of null.
        order: Codes in the order of the latent; empty for numbers and times.
    """

    marginals: tuple[Marginal, ...]
    null: float
    order: NDArray[np.int64]

    @property
    def is_known(self) -> bool:
        """Whether any value but null is ever drawn."""
        return all(len(marginal.mass) > 0 for marginal in self.marginals)

    @property
    def has_null_latent(self) -> bool:
        """Whether nulls are drawn by a latent: neither never nor always."""
        return self.is_known and 0.0 < self.null < 1.0

    @property
    def width(self) -> int:
        """Number of latents."""
        return self.features * self.is_known + self.has_null_latent

    @property
    def features(self) -> int:
        """Number of features, each with a latent if any value is known: two beyond 2^53, else one."""
        return 1 + (len(self.marginals) > 1)

    @property
    def null_cut(self) -> float:
        """The null latent above which the value is null."""
        return float(ndtri(1.0 - self.null))

    def positions(self, values: Floats) -> Floats:
        """Return positions (n, w) of encoded values: themselves for numbers; NaN for what is not kept."""
        if not len(self.order):
            return values
        size = int(max(self.order.max(), np.nanmax(values, initial=0.0))) + 2
        place = np.full(size, np.nan)
        place[self.order] = np.arange(len(self.order))
        codes = np.where(np.isnan(values) | (values < 0), size - 1, values).astype(np.int64)
        return place[codes]

    def values(self, positions: Floats) -> Floats:
        """Return encoded values of positions, of any shape."""
        return self.order[np.rint(positions).astype(np.int64)].astype(np.float64) if len(self.order) else positions

    def scores(self, values: Floats) -> Floats:
        """Return normal scores (n, width): the latent's conditional mean; NaN where the value is not known."""
        if not self.is_known:
            return np.empty((len(values), 0))
        positions = self.positions(values)
        parts = [_score(*ends, np.isnan(p)) for ends, p in zip(self.ends(positions), positions.T, strict=True)]
        if self.has_null_latent:
            is_null = np.isnan(values[:, 0])
            parts.append(_score(*_ends(self._null_marginal, is_null * 1.0), np.zeros_like(is_null)))
        return np.stack(parts, axis=1)

    def ends(self, positions: Floats) -> list[tuple[Floats, Floats]]:
        """Return by feature the ends (n,), (n,) of the latent interval of positions (n, w).

        That of the mass of an atom, or a point.
        """
        made = [_ends(self.marginals[0], positions[:, 0])]
        if self.features > 1:
            low, high = np.empty(len(positions)), np.empty(len(positions))
            place = second_given(self.marginals, positions[:, 0])
            for k in range(1, len(self.marginals)):
                rows = place == k
                low[rows], high[rows] = _ends(self.marginals[k], positions[rows, 1])
            made.append((low, high))
        return made

    def hermite(self) -> Iterator[Floats]:
        """Yield the coefficients (TERMS,) of each latent's score, scaled to unit variance."""
        if self.is_known:
            first, *seconds = self.marginals
            yield _hermite([first], np.ones(1))
            if seconds:
                is_atom = first.low == first.high
                shares = np.append(first.mass[is_atom], first.mass[~is_atom].sum())
                yield _hermite(seconds, shares[: len(seconds)])
        if self.has_null_latent:
            yield _hermite([self._null_marginal], np.ones(1))

    @property
    def _null_marginal(self) -> Marginal:
        """The marginal of whether the value is null."""
        return _atoms(np.array([1.0 - self.null, self.null]))


@dataclass(frozen=True, eq=False)
class GaussianCopulaSampler:
    """Marginals and the correlation of their latents: column by column, features, then null."""

    schema: Schema
    columns: Mapping[str, ColumnModel]
    correlation: Floats

    @cached_property
    def _places(self) -> dict[str, slice]:
        """Where each column lies among the latents."""
        starts = np.cumsum([0, *(model.width for model in self.columns.values())])
        return {name: slice(starts[i], starts[i + 1]) for i, name in enumerate(self.columns)}

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows; values fixed by ``given.rows`` are returned as they are.

        A fixed number beyond the supported range is taken as the end of that range, in drawing the other columns.

        Raises:
            UnsupportedError: for a set that mixes null and values, and for conditions on integers beyond 2^53.
            ConditionError: for unknown columns, and values that the model gives no mass.
        """
        if given is None or not given.columns:
            return self._decode(draw(self.correlation, n, rng=rng))
        unknown = tuple(name for name in given.columns if name not in self.columns)
        if unknown:
            raise ConditionError(f"there is no column {unknown} to condition on", columns=unknown)
        shared = {name: self._allowed(name, allowed) for name, allowed in given.allowed.items()}
        fixed = self._fixed(given, n)
        confined = {name: _Confined(self, name, codes) for name, codes in fixed.items()}
        # Rows with the same kind of condition in every column are drawn together.
        kinds = np.stack([one.kind for one in confined.values()], axis=1) if confined else np.zeros((n, 1), np.int64)
        latents = np.empty((n, len(self.correlation)))
        for kind in np.unique(kinds, axis=0):
            rows = np.flatnonzero((kinds == kind).all(axis=1))
            parts = [one.region(rows) for one, k in zip(confined.values(), kind, strict=False) if k != _FREE]
            held = {name for name, k in zip(confined, kind, strict=False) if k != _FREE}
            parts += [_spread(region, len(rows)) for name, region in shared.items() if name not in held]
            latents[rows] = self._confined_draw(parts, len(rows), rng=rng)
        return self._decode(latents, fixed, given.allowed)

    def _confined_draw(self, parts: list[Region], n: int, *, rng: random.Generator) -> Floats:
        parts = [part for part in parts if len(part.latents)]
        if not parts or n == 0:
            return draw(self.correlation, n, rng=rng)
        size = max(part.low.shape[2] for part in parts)
        low, high = (
            np.concatenate(
                [np.pad(ends, ((0, 0), (0, 0), (0, size - ends.shape[2])), constant_values=unused) for ends in sides],
                axis=1,
            )
            for sides, unused in (([p.low for p in parts], np.inf), ([p.high for p in parts], -np.inf))
        )
        region = Region(np.concatenate([part.latents for part in parts]), low, high)
        return conditional_draw(self.correlation, region, rng=rng)

    def _fixed(self, given: Given, n: int) -> dict[str, Floats]:
        """Return the encoded values (n, w) that the request rows fix, NaN where free."""
        fixed: dict[str, Floats] = {}
        if given.rows is None:
            return fixed
        if len(given.rows) != n:
            raise ConditionError(f"{len(given.rows)} request rows for {n} rows; give one per row")
        for name in map(str, given.rows.columns):
            column = self.schema.columns[name]
            held = given.rows[name].reset_index(drop=True)
            try:
                values = encoder(column, name).encode(held)
                outside = bool(outside_of(held, column)[0].any())
            except (ValueError, TypeError):
                raise ConditionError(f"a value for column '{name}' has another type", columns=(name,)) from None
            is_fixed = held.notna().to_numpy()
            known = self.columns[name].is_known and not np.isnan(self.columns[name].positions(values)[is_fixed]).any()
            if outside or (is_fixed.any() and not known):
                raise ConditionError(
                    f"a value for column '{name}' lies outside its schema, or is too rare for the model to know",
                    columns=(name,),
                )
            if name in given.allowed and not self._fits(name, values[is_fixed], given.allowed[name]):
                raise ConditionError(f"a fixed value of column '{name}' is not among its allowed ones", columns=(name,))
            fixed[name] = values
        return fixed

    def _fits(self, name: str, values: Floats, allowed: Allowed) -> bool:
        if isinstance(allowed, Interval):
            low, high = self._encoded(name, allowed)
            return bool(np.all((values[:, 0] >= low) & (values[:, 0] <= high)))
        codes = self._codes(name, allowed)
        return bool(np.isin(values[:, 0], codes).all())

    def _encoded(self, name: str, allowed: Interval) -> tuple[float, float]:
        """Return the ends of an interval in encoded units, moved inwards to the column's resolution."""
        column = self.schema.columns[name]
        if not isinstance(column, Numeric | Datetime) or self.columns[name].features > 1:
            raise UnsupportedError(f"column '{name}' takes no interval here; give a set of values")
        return ends_of(allowed, column, name)

    def _codes(self, name: str, allowed: frozenset[Value | None]) -> Floats:
        column = self.schema.columns[name]
        values = typed(pd.Series([value for value in allowed if value is not None], dtype=object), column)
        return np.sort(encoder(column, name).encode(values)[:, 0])

    def _allowed(self, name: str, allowed: Allowed) -> Region:
        """Return the region (1, m, k) of one column's latents in which its values are allowed."""
        model, first = self.columns[name], self._places[name].start
        refused = ConditionError(f"the model gives the condition on column '{name}' no mass", columns=(name,))
        with_null = not isinstance(allowed, Interval) and None in allowed
        if not isinstance(allowed, Interval) and allowed == {None}:
            if model.null == 0.0:
                raise refused
            if not model.has_null_latent:
                return Region(np.empty(0, dtype=np.int64), np.empty((1, 0, 1)), np.empty((1, 0, 1)))
            latent = np.array([first + model.features])
            return Region(latent, np.full((1, 1, 1), model.null_cut), np.full((1, 1, 1), np.inf))
        if with_null:
            raise UnsupportedError(f"a set for column '{name}' mixes null and values; the copula resamples that")
        if not model.is_known:
            raise refused
        if model.features > 1:
            raise UnsupportedError(f"column '{name}' has integers beyond 2^53; the copula does not condition on those")
        marginal = model.marginals[0]
        if isinstance(allowed, Interval):
            low, high = self._encoded(name, allowed)
            half = 0.0 if _is_exact(self.schema, name) else 0.5
            ends = [(low - half, high + half)] if low <= high else []
        elif len(model.order):
            places = model.positions(self._codes(name, allowed))
            ends = [(place, place) for place in places[~np.isnan(places)]]
        else:
            half = 0.0 if _is_exact(self.schema, name) else 0.5
            ends = [(code - half, code + half) for code in self._codes(name, allowed)]
        cuts = [cut for end in ends for cut in _cuts(marginal, *end)]
        cuts = [(low, high) for low, high in cuts if interval_mass(np.array(low), np.array(high)) > 0]
        if not cuts:
            if any(low == high for low, high in ends):
                raise UnsupportedError(f"column '{name}' is continuous; the copula resamples for one of its numbers")
            raise refused
        low_high = np.array(cuts).T[:, None, None, :]  # (2, 1, 1, k)
        latents, low_ends, high_ends = [first], [low_high[0]], [low_high[1]]
        if model.has_null_latent:
            latents.append(first + 1)
            unused = (1, 1, len(cuts) - 1)
            low_ends.append(np.concatenate([np.full((1, 1, 1), -np.inf), np.full(unused, np.inf)], axis=2))
            high_ends.append(np.concatenate([np.full((1, 1, 1), model.null_cut), np.full(unused, -np.inf)], axis=2))
        return Region(np.array(latents), np.concatenate(low_ends, axis=1), np.concatenate(high_ends, axis=1))

    def _decode(
        self, latents: Floats, fixed: Mapping[str, Floats] | None = None, allowed: Mapping[str, Allowed] | None = None
    ) -> Dataset:
        """Return the rows of latents (n, q); fixed values overwrite, intervals clip what rounding moved."""
        n = len(latents)
        places = slices(self.schema)
        values = np.full((n, sum(where.stop - where.start for where in places.values())), np.nan)
        for name, where in places.items():
            model, first = self.columns[name], self._places[name].start
            if model.is_known:
                uniforms = np.minimum(ndtr(latents[:, first : first + model.features].T), np.nextafter(1.0, 0.0))
                values[:, where] = model.values(quantiles(model.marginals, uniforms))
            if model.has_null_latent:
                is_null = latents[:, first + model.features] > model.null_cut
                values[is_null, where] = np.nan
            wanted = None if allowed is None else allowed.get(name)
            if isinstance(wanted, Interval):
                values[:, where] = np.clip(values[:, where], *self._encoded(name, wanted))
            if fixed is not None and name in fixed:
                values[:, where] = np.where(np.isnan(fixed[name]), values[:, where], fixed[name])
        return decode(Features(values, places, self.schema))

    def save(self, directory: Path) -> None:
        """Write ``schema.json`` and ``copula.safetensors``."""
        (directory / "schema.json").write_text(self.schema.canonical(), encoding="utf-8")
        arrays: dict[str, NDArray[Any]] = {"correlation": np.ascontiguousarray(self.correlation)}
        for column, model in enumerate(self.columns.values()):
            arrays[f"{column}.null"] = np.array([model.null])
            arrays[f"{column}.order"] = np.ascontiguousarray(model.order)
            for feature, marginal in enumerate(model.marginals):
                for part, array in marginal.to_arrays().items():
                    arrays[f"{column}.{feature}.{part}"] = np.ascontiguousarray(array)
        save_file(arrays, directory / "copula.safetensors")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote."""
        schema = Schema.from_json(json.loads((directory / "schema.json").read_text(encoding="utf-8")))
        arrays = load_file(directory / "copula.safetensors")
        columns = {
            name: ColumnModel(
                tuple(
                    Marginal.from_arrays(
                        {part: arrays[f"{column}.{i}.{part}"] for part in ("low", "high", "mass", "null")}
                    )
                    for i in range(sum(key.startswith(f"{column}.") and key.endswith(".mass") for key in arrays))
                ),
                float(arrays[f"{column}.null"][0]),
                arrays[f"{column}.order"],
            )
            for column, name in enumerate(slices(schema))
        }
        return cls(schema, columns, arrays["correlation"])


_FREE, _POINT, _ATOM = 0, 1, 2


class _Confined:
    """The latents of one column whose values the request rows fix."""

    def __init__(self, sampler: GaussianCopulaSampler, name: str, values: Floats) -> None:
        model, first = sampler.columns[name], sampler._places[name].start
        is_fixed = ~np.isnan(values[:, 0])
        ends = model.ends(model.positions(values))
        is_atom = (
            np.stack([low < high for low, high in ends], axis=1) if model.is_known else np.zeros((len(values), 0), bool)
        )
        # One bit per feature: atoms are intervals of the latent, other values are points.
        self.kind = np.where(is_fixed, 1 + (is_atom @ (1 << np.arange(is_atom.shape[1]))), _FREE).astype(np.int64)
        self._latents = np.arange(first, first + model.width)
        lows, highs = [low for low, _ in ends], [high for _, high in ends]
        if model.has_null_latent:
            lows.append(np.full(len(values), -np.inf))
            highs.append(np.full(len(values), model.null_cut))
        self._low, self._high = np.stack(lows, axis=1)[:, :, None], np.stack(highs, axis=1)[:, :, None]

    def region(self, rows: NDArray[np.int64]) -> Region:
        return Region(self._latents, self._low[rows], self._high[rows])


def _spread(region: Region, n: int) -> Region:
    shape = (n, *region.low.shape[1:])
    return Region(region.latents, np.broadcast_to(region.low, shape), np.broadcast_to(region.high, shape))


def _stop_if_asked(run: Run) -> None:
    if run.should_stop():
        raise StoppedError("fit stopped as asked; nothing was saved")


def _is_nominal(schema: Schema, name: str) -> bool:
    column = schema.columns[name]
    return isinstance(column, Categorical) and not column.ordered


def _is_exact(schema: Schema, name: str) -> bool:
    column = schema.columns[name]
    return isinstance(column, Numeric) and column.places is None


def _known(marginal: Marginal) -> Marginal:
    """Return the marginal of the values that are not null."""
    total = marginal.mass.sum()
    return replace(marginal, mass=marginal.mass / total if total > 0 else marginal.mass, null=0.0)


def _atoms(mass: Floats) -> Marginal:
    positions = np.arange(len(mass), dtype=np.float64)
    return Marginal(positions, positions, mass, 0.0)


def _ends(marginal: Marginal, values: Floats) -> tuple[Floats, Floats]:
    """Return the latent interval (n,), (n,) of each value: of its atom's mass, or a point."""
    if not len(marginal.mass):
        return np.full(len(values), -np.inf), np.full(len(values), np.inf)
    cumulative = np.concatenate([[0.0], np.minimum(np.cumsum(marginal.mass), 1.0)])
    piece = np.maximum(marginal.piece_of(values), 0)
    width = marginal.high[piece] - marginal.low[piece]
    within = np.clip((values - marginal.low[piece]) / np.where(width > 0, width, 1.0), 0.0, 1.0)
    inside = np.clip(cumulative[piece] + within * marginal.mass[piece], 1e-9, 1 - 1e-9)
    last = piece == len(marginal.mass) - 1
    low = np.where(width > 0, ndtri(inside), ndtri(cumulative[piece]))
    high = np.where(width > 0, ndtri(inside), np.where(last, np.inf, ndtri(cumulative[piece + 1])))
    return low, high


def _cuts(marginal: Marginal, low: float, high: float) -> Iterator[tuple[float, float]]:
    """Yield the latent intervals of the values from ``low`` to ``high``, both included."""
    cumulative = np.concatenate([[0.0], np.minimum(np.cumsum(marginal.mass), 1.0)])
    cumulative[-1] = 1.0
    width = marginal.high - marginal.low
    inside = np.where(
        width > 0, (marginal.high > low) & (marginal.low < high), (marginal.low >= low) & (marginal.low <= high)
    )
    pieces = np.flatnonzero(inside)
    if not len(pieces):
        return
    # Pieces ascend, so those inside are consecutive: only the outer two may be cut.
    first, last = pieces[0], pieces[-1]
    span = np.where(width > 0, width, 1.0)
    start = np.clip((low - marginal.low[first]) / span[first], 0.0, 1.0) if width[first] > 0 else 0.0
    end = np.clip((high - marginal.low[last]) / span[last], 0.0, 1.0) if width[last] > 0 else 1.0
    yield (
        float(ndtri(cumulative[first] + start * marginal.mass[first])),
        float(ndtri(min(cumulative[last] + end * marginal.mass[last], 1.0)))
        if (last, end) != (len(width) - 1, 1.0)
        else np.inf,
    )


def _score(low: Floats, high: Floats, is_free: NDArray[np.bool_]) -> Floats:
    """Return the conditional mean (n,) of a latent in each interval; NaN where ``is_free``."""
    mass = interval_mass(low, high)
    mean = np.divide(_density(low) - _density(high), mass, out=np.where(np.isfinite(low), low, 0.0), where=mass > 0)
    return np.where(is_free, np.nan, mean)


def _density(z: Floats) -> Floats:
    density: Floats = np.exp(-np.square(z) / 2) / np.sqrt(2 * np.pi)
    return density


def _hermite(marginals: Sequence[Marginal], shares: Floats) -> Floats:
    """Return the Hermite coefficients (TERMS,) of the score of a latent, scaled to unit variance.

    Args:
        shares: (m,) probability of each of the marginals, whichever of them the latent has.
    """
    series = np.stack([_series(marginal) for marginal in marginals])  # (m, TERMS)
    variance = float(shares @ np.square(series).sum(axis=1))
    return shares @ series / np.sqrt(variance) if variance > 1e-12 else np.zeros(TERMS)


def _series(marginal: Marginal) -> Floats:
    """Return the Hermite coefficients (TERMS,) of degrees 1, 2, ... of the score.

    The score of latent z is z outside atoms and the mean of the atom's interval within.
    """
    cuts = ndtri(np.minimum(np.concatenate([[0.0], np.cumsum(marginal.mass)]), 1.0))
    cuts[-1] = np.inf
    low, high = cuts[:-1], cuts[1:]  # (p,)
    is_atom = marginal.low == marginal.high
    mass = interval_mass(low, high)
    mean = np.divide(_density(low) - _density(high), mass, out=np.zeros_like(mass), where=mass > 0)
    # The integral of h_k * density over an interval is h_{k-1} * density / sqrt(k), lower end minus upper end.
    ends = np.where(np.isfinite(cuts), cuts, 0.0)
    weight = np.where(np.isfinite(cuts), _density(cuts), 0.0)
    functions = [np.ones_like(ends), ends]  # orthonormal Hermite functions h_0, h_1, ...
    for k in range(1, TERMS + 1):
        functions.append((ends * functions[k] - np.sqrt(k) * functions[k - 1]) / np.sqrt(k + 1))
    integrals = [mass]
    for k in range(1, TERMS + 2):
        edge = functions[k - 1] * weight
        integrals.append((edge[:-1] - edge[1:]) / np.sqrt(k))
    coefficients = np.empty(TERMS)
    for k in range(1, TERMS + 1):
        # z h_k = sqrt(k + 1) h_{k+1} + sqrt(k) h_{k-1}
        free = np.sqrt(k + 1) * integrals[k + 1] + np.sqrt(k) * integrals[k - 1]
        coefficients[k - 1] = np.where(is_atom, mean * integrals[k], free).sum()
    return coefficients


def _invert(observed: Floats, coefficients: Floats) -> Floats:
    """Return the latent correlations (q, q) whose scores correlate as observed, by bisection.

    The correlation of scores is the power series sum_k a_k b_k r^k, which rises with r since scores rise with z.
    """
    low, high = np.full_like(observed, -0.999), np.full_like(observed, 0.999)
    for _ in range(30):
        middle = (low + high) / 2
        series = np.zeros_like(observed)
        for a in coefficients.T[::-1]:  # Horner's rule
            series = (series + np.outer(a, a)) * middle
        below = series < observed
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    middle = (low + high) / 2
    flat = np.abs(coefficients).sum(axis=1) == 0
    middle[flat] = 0.0
    middle[:, flat] = 0.0
    np.fill_diagonal(middle, 1.0)
    return middle


GENERATOR = GaussianCopula
SAMPLER = GaussianCopulaSampler
