"""Whether a private fit is a function of noisy answers alone: tables that differ are given the same ones.

Every answer of OpenDP is drawn by a seed that the rows have no part in: the number of the answer and its length.  All
else that a fit finds in its rows must then have no part in what it lets out: of tables whose numbers of rows, and whose
values, have nothing in common, the samplers are saved as the same bytes, the ledgers are charged the same, and answers
of the same lengths are asked for at the same noise.  This holds of an honest fit, as the rest of it is post-processing.
"""

import hashlib
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from synth_components.generators.tabular import _graphical
from synth_components.privacy import noise
from synth_components.privacy.ledger import Ledger, dumps
from synth_components.protocols import Budget, Dataset, Run
from synth_components.schema import TABLE, Schema
from synth_components.toy import toy_table


class Answers:
    """A mechanism at its own price, whose answers no row decides."""

    def __init__(self, honest, scale, asked):
        self.map, self._scale, self._asked = honest.map, scale, asked

    def __call__(self, values):
        self._asked.append((len(values), self._scale))
        return self.answer(len(values), np.random.default_rng([len(self._asked), len(values)]))


class Counts(Answers):
    def answer(self, length, rng):
        return rng.integers(-20, 60, length)


class Best(Answers):
    def answer(self, length, rng):
        return int(rng.integers(length))


@contextmanager
def answered():
    """Let every noisy answer be one that no row decides; yield a patch for what else a test breaks, and what is asked.

    That is the length of each question, and the scale of the noise on its answer.
    """
    asked, honest = [], (noise._count_noise, noise._best)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise, "_count_noise", lambda kind, scale: Counts(honest[0](kind, scale), scale, asked))
        patch.setattr(noise, "_best", lambda kind, scale: Best(honest[1](kind, scale), scale, asked))
        yield patch, asked


COLUMNS = ["age", "income", "education", "smoker", "seen"]
"""One of each kind, with nulls and without."""


def tables():
    """Return tables of one public schema: dependent columns; independent ones; one row 201 times."""
    made = [toy_table(0, rows=200), toy_table(1, rows=50), toy_table(2, rows=1)]
    rng = np.random.default_rng(0)
    numbers = [
        np.tile(np.arange(200), (5, 1)),
        rng.permuted(np.tile(np.arange(50), (5, 1)), axis=1),
        np.zeros((5, 201)),
    ]
    schema = Schema({TABLE: {name: made[0].schema.columns[name] for name in COLUMNS}})
    for data, of_columns in zip(made, numbers, strict=True):
        parts = zip(COLUMNS, of_columns.astype(int), strict=True)
        columns = {name: data.table[name].iloc[rows].reset_index(drop=True) for name, rows in parts}
        yield Dataset({TABLE: pd.DataFrame(columns)}, schema)


class Released(NamedTuple):
    """What a fit lets out: the digest of its sampler as it is saved, its ledger, and what it asked."""

    sampler: str
    ledger: str
    asked: tuple[tuple[int, float], ...]


def saved(sampler):
    whole = hashlib.sha256()
    with tempfile.TemporaryDirectory() as folder:
        sampler.save(Path(folder))
        files = sorted(one for one in Path(folder).rglob("*") if one.is_file())
        assert files
        for file in files:
            whole.update(f"{file.relative_to(folder)} {file.stat().st_size} ".encode() + file.read_bytes())
    return whole.hexdigest()


def released(recipe, break_it=None):
    """Return what fits on each of the tables release, without repetitions: one, if rows matter to nothing of it.

    Args:
        break_it: Is given a patch and the rows before each fit; two tables are enough to catch it.
    """
    found = set()
    for data in tables() if break_it is None else list(tables())[1:]:
        ledger = Ledger(Budget(2.0, 1e-5))
        with answered() as (patch, asked):
            if break_it is not None:
                break_it(patch, data)
            sampler = recipe.fit(data, rng=np.random.default_rng(0), ledger=ledger, run=Run())
        assert asked
        assert ledger.entries
        found.add(Released(saved(sampler), dumps(ledger), tuple(asked)))
    return found


def exact_counts(patch, data):
    """Break a fit: noise is drawn, and thrown away."""
    del data
    honest = _graphical.noisy_counts

    def discarded(counts, **how):
        honest(counts, **how)
        return counts

    patch.setattr(_graphical, "noisy_counts", discarded)


def rows_in_the_scale(patch, data):
    """Break a fit: how wide its noise is follows from how many rows there are."""
    honest = noise._scale
    patch.setattr(noise, "_scale", lambda *args: honest(*args) * (1 + len(data.table) / 100))
