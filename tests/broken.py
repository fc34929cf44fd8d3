"""A small correct generator, and for each check one derived from it that breaks exactly that promise.

Source: Lazarsfeld 1950, latent class analysis, with the class observed: columns are independent within it.
"""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from pydantic import Field
from safetensors.numpy import load_file, save_file

from synth_components.config import Recipe
from synth_components.encode import Features, decode, encode, slices
from synth_components.errors import ConditionError, SchemaError, StoppedError, UnsupportedError
from synth_components.marginal import Marginal
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset, Run
from synth_components.schema import Boolean, Categorical, Datetime, Numeric, Schema
from synth_components.testing import Case

PARTS = ("low", "high", "mass", "null")


@dataclass(frozen=True, eq=False)
class StratifiedSampler:
    """Shares of the groups, and one marginal per group and feature."""

    schema: Schema
    shares: np.ndarray
    marginals: tuple[tuple[Marginal, ...], ...]

    def sample(self, n, *, rng, given=None):
        if given is not None and given.columns:
            raise UnsupportedError("stratified draws free rows only")
        group = np.searchsorted(np.cumsum(self.shares)[:-1], rng.random(n), side="right")
        uniforms = rng.random((n, len(self.marginals[0])))
        values = np.empty_like(uniforms)
        for g, marginals in enumerate(self.marginals):
            rows = group == g
            for feature, marginal in enumerate(marginals):
                values[rows, feature] = marginal.quantile(uniforms[rows, feature])
        return decode(Features(values, slices(self.schema), self.schema))

    def save(self, directory):
        (directory / "schema.json").write_text(self.schema.canonical(), encoding="utf-8")
        arrays = {"shares": self.shares}
        for g, marginals in enumerate(self.marginals):
            for feature, marginal in enumerate(marginals):
                arrays |= {f"{g}.{feature}.{part}": array for part, array in marginal.to_arrays().items()}
        save_file(arrays, directory / "groups.safetensors")

    @classmethod
    def load(cls, directory):
        schema = Schema.from_json(json.loads((directory / "schema.json").read_text(encoding="utf-8")))
        arrays = load_file(directory / "groups.safetensors")
        width = sum(where.stop - where.start for where in slices(schema).values())
        marginals = tuple(
            tuple(Marginal.from_arrays({p: arrays[f"{g}.{f}.{p}"] for p in PARTS}) for f in range(width))
            for g in range(len(arrays["shares"]))
        )
        return cls(schema, arrays["shares"], marginals)


class Stratified(Recipe):
    """Draw columns independently within the groups of the first categorical column."""

    min_group: int = Field(40, ge=1, description="Fewest rows of a group; smaller groups are joined.")

    sampler: ClassVar[type] = StratifiedSampler

    def fit(self, data, *, rng, ledger, run):
        ledger.spend("fit stratified", not_private)
        features = encode(data)
        groups = self.groups(features)
        marginals = []
        for done, rows in enumerate(groups, start=1):
            if run.should_stop():
                raise StoppedError("fit stopped as asked; nothing was saved")
            marginals.append(
                tuple(
                    Marginal.of(values, data.schema.columns[name], name=name, knots=20, min_count=10)
                    for name, where in features.columns.items()
                    for values in features.values[rows, where].T
                )
            )
            run.report(done, len(groups))
        counts = np.array([max(rows.sum(), 1) for rows in groups], dtype=np.float64)
        return self.sampler(data.schema, counts / counts.sum(), tuple(marginals))

    def groups(self, features):
        columns = features.schema.columns
        by = next((name for name in columns if isinstance(columns[name], Categorical)), None)
        codes = (
            np.zeros(len(features.values))
            if by is None
            else np.nan_to_num(features.values[:, features.columns[by]][:, 0])
        )
        big = [code for code in np.unique(codes) if (codes == code).sum() >= self.min_group]
        groups = [codes == code for code in big]
        rest = ~np.isin(codes, big)
        return [*groups, rest] if rest.sum() >= self.min_group or not groups else groups


