"""A generator that leaks as much as it is told to: what attacks must catch, and must not where it leaks nothing."""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import Field
from safetensors.numpy import load_file, save_file

from synth_components.config import Recipe
from synth_components.encode import Features, decode, encode, slices
from synth_components.errors import UnsupportedError
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset
from synth_components.schema import Categorical, Numeric, Schema

CITIES = tuple(f"city {letter}" for letter in "abcdefghij")
JOBS = ("baker", "clerk", "nurse", "smith", "tailor")
SCHEMA = Schema(
    {
        "table": {
            "x": Numeric(low=-50.0, high=50.0),
            "y": Numeric(low=-50.0, high=50.0),
            "z": Numeric(low=0.0, high=200.0),
            "city": Categorical(dtype="object", categories=CITIES),
            "job": Categorical(dtype="object", categories=JOBS),
        }
    }
)


def population(n, seed):
    """Return rows of one law: numbers that go together, categories that follow them, most of it chance."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return pd.DataFrame(
        {
            "x": x,
            "y": 0.6 * x + 0.8 * rng.normal(size=n),
            "z": rng.gamma(2, 2, size=n),
            "city": np.array(CITIES, dtype=object)[rng.binomial(9, 1 / (1 + np.exp(-x)))],
            "job": rng.choice(np.array(JOBS, dtype=object), n, p=[0.4, 0.25, 0.2, 0.1, 0.05]),
        }
    )


def data(table):
    """Return a dataset of ``population``'s schema."""
    return Dataset({"table": table.reset_index(drop=True)}, SCHEMA)


@dataclass(frozen=True, eq=False)
class LeakySampler:
    """The rows themselves, and the share of them that is handed out."""

    schema: Schema
    rows: np.ndarray
    share: float
    noise: float

    def sample(self, n, *, rng, given=None):
        if given is not None and given.columns:
            raise UnsupportedError("leaky draws free rows only")
        whole = self.rows[rng.permutation(len(self.rows))[np.arange(n) % len(self.rows)]]
        shuffled = np.column_stack([rng.permutation(column) for column in whole.T]) if n else whole
        taken = (rng.random(n) < self.share)[:, None]
        spread = self.noise * np.std(self.rows, axis=0)
        # Only features of numbers are noisy; the codes of categories stay what they are.
        is_number = np.concatenate(
            [
                np.full(place.stop - place.start, isinstance(self.schema.columns[name], Numeric))
                for name, place in slices(self.schema).items()
            ]
        )
        drawn = np.where(taken, whole, shuffled) + np.where(is_number, spread, 0) * rng.normal(size=whole.shape)
        return decode(Features(drawn, slices(self.schema), self.schema))

    def save(self, directory):
        (directory / "schema.json").write_text(self.schema.canonical(), encoding="utf-8")
        knobs = np.array([self.share, self.noise])
        save_file({"rows": np.ascontiguousarray(self.rows), "knobs": knobs}, directory / "rows.safetensors")

    @classmethod
    def load(cls, directory):
        arrays = load_file(directory / "rows.safetensors")
        schema = Schema.from_json(json.loads((directory / "schema.json").read_text(encoding="utf-8")))
        return cls(schema, arrays["rows"], *arrays["knobs"])


class Leaky(Recipe):
    """Hand out training rows, or rows whose columns were shuffled among them."""

    share: float = Field(1.0, ge=0, le=1, description="Share of the rows that are training rows.")
    noise: float = Field(0.0, ge=0, description="Noise on each number, in its standard deviations.")

    def fit(self, data, *, rng, ledger, run):
        ledger.spend("fit leaky", not_private)
        run.report(1, 1)
        return LeakySampler(data.schema, encode(data).values, self.share, self.noise)


GENERATOR = Leaky
SAMPLER = LeakySampler
