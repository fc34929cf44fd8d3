"""CTGAN, by the ctgan library, WHICH IS UNDER BUSL-1.1 AND NOT OPEN SOURCE: a conditional GAN of rows.

The library, and the rdt that it needs, are licensed by DataCebo, Inc. under the Business Source License 1.1: their use
for commercial services that others create synthetic, or transformed, data with is not granted.  They come with the
extra ``ctgan`` alone, and this file alone imports them, to fit: rows are drawn by our own code.  ``tabular.copula_gan``
is a GAN of the same line, without the library.  With a budget of epsilon a fit is refused: the library's critic judges
packs of rows that are chosen by their categories, and its layers mix rows; ``tabular.copula_gan`` takes a budget.

Source: Xu et al. 2019, "Modeling Tabular Data using Conditional GAN" (arXiv:1907.00503), Sec. 4: mode-specific
    normalisation, the condition, training-by-sampling, the Wasserstein loss in packs.
Differs: as the library does, the columns of one-hot codes and of modes are drawn by Gumbel's trick, with at most 10
    modes a number, the critic steps once for each step of the generator, and layers are normalised over the batch that
    is drawn, so that a row depends on those made with it; noise is normal, which no option changes.  Our own: a row is
    drawn for a condition with the share that it has among the rows (the library's ``sample`` takes logarithms there,
    too).  The network sees values that are drawn anew within the pieces that the other generators keep, so that none
    that few rows share is learnt, and what it writes falls into the nearest piece.  Null is a column of its own beside
    a number.  Rare categories are redistributed.  A fit that was stopped starts anew.  Where the schema names a privacy
    unit, of none more rows are learnt from than each of ``min_category_count`` units has; conditions have the shares of
    all rows.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray
from pydantic import Field

from synth_components.config import KNOTS, MIN_CATEGORY_COUNT, SAFER_UP, Knots, MinCategoryCount, Recipe
from synth_components.encode import encode
from synth_components.errors import SynthError, UnsupportedError
from synth_components.generators.tabular._codebook import Codebook, drawn_each, stop_if_asked
from synth_components.generators.tabular._forward import Ints, Matrix, Weights, linear, softmax
from synth_components.generators.tabular._grid import Codes, Grid
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset, Floats, Given, PrivacyLedger, Run
from synth_components.schema import Schema
from synth_components.split import evened

if TYPE_CHECKING:
    import torch

REACH = 4.0
"""Deviations from the mean of a mode that a number lies within: the library's."""
NARROWEST_RANGE = 100.0
"""Numbers without resolution are widened to such a range: scikit-learn's mixture knows no deviation below .001."""

CODE, NULL, NUMBER = "code", "null", "number"
"""What a column holds that the library sees: the codes of a feature, whether it is null, or its numbers."""

_LOCK = threading.Lock()
"""The library draws from the global streams: one fit at a time."""

Width = Annotated[int, Field(ge=1, le=4096)]