class Noisy(Recipe):
    """Draw columns independently from histograms with Laplace noise over the declared domain."""

    bins: int = Field(10, ge=1, le=100, description="Bins of a numeric column.")

    def fit(self, data, *, rng, ledger, run):
        self.require_public(data.schema)
        left = ledger.remaining()
        epsilon = 1.0 if left is None else left.epsilon or 1.0
        ledger.spend("fit noisy", lambda orders: np.full_like(orders, epsilon))
        if run.should_stop():
            raise StoppedError("fit stopped as asked; nothing was saved")
        features = encode(data)
        noise = np.random.default_rng()  # the system's entropy: a known seed voids the guarantee
        marginals = []
        for name, where in features.columns.items():
            if where.stop - where.start > 1:
                raise UnsupportedError(f"column '{name}' is too wide for a histogram")
            edges, is_atom = self.edges(data.schema.columns[name], name)
            held = features.values[:, where.start]
            counts = np.append(np.histogram(held[~np.isnan(held)], edges)[0], np.isnan(held).sum())
            noisy = np.maximum(counts + noise.laplace(scale=len(features.columns) / epsilon, size=len(counts)), 0.0)
            noisy[-1] *= data.schema.columns[name].nullable
            share = (noisy + 1e-9 * (np.arange(len(noisy)) < len(noisy) - 1)) / (noisy.sum() + 1e-9 * (len(noisy) - 1))
            low, high = (edges[:-1] + 0.5, edges[:-1] + 0.5) if is_atom else (edges[:-1], edges[1:])
            marginals.append(Marginal(low, high, share[:-1], float(share[-1])))
        run.report(1, 1)
        return StratifiedSampler(data.schema, np.ones(1), (tuple(marginals),))

    def require_public(self, schema):
        if not schema.is_public:
            raise SchemaError("the schema is not public; declare its columns")

    def edges(self, column, name):
        match column:
            case Categorical() | Boolean():
                size = 2 if isinstance(column, Boolean) else len(column.categories)
                return np.arange(size + 1) - 0.5, True
            case Numeric() | Datetime() if column.low is not None and column.high is not None:
                ends = np.array([column.low, column.high])
                table = {name: ends.astype("datetime64[ns]") if isinstance(column, Datetime) else ends}
                data = Dataset({"table": _frame(table)}, Schema({"table": {name: _plain(column)}}))
                return np.linspace(*encode(data).values[:, 0], self.bins + 1), False
            case _:
                raise UnsupportedError(f"column '{name}' has no bounds")


def _frame(table):
    import pandas as pd

    return pd.DataFrame(table)


def _plain(column):
    return replace(column, dtype="datetime64[ns]" if isinstance(column, Datetime) else "float64")


class Forgetful(Stratified):
    """Has an option that the JSON leaves out."""

    depth: int = Field(1, ge=1, exclude=True, description="Lost on the way.")


class Writes(Stratified):
    """Renumbers the rows of the table it was given."""

    def fit(self, data, *, rng, ledger, run):
        made = super().fit(data, rng=rng, ledger=ledger, run=run)
        data.table.index = range(1, len(data.table) + 1)
        return made


class Stealthy(Stratified):
    """Charges only where there is a limit."""

    def fit(self, data, *, rng, ledger, run):
        return super().fit(data, rng=rng, ledger=_Silent() if ledger.remaining() is None else ledger, run=run)


class _Silent:
    def spend(self, label, rdp, *, delta=0.0):
        pass


class Reader(Stratified):
    """Reads first and charges then, where there is a limit."""

    def fit(self, data, *, rng, ledger, run):
        if ledger.remaining() is not None:
            encode(data)
        return super().fit(data, rng=rng, ledger=ledger, run=run)


class Profiler(Noisy):
    """Takes bounds and categories that were read off the rows."""

    def require_public(self, schema):
        pass


class GlobalNoiseSampler(StratifiedSampler):
    """Draws one normal from the global stream: its key array stays the same."""

    def sample(self, n, *, rng, given=None):
        np.random.normal()  # noqa: NPY002 - the fault
        return super().sample(n, rng=rng, given=given)


class Moody(Stratified):
    """Fits by how often it was fitted before: each fit differs from the last, and no test by luck."""

    fits: ClassVar[Iterator[int]] = itertools.count()

    def fit(self, data, *, rng, ledger, run):
        made = super().fit(data, rng=rng, ledger=ledger, run=run)
        shares = made.shares * (1 + 0.5 * ((np.arange(len(made.shares)) + next(self.fits)) % 2))
        return replace(made, shares=shares / shares.sum())


class StubbornSampler(StratifiedSampler):
    """Ignores the seed."""

    def sample(self, n, *, rng, given=None):
        return super().sample(n, rng=np.random.default_rng(0), given=given)


@dataclass(frozen=True, eq=False)
class CountingSampler(StratifiedSampler):
    """Draws other rows the second time."""

    drawn: list[int] = field(default_factory=list)

    def sample(self, n, *, rng, given=None):
        rng.random(len(self.drawn))
        self.drawn.append(n)
        return super().sample(n, rng=rng, given=given)


