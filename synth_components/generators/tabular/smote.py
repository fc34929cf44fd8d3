"""SMOTE, WHICH KEEPS THE TRAINING ROWS: each drawn row lies between a real row and one of its nearest neighbours.

The model is the table: whoever has it has the rows, and drawn rows are near them. It is a yardstick, and a means to
balance a training set of one's own; no model of it may be served unless that is allowed, and none is private.
Where the schema names a privacy unit, a row and its neighbours are each of another one, so that nothing is drawn
between two rows of a person, and of the rows of a class that are drawn from no person has more than one in ten, or than
another, where there are fewer. The model still keeps all rows of everybody.

Source: Chawla et al. 2002, "SMOTE: Synthetic Minority Over-sampling Technique" (arXiv:1106.1813), SMOTE-NC in Sec. 6.1.
Differs: rows of all classes are drawn, as often as they occur, and neighbours are of the same class if ``target`` names
    it.  Numbers and times without a null are interpolated; where one of two is null, the value is either's.  Of a
    category, the rarest values are not told apart where neighbours are sought, and those that the schema does not list
    are redistributed before: the model keeps others in their place.  Neighbours of other units, and how often a unit's
    rows are drawn from, are ours; a class of a single unit is not drawn.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import numpy as np
from numpy import random
from numpy.typing import NDArray
from pydantic import Field
from safetensors.numpy import load_file, save_file
from threadpoolctl import threadpool_limits

from synth_components.config import LEFT, MIN_CATEGORY_COUNT, Recipe
from synth_components.encode import Features, decode, encode, slices
from synth_components.errors import SchemaError, UnsupportedError
from synth_components.generators.tabular._codebook import Ints, stop_if_asked
from synth_components.marginal import shared_out
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset, Floats, Given, PrivacyLedger, Run
from synth_components.schema import Boolean, Categorical, Schema

MOST_CATEGORIES = 64
"""Commonest categories that are told apart where neighbours are sought; the others count as one."""
MOST_DISTANCES = 2**22
"""Most distances that are held at once where neighbours of other units are sought."""


class Smote(Recipe):
    """Draw rows between real rows and their neighbours; the model keeps the training rows."""

    without_privacy: ClassVar[str] = "every row that it draws lies between two real ones"

    keep_rows: Annotated[bool, LEFT] = Field(
        default=False,
        description="Privacy knob: must be true, since the model keeps every training row and whoever has it has them.",
    )
    neighbours: int = Field(5, ge=1, le=1000, description="Nearest neighbours, of which one is drawn.")
    target: str = Field("", description="Category whose classes are kept apart; empty: all rows are neighbours.")

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> SmoteSampler:
        """Return the rows of ``data`` with their neighbours.

        Raises:
            UnsupportedError: unless ``keep_rows`` is true, for a table of fewer than two rows, or none of whose classes
                has rows of two privacy units, and for a column of categories of which the schema lists none.
            SchemaError: if ``target`` is no category.
            StoppedError: if ``run`` says so.
        """
        if not self.keep_rows:
            raise UnsupportedError(
                "tabular.smote keeps the training rows in the model; say keep_rows=true if the model may, or choose "
                "another generator: every other one keeps none"
            )
        ledger.spend("fit tabular.smote", not_private)
        stop_if_asked(run)
        column = data.schema.columns.get(self.target)
        if self.target and not isinstance(column, Categorical | Boolean):
            raise SchemaError(f"target '{self.target}' is no category that is learnt; name another", column=self.target)
        features = encode(data)
        values, owners = features.values, features.owners
        if len(values) < 2:
            raise UnsupportedError("tabular.smote needs two rows to draw one between them; give more rows")
        places = slices(data.schema)
        for name, held in data.schema.columns.items():
            if isinstance(held, Categorical) and not held.categories and (values[:, places[name]] < 0).any():
                raise UnsupportedError(
                    f"column '{name}' has no category that enough rows share; drop it, or declare some"
                )
        kinds = [isinstance(data.schema.columns[name], Categorical | Boolean) for name in places]
        is_category = np.repeat(np.array(kinds, dtype=bool), [where.stop - where.start for where in places.values()])
        _redistribute(values, is_category, rng=rng)
        position = _positions(values, is_category)
        classes = np.nan_to_num(values[:, places[self.target].start], nan=-2) if self.target else np.zeros(len(values))
        near = np.tile(np.arange(len(values))[:, None], self.neighbours)
        groups = [np.flatnonzero(classes == one) for one in np.unique(classes)]
        bases = []
        for done, rows in enumerate(groups, start=1):
            stop_if_asked(run)
            if owners is None:
                near[rows] = _nearest(position[rows], rows, self.neighbours)
            elif len(np.unique(owners[rows])) > 1:
                near[rows] = _nearest_of_others(position[rows], rows, self.neighbours, owners[rows])
                bases.append(_bases(rows, owners[rows]))
            run.report(done, len(groups))
        if owners is not None and not bases:
            raise UnsupportedError(
                "tabular.smote needs rows of two privacy units, of one class, to draw one between them; give more"
            )
        return SmoteSampler(data.schema, values, near, None if owners is None else np.concatenate(bases))


def _redistribute(values: Floats, is_category: NDArray[np.bool_], *, rng: random.Generator) -> None:
    """Put listed categories, as often as they occur, in the place of those of the rows (n, d) that are not listed.

    Where none that is listed occurs, a listed one stands for all.
    """
    for feature in np.flatnonzero(is_category):
        codes = values[:, feature]
        is_unlisted = codes < 0
        if is_unlisted.any():
            listed = codes[codes >= 0]
            codes[is_unlisted] = rng.choice(listed, size=is_unlisted.sum()) if len(listed) else 0.0


def _positions(values: Floats, is_category: NDArray[np.bool_]) -> Floats:
    """Return where rows (n, d) lie: numbers of unit spread, categories apart by their median spread.

    Source: Chawla et al. 2002, Sec. 6.1: a differing category counts as the median of the standard deviations.
    """
    parts = []
    for feature, nominal in zip(values.T, is_category, strict=True):
        is_null = np.isnan(feature)
        if nominal:
            found, counts = np.unique(np.nan_to_num(feature, nan=-2), return_counts=True)
            common = found[np.argsort(-counts, kind="stable")[:MOST_CATEGORIES]]
            parts.append((np.nan_to_num(feature, nan=-2)[:, None] == common) / np.sqrt(2))
            continue
        present = feature[~is_null]
        middle, spread = (present.mean(), present.std()) if len(present) else (0.0, 1.0)
        parts.append(np.where(is_null, 0.0, (feature - middle) / (spread or 1.0))[:, None])
        if is_null.any():
            parts.append(is_null[:, None].astype(np.float64))
    return np.hstack(parts)


def _nearest(position: Floats, rows: Ints, k: int) -> Ints:
    """Return the nearest others (n, k) of each row among ``rows``, repeated where there are fewer; itself if alone."""
    if len(rows) == 1:
        return np.tile(rows, (1, k))
    from sklearn.neighbors import NearestNeighbors  # before the limit, which holds for what is loaded

    found = min(k, len(rows) - 1)
    with threadpool_limits(1, user_api="openmp"):
        near = NearestNeighbors(n_neighbors=found).fit(position).kneighbors(return_distance=False)
    return np.asarray(rows[np.tile(near, -(-k // found))[:, :k]])


def _nearest_of_others(position: Floats, rows: Ints, k: int, owners: Ints) -> Ints:
    """Return ``_nearest`` rows (n, k) that are each of another privacy unit, and not of the row's own.

    Args:
        owners: The unit (n,) of each row, of at least two.
    """
    from sklearn.neighbors import NearestNeighbors  # before the limit, which holds for what is loaded

    wanted = min(k, len(np.unique(owners)) - 1)
    found = np.empty((len(rows), wanted), dtype=np.int64)
    left, reach = np.arange(len(rows)), 2 * k
    with threadpool_limits(1, user_api="openmp"):
        search = NearestNeighbors().fit(position)
        while len(left):  # of those whose nearest rows are of too few units, more are looked at
            reach = min(4 * reach, len(rows))
            missed = []
            for some in np.array_split(left, -(-len(left) * reach // MOST_DISTANCES)):
                near = search.kneighbors(position[some], reach, return_distance=False)
                is_new = _firsts(owners[near]) & (owners[near] != owners[some][:, None])
                is_enough = is_new.sum(axis=1) >= wanted
                chosen = is_new & (is_new.cumsum(axis=1) <= wanted)
                found[some[is_enough]] = near[is_enough][chosen[is_enough]].reshape(-1, wanted)
                missed.append(some[~is_enough])
            left = np.concatenate(missed)
    return np.asarray(rows[np.tile(found, -(-k // wanted))[:, :k]])


def _firsts(labels: Ints) -> NDArray[np.bool_]:
    """Return of which cells (n, m) no cell before, in the same row, has the label."""
    order = np.argsort(labels, axis=1, kind="stable")
    ascending = np.take_along_axis(labels, order, axis=1)
    is_first = np.empty(labels.shape, dtype=bool)
    np.put_along_axis(is_first, order, np.diff(ascending, axis=1, prepend=-1) != 0, axis=1)
    return is_first


def _bases(rows: Ints, owners: Ints) -> Ints:
    """Return the rows (n,) of a class to draw from, some of them repeatedly: as many as it has.

    Args:
        owners: The unit (n,) of each row: none has many of those returned.
    """
    counted = rows[shared_out(np.zeros_like(rows), owners, least=MIN_CATEGORY_COUNT)]
    return np.resize(counted, len(rows))


@dataclass(frozen=True, eq=False)
class SmoteSampler:
    """The training rows, and who is near whom.

    Attributes:
        schema: The schema of the rows.
        values: (n, w) the encoded training rows.
        near: (n, k) row numbers of the nearest neighbours.
        bases: (m,) row numbers of those to draw from, evenly; ``None`` for all.
    """

    schema: Schema
    values: Floats
    near: Ints
    bases: Ints | None = None

    @property
    def holds_rows(self) -> bool:
        """True: the training rows stand in the model, and the manifest says so."""
        return True

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows, each between a training row and one of its neighbours.

        Raises:
            UnsupportedError: for any condition; ``Model`` resamples instead.
        """
        if given is not None and given.columns:
            raise UnsupportedError("tabular.smote does not condition by itself")
        base = rng.integers(len(self.values if self.bases is None else self.bases), size=n)
        base = base if self.bases is None else self.bases[base]
        other = self.near[base, rng.integers(self.near.shape[1], size=n)]
        share = rng.random(n)
        places = slices(self.schema)
        made = np.empty((n, self.values.shape[1]))
        for name, where in places.items():
            ours, theirs = self.values[base, where], self.values[other, where]
            if isinstance(self.schema.columns[name], Categorical | Boolean):
                # The commonest value among the row and its neighbours, as in SMOTE-NC.
                made[:, where] = self._commonest(base, where.start)[:, None]
            elif where.stop - where.start > 1:
                made[:, where] = np.where(share[:, None] < 0.5, ours, theirs)
            else:
                between = ours + share[:, None] * (theirs - ours)
                made[:, where] = np.where(np.isnan(between), np.where(share[:, None] < 0.5, ours, theirs), between)
        return decode(Features(made, places, self.schema))

    def _commonest(self, base: Ints, feature: int) -> Floats:
        """Return the commonest value (n,) of a category among the neighbours of each row, of ties its own or first."""
        held = np.nan_to_num(self.values[:, feature], nan=-2)
        around = np.concatenate([held[base][:, None], held[self.near[base]]], axis=1)  # (n, 1 + k)
        votes = (around[:, :, None] == around[:, None, :]).sum(axis=2)
        votes[:, 0] -= 1  # the row itself has no vote: where no neighbour outvotes it, the tie is its own
        chosen = around[np.arange(len(base)), votes.argmax(axis=1)]
        return np.where(chosen == -2, np.nan, chosen)

    def save(self, directory: Path) -> None:
        """Write ``schema.json``, ``smote.json`` and ``smote.safetensors``: the training rows."""
        (directory / "schema.json").write_text(self.schema.canonical(), encoding="utf-8")
        (directory / "smote.json").write_text(json.dumps({"holds_rows": True}), encoding="utf-8")
        arrays = {"training_rows": np.ascontiguousarray(self.values), "near": self.near}
        arrays |= {} if self.bases is None else {"bases": self.bases}
        save_file(arrays, directory / "smote.safetensors")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote."""
        schema = Schema.from_json(json.loads((directory / "schema.json").read_text(encoding="utf-8")))
        arrays = load_file(directory / "smote.safetensors")
        return cls(schema, arrays["training_rows"], arrays["near"], arrays.get("bases"))


GENERATOR = Smote
SAMPLER = SmoteSampler