class CTGAN(Recipe):
    """Make each row from noise and a condition, by the ctgan library (BUSL-1.1, not open source)."""

    without_privacy: ClassVar[str] = (
        "its critic judges packs of rows that are chosen by their categories, so that no row has a gradient of its own"
    )
    needs: ClassVar[tuple[str, ...]] = ("ctgan",)
    is_monitored: ClassVar[bool] = True

    generator_widths: tuple[Width, ...] = Field(
        (256, 256), min_length=1, description="Width of each layer of the generator."
    )
    critic_widths: tuple[Width, ...] = Field((256, 256), min_length=1, description="Width of each layer of the critic.")
    latent: int = Field(128, ge=1, le=4096, description="Numbers of noise that a row is made from.")
    epochs: int = Field(300, ge=1, le=10_000, description="Times that as many rows as there are have been read.")
    batch_rows: int = Field(
        500, ge=1, le=1_000_000, description="Rows per step, brought down to an even number of whole packs."
    )
    learning_rate: float = Field(2e-4, gt=0, le=1, description="Step size of the generator's Adam.")
    critic_learning_rate: float = Field(2e-4, gt=0, le=1, description="Step size of the critic's Adam.")
    weight_decay: Annotated[float, SAFER_UP] = Field(
        1e-6, ge=0, le=10, description="Privacy knob: how strongly the generator's weights are drawn to nothing."
    )
    critic_weight_decay: Annotated[float, SAFER_UP] = Field(
        1e-6, ge=0, le=10, description="Privacy knob: how strongly the critic's weights are drawn to nothing."
    )
    critic_steps: int = Field(1, ge=1, le=100, description="Steps of the critic for each one of the generator.")
    pack: int = Field(
        10, ge=1, le=100, description="Rows that the critic judges together; more keep the rows from being alike."
    )
    frequency: Literal["log", "linear"] = Field(
        "log",
        description="How often a condition names a category while the network learns: by the logarithm of the number "
        "of its rows, so that rare ones are seen, or by the number itself.",
    )
    knots: Knots = KNOTS
    min_category_count: MinCategoryCount = MIN_CATEGORY_COUNT

    @property
    def whole_batch(self) -> int:
        """Rows per step: of ``batch_rows`` the even number of whole packs, or the fewest that there can be."""
        least = math.lcm(2, self.pack)  # the library takes no others
        return max(least, self.batch_rows // least * least)

    def fit(self, data: Dataset, *, rng: random.Generator, ledger: PrivacyLedger, run: Run) -> CTGANSampler:
        """Return the generator of ``data``.

        Raises:
            UnsupportedError: if the library is not installed, the device is not there, or a column has no value with
                enough support.
            StoppedError: if ``run`` says so.
            SynthError: if the networks no longer write finite numbers.
        """
        if find_spec("ctgan") is None:
            raise UnsupportedError(
                "generator 'tabular.ctgan' is fitted with the library ctgan, which is not installed; read its licence, "
                "BUSL-1.1, then pip install 'synth-components[ctgan]'"
            )
        ledger.spend("fit tabular.ctgan", not_private)
        stop_if_asked(run)
        features = encode(data)
        codebook = Codebook.of(features, knots=self.knots, min_count=self.min_category_count)
        read, _ = evened(data, features.values, least=self.min_category_count)
        codes = codebook.codes(read, rng=rng)
        table = table_of(codebook.grids, codes, rng=rng)
        seed = int(rng.integers(2**32))
        sampler = CTGANSampler(codebook, self.whole_batch, {}, {})
        if len(table.columns):
            from synth_components.generators._torch.device import device_of, threads

            device = device_of(run.device)
            with threads(), _seeded(seed, device):
                sampler = _fitted(self, table, codebook, device, run)
        run.report(self.epochs, self.epochs)
        return sampler


def table_of(grids: tuple[Grid, ...], codes: list[Codes], *, rng: random.Generator) -> pd.DataFrame:
    """Return what the library sees of codes (n,) by feature: numbers are floats, all else is categories.

    A number that is null has some other value, and its own column of 0 and 1 tells.  A feature of one code has none.
    """
    made: dict[str, NDArray[Any]] = {}
    for feature, (grid, held) in enumerate(zip(grids, codes, strict=True)):
        if grid.size == 1:
            continue
        if not is_number(grid):
            made[f"{CODE} {feature}"] = held
            continue
        known = grid.marginal.mass / grid.marginal.mass.sum()
        is_null = held == len(known)
        other = rng.choice(len(known), size=len(held), p=known)
        made[f"{NUMBER} {feature}"] = grid.values(np.where(is_null, other, held).astype(np.int32), rng=rng) * _unit(
            grid
        )
        if grid.has_null:  # after the number: what is drawn is null whatever the number
            made[f"{NULL} {feature}"] = is_null.astype(np.int32)
    return pd.DataFrame(made)


def is_number(grid: Grid) -> bool:
    """Return whether a feature is a number of several values, and not a category."""
    return not grid.is_nominal and len(grid.marginal.mass) > 1


def _unit(grid: Grid) -> float:
    """Return what the encoded values of a number are multiplied by."""
    reach = float(grid.marginal.high[-1] - grid.marginal.low[0])
    return max(1.0, NARROWEST_RANGE / reach) if grid.is_exact and reach > 0 else 1.0


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Give the global streams of numpy and torch a seed within the block; afterwards they are what they were."""
    import torch

    devices = [] if device.type == "cpu" else [device]
    with _LOCK, torch.random.fork_rng(devices=devices, device_type="cuda"):
        before = np.random.get_state()  # noqa: NPY002 - the stream that the library draws from
        try:
            np.random.seed(seed)  # noqa: NPY002
            torch.manual_seed(seed)
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002


class _Ended(Exception):
    """The monitor has seen enough."""


@dataclass
class _Watch:
    """Who hears of the library's epochs and steps, as ``Run`` asks for.

    Attributes:
        best: What the monitor found best so far, and its quality; ``None`` where nothing was judged.
    """

    recipe: CTGAN
    codebook: Codebook
    run: Run
    best: tuple[float, CTGANSampler] | None = None

    def __post_init__(self) -> None:
        """Let the monitor forget what an earlier fit told."""
        if self.run.monitor is not None:
            self.run.monitor.begin()

    def sampler(self, model: Any) -> CTGANSampler:  # noqa: ANN401 - the library has no types
        """Return the sampler of the library's model as it is."""
        weights = {
            name: held.detach().cpu().numpy().copy()  # training goes on
            for name, held in model._generator.state_dict().items()
            if held.is_floating_point() and "running" not in name
        }
        values: dict[str, NDArray[Any]] = {}
        for column in model._transformer._column_transform_info_list:
            if column.column_type == "discrete":
                values[column.column_name] = np.array(column.transform.dummies, dtype=np.int64)
                continue
            mixture, is_kept = column.transform._bgm_transformer, column.transform.valid_component_indicator
            modes = np.stack([mixture.means_.ravel(), np.sqrt(mixture.covariances_).ravel()])
            values[column.column_name] = np.ascontiguousarray(modes[:, is_kept])
        return CTGANSampler(self.codebook, self.recipe.whole_batch, weights, values)

    def after_epoch(self, model: Any, losses: pd.DataFrame) -> None:  # noqa: ANN401
        """Tell how an epoch went; where there is a monitor, keep the best model, and end when it says so."""
        epoch, last = len(losses), losses.iloc[-1]
        metrics = {
            "generator_loss": float(last["Generator Loss"]),
            "critic_loss": float(last["Discriminator Loss"]),
        }
        monitor, is_over = self.run.monitor, False
        if monitor is not None and (monitor.is_due(epoch) or epoch == self.recipe.epochs):
            sampler = self.sampler(model)
            metrics |= monitor.judge(sampler, epoch)
            if self.best is None or metrics["quality"] > self.best[0]:
                self.best = metrics["quality"], sampler
            is_over = monitor.is_over(epoch)
        self.run.report(epoch, self.recipe.epochs, **metrics)
        if is_over:
            raise _Ended

    def at_step(self, written: torch.Tensor) -> None:
        """Raise if the fit is to stop, or what the generator writes is no number."""
        stop_if_asked(self.run)
        if not bool(written.isfinite().all()):
            raise SynthError("training broke down: what the generator writes is no number; lower learning_rate")


def _fitted(recipe: CTGAN, table: pd.DataFrame, codebook: Codebook, device: torch.device, run: Run) -> CTGANSampler:
    """Return the sampler of the library's network, fitted to a table."""
    from ctgan import CTGAN as Library
    from joblib import parallel_config

    watch = _Watch(recipe, codebook, run)

    class Observed(Library):  # type: ignore[misc, unused-ignore]  # the library has no types
        """The library's class, which has no hooks: it sets its losses after each epoch, and activates at each step."""

        @property
        def loss_values(self) -> Any:  # noqa: ANN401 - a table, or nothing
            return self._losses

        @loss_values.setter
        def loss_values(self, losses: Any) -> None:  # noqa: ANN401
            self._losses = losses
            if losses is not None and len(losses):
                watch.after_epoch(self, losses)

        def _apply_activate(self, data: torch.Tensor) -> torch.Tensor:
            watch.at_step(data)
            activated: torch.Tensor = super()._apply_activate(data)
            return activated

    model = Observed(
        embedding_dim=recipe.latent,
        generator_dim=recipe.generator_widths,
        discriminator_dim=recipe.critic_widths,
        generator_lr=recipe.learning_rate,
        generator_decay=recipe.weight_decay,
        discriminator_lr=recipe.critic_learning_rate,
        discriminator_decay=recipe.critic_weight_decay,
        batch_size=recipe.whole_batch,
        discriminator_steps=recipe.critic_steps,
        log_frequency=recipe.frequency == "log",
        epochs=recipe.epochs,
        pac=recipe.pack,
        enable_gpu=False,
    )
    model.set_device(device)
    # The library would start a process for each core, to transform columns.
    with parallel_config(backend="sequential"), suppress(_Ended):
        model.fit(table, discrete_columns=[name for name in table.columns if not name.startswith(NUMBER)])
    return watch.sampler(model) if watch.best is None else watch.best[1]


@dataclass(frozen=True, eq=False)
class CTGANSampler:
    """Codes and the weights of the generator; drawing needs neither torch nor the library.

    Attributes:
        codebook: The codes.
        batch_rows: Rows that are made together, and normalised over each other.
        weights: Of the generator, by the library's names; none where no feature varies.
        values: What the generator writes, by column, in order: means and deviations (2, k) of the modes of a number,
            and the codes (k,) of any other column.
    """

    codebook: Codebook
    batch_rows: int
    weights: Weights
    values: Mapping[str, NDArray[Any]]

    @property
    def schema(self) -> Schema:
        """The schema of the rows."""
        return self.codebook.schema

    def sample(self, n: int, *, rng: random.Generator, given: Given | None = None) -> Dataset:
        """Return ``n`` rows.

        Raises:
            UnsupportedError: for any condition; ``Model`` resamples instead.
        """
        if given is not None and given.columns:
            raise UnsupportedError("tabular.ctgan does not condition by itself")
        codes = np.zeros((n, len(self.codebook.grids)), dtype=np.int64)
        for start in range(0, n, self.batch_rows) if self.values else ():
            batch = self._codes(self.written(self.batch_rows, rng=rng), rng=rng)
            codes[start : start + self.batch_rows] = batch[: n - start]
        return self.codebook.rows(list(codes.T), rng=rng)

    def written(self, n: int, *, rng: random.Generator) -> Matrix:
        """Return what the generator writes (n, w); conditions are drawn as often as rows have them."""
        shares = [self._shares(name) for name in self.values if not name.startswith(NUMBER)]
        told = np.zeros((n, sum(map(len, shares))), dtype=np.float32)
        if shares:
            share = np.concatenate(shares) / len(shares)
            told[np.arange(n), rng.choice(len(share), size=n, p=share)] = 1.0
        latent = self.weights["seq.0.fc.weight"].shape[1] - told.shape[1]
        noise = rng.standard_normal((n, latent), dtype=np.float32)
        return written(self.weights, np.concatenate([noise, told], axis=1))

    def _shares(self, name: str) -> Floats:
        """Return the share of the rows that each code (k,) of a column has."""
        kind, _, feature = name.partition(" ")
        grid = self.codebook.grids[int(feature)]
        mass = np.array([1 - grid.mass[-1], grid.mass[-1]]) if kind == NULL else grid.mass
        held = mass[self.values[name]]
        return np.asarray(held / held.sum())

    def _codes(self, made: Matrix, *, rng: random.Generator) -> Ints:
        """Return the codes (n, d) that are drawn from what the generator wrote (n, w)."""
        codes = np.zeros((len(made), len(self.codebook.grids)), dtype=np.int64)
        start = 0
        for name, values in self.values.items():
            kind, _, number = name.partition(" ")
            feature = int(number)
            grid, first = self.codebook.grids[feature], start + (kind == NUMBER)
            before, start = start, first + values.shape[-1]
            place = drawn_each(softmax(made[:, first:start]), rng=rng)
            if kind == NUMBER:
                mean, deviation = values[:, place]
                drawn = (mean + REACH * deviation * np.tanh(made[:, before])) / _unit(grid)
                codes[:, feature] = grid.marginal.piece_of(drawn if grid.is_exact else np.rint(drawn))
            elif kind == NULL:
                codes[values[place] == 1, feature] = grid.size - 1
            else:
                codes[:, feature] = values[place]
        return codes

    def save(self, directory: Path) -> None:
        """Write ``schema.json``, ``ctgan.json`` and ``ctgan.safetensors``."""
        arrays = {f"weight.{name}": held for name, held in self.weights.items()}
        arrays |= {f"values.{name}": held for name, held in self.values.items()}
        plan = {"batch_rows": self.batch_rows, "columns": list(self.values)}
        self.codebook.save(directory, "ctgan", arrays, plan)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the sampler that ``save`` wrote."""
        codebook, arrays, plan = Codebook.load(directory, "ctgan")
        weights = {name.removeprefix("weight."): held for name, held in arrays.items() if name.startswith("weight.")}
        return cls(
            codebook, int(plan["batch_rows"]), weights, {name: arrays[f"values.{name}"] for name in plan["columns"]}
        )


def written(weights: Weights, seen: Matrix) -> Matrix:
    """Return what the library's generator writes (n, w) for noise and conditions (n, i).

    Layers are normalised over the n rows.
    """
    depth = sum(name.endswith(".fc.bias") for name in weights)
    for number in range(depth):
        held = linear(weights, f"seq.{number}.fc", seen)
        held = (held - held.mean(axis=0)) / np.sqrt(held.var(axis=0) + np.float32(1e-5))
        held = held * weights[f"seq.{number}.bn.weight"] + weights[f"seq.{number}.bn.bias"]
        seen = np.concatenate([np.maximum(held, 0), seen], axis=1)
    return linear(weights, f"seq.{depth}", seen)


GENERATOR = CTGAN
SAMPLER = CTGANSampler