class NeverEmptySampler(StratifiedSampler):
    """Draws one row where none is asked for."""

    def sample(self, n, *, rng, given=None):
        return super().sample(max(n, 1), rng=rng, given=given)


class DisorderlySampler(StratifiedSampler):
    """Turns the columns of large blocks around."""

    def sample(self, n, *, rng, given=None):
        made = super().sample(n, rng=rng, given=given)
        table = made.table[made.table.columns[::-1]] if n >= 100 else made.table
        return replace(made, tables={"table": table})


class RoughSampler(StratifiedSampler):
    """Draws large blocks with numbers between the steps of their column."""

    def sample(self, n, *, rng, given=None):
        made = super().sample(n, rng=rng, given=given)
        if n < 100 or "income" not in made.table:
            return made
        return replace(made, tables={"table": made.table.assign(income=made.table["income"] * 0.999)})


class LossySampler(StratifiedSampler):
    """Forgets the groups' shares on disk."""

    @classmethod
    def load(cls, directory):
        made = super().load(directory)
        return replace(made, shares=np.full(len(made.shares), 1 / len(made.shares)))


class BinarySampler(StratifiedSampler):
    """Writes a file of its own format."""

    def save(self, directory):
        super().save(directory)
        (directory / "state.bin").write_bytes(b"\x80\x04.")


@dataclass(frozen=True, eq=False)
class HoardingSampler(StratifiedSampler):
    """Keeps training values."""

    categories: tuple[str, ...] = ()
    numbers: tuple[float, ...] = ()
    dtype: str = "float64"

    def save(self, directory):
        super().save(directory)
        (directory / "categories.json").write_text(json.dumps(self.categories), encoding="utf-8")
        save_file({"numbers": np.array(self.numbers, dtype=self.dtype)}, directory / "numbers.safetensors")


class HoardsCategories(Stratified):
    """Keeps a vocabulary of its own."""

    sampler: ClassVar[type] = HoardingSampler

    def fit(self, data, *, rng, ledger, run):
        made = super().fit(data, rng=rng, ledger=ledger, run=run)
        texts = [name for name, column in data.schema.columns.items() if column.dtype == "object"]
        return replace(made, categories=tuple(str(v) for name in texts for v in data.table[name].unique()))


class HoardsNumbers(Stratified):
    """Keeps a sample of the numbers as they are."""

    sampler: ClassVar[type] = HoardingSampler
    dtype: str = Field("float64", description="How numbers are kept.")

    def fit(self, data, *, rng, ledger, run):
        made = super().fit(data, rng=rng, ledger=ledger, run=run)
        last = encode(data).values[:20, -1]
        return replace(made, numbers=tuple(last[~np.isnan(last)].tolist()), dtype=self.dtype)


class HoardsMeans(Stratified):
    """Keeps the mean of every feature."""

    sampler: ClassVar[type] = HoardingSampler

    def fit(self, data, *, rng, ledger, run):
        made = super().fit(data, rng=rng, ledger=ledger, run=run)
        values = np.nan_to_num(encode(data).values)
        return replace(made, numbers=tuple((values.sum(axis=0) / max(len(values), 1)).tolist()))


_FITTED = {}


class HomeboundSampler(StratifiedSampler):
    """Loads only where it was saved."""

    def save(self, directory):
        super().save(directory)
        _FITTED["shares"] = self.shares

    @classmethod
    def load(cls, directory):
        return replace(super().load(directory), shares=_FITTED["shares"])


class Fragile(Stratified):
    """Divides by the number of rows."""

    def fit(self, data, *, rng, ledger, run):
        made = super().fit(data, rng=rng, ledger=ledger, run=run)
        run.report(1, 1, rate=1 / len(data.table))
        return made


class HighSampler(StratifiedSampler):
    """Draws the highest values only."""

    def sample(self, n, *, rng, given=None):
        high = tuple(
            tuple(Marginal(m.low[-1:], m.high[-1:], m.mass[:1] * 0 + 1, 0.0) if len(m.mass) else m for m in group)
            for group in self.marginals
        )
        return StratifiedSampler(self.schema, self.shares, high).sample(n, rng=rng, given=given)


class BoastingSampler(StratifiedSampler):
    """Says that it keeps training rows, and keeps none."""

    holds_rows = True


class Undocumented(Stratified):
    """Has an option that nobody explains."""

    depth: int = Field(1, ge=1)


class Unbounded(Stratified):
    """Has a number without bounds."""

    depth: int = Field(1, description="Any number whatever.")


class Unstoppable(Stratified):
    """Goes on although it is asked to stop."""

    def fit(self, data, *, rng, ledger, run):
        return super().fit(data, rng=rng, ledger=ledger, run=Run(report=run.report))


class Silent(Stratified):
    """Reports no progress."""

    def fit(self, data, *, rng, ledger, run):
        return super().fit(data, rng=rng, ledger=ledger, run=Run(should_stop=run.should_stop))


class Unfinished(Stratified):
    """Never reports the end."""

    def fit(self, data, *, rng, ledger, run):
        def report(done, total, /, **metrics):
            run.report(done, total + 1, **metrics)

        return super().fit(data, rng=rng, ledger=ledger, run=replace(run, report=report))


class DeafSampler(StratifiedSampler):
    """Draws free rows whatever is asked for."""

    def sample(self, n, *, rng, given=None):
        return super().sample(n, rng=rng)


class MasslessSampler(StratifiedSampler):
    """Says of any number that the model gives it no mass, though it only cannot condition on it."""

    def sample(self, n, *, rng, given=None):
        for name in () if given is None else given.allowed:
            if isinstance(self.schema.columns[name], Numeric):
                raise ConditionError("no mass", columns=(name,))
        return super().sample(n, rng=rng, given=given)


class Anew(Stratified):
    """Says that it goes on from a model, and never looks at it."""

    starts_warm: ClassVar[bool] = True


def _with(kind):
    """Return a correct recipe whose fitted sampler is of the broken ``kind``."""
    return type(
        f"With{kind.__name__}",
        (Stratified,),
        {
            "__doc__": kind.__doc__,
            "__module__": __name__,
            "sampler": kind,
            "__annotations__": {"sampler": ClassVar[type]},
        },
    )()


CORRECT = Case("stratified", Stratified())
CORRECT_PRIVATE = Case(
    "noisy", Noisy(), private=True, skip={"check_beats_independent_on_pairs": "its columns are independent"}
)

BROKEN = (
    ("check_recipe_round_trips_through_json", Case("forgetful", Forgetful(depth=3))),
    ("check_fit_leaves_data_unchanged", Case("writes", Writes())),
    ("check_fit_charges_the_ledger", Case("stealthy", Stealthy())),
    ("check_fit_respects_the_budget", Case("reader", Reader())),
    ("check_undeclared_schema_is_refused_when_private", replace(CORRECT_PRIVATE, name="profiler", recipe=Profiler())),
    ("check_global_random_state_is_untouched", Case("global noise", _with(GlobalNoiseSampler))),
    ("check_same_seed_same_rows", Case("moody", Moody())),
    ("check_other_seed_other_rows", Case("stubborn", _with(StubbornSampler))),
    ("check_sample_does_not_depend_on_earlier_samples", Case("counting", _with(CountingSampler))),
    ("check_sample_has_exactly_n_rows", Case("never empty", _with(NeverEmptySampler))),
    ("check_sample_obeys_schema", Case("disorderly", _with(DisorderlySampler))),
    ("check_sample_obeys_schema", Case("rough", _with(RoughSampler))),
    ("check_save_load_same_rows", Case("lossy", _with(LossySampler))),
    ("check_saved_files_are_arrays_or_json", Case("binary", _with(BinarySampler))),
    ("check_saved_files_hold_no_canary", Case("hoards categories", HoardsCategories())),
    ("check_saved_files_hold_no_canary", Case("hoards numbers", HoardsNumbers())),
    ("check_saved_files_hold_no_canary", Case("hoards short numbers", HoardsNumbers(dtype="float32"))),
    ("check_saved_files_hold_no_canary", Case("boasts of rows", _with(BoastingSampler))),
    ("check_saved_files_do_not_tell_an_extreme", Case("hoards means", HoardsMeans())),
    ("check_loads_in_fresh_process", Case("homebound", _with(HomeboundSampler))),
    ("check_hard_tables", Case("fragile", Fragile())),
    (
        "check_beats_uniform_noise",
        Case("high", _with(HighSampler), skip={"check_beats_independent_on_pairs": "wrong columns make wrong pairs"}),
    ),
    ("check_beats_independent_on_pairs", Case("one group", Stratified(min_group=10**6))),
    ("check_is_documented", Case("undocumented", Undocumented())),
    ("check_is_documented", Case("unbounded", Unbounded())),
    ("check_stops_when_asked", Case("unstoppable", Unstoppable())),
    ("check_reports_progress", Case("silent", Silent())),
    ("check_reports_progress", Case("unfinished", Unfinished())),
    ("check_conditions_hold_or_are_refused", Case("deaf", _with(DeafSampler))),
    ("check_conditions_hold_or_are_refused", Case("massless", _with(MasslessSampler))),
    ("check_goes_on_from_its_own_model", Case("anew", Anew())),
)
