"""The conformance suite: what every generator promises, as functions that fail.

For authors of generators, ours and others'; pytest is not needed, but fits::

    from synth_components.testing import Case, yield_checks

    CASE = Case("my_package.my_model", MyModel(epochs=2))

    @pytest.mark.parametrize("check", yield_checks(CASE), ids=str)
    def test_my_model_conforms(check):
        check()

A check raises ``CheckError`` (an ``AssertionError``) that names the broken promise.  An exception is data:
``Case(..., skip={"check_x": "reason"})``, and it is strict: a skipped check that passes fails.
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import json
import os
import random as python_random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays

from synth_components.circumstances import around, within
from synth_components.config import Recipe, from_strings, to_strings
from synth_components.encode import decode, encode, encode_table
from synth_components.errors import BudgetExceededError, ConditionError, StoppedError, SynthError, UnsupportedError
from synth_components.fitting import fit
from synth_components.generators.tabular import independent
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Budget, Dataset, Floats, Generator, Given, Interval, Run, Sampler
from synth_components.schema import Boolean, Categorical, Datetime, Numeric, Schema, check
from synth_components.toy import (
    CANARY,
    canary_table,
    conditions,
    extreme_table,
    hard_tables,
    toy_table,
    uniform_noise,
)

BUDGET = Budget(1.0, 1e-5)
"""The finite budget under which a fit is checked."""


class CheckError(AssertionError):
    """A generator broke a promise; the message says which, without cell values."""


@dataclass(frozen=True)
class Case:
    """One generator to check.

    Attributes:
        name: The generator's name, or the module that holds it.
        recipe: A recipe small enough to fit in well under a second.
        private: Whether the fit is to be private, under a finite budget.
        dual: Whether a budget makes the fit of the same recipe private: then it has a private case, too.
        skip: Reason by name of a check that the generator is known to fail.
        toy: Makes the training data from a seed; a modality other than single tables brings its own.
    """

    name: str
    recipe: Generator
    private: bool = False
    dual: bool = False
    skip: Mapping[str, str] = field(default_factory=dict)
    toy: Callable[[int], Dataset] = toy_table

    def __str__(self) -> str:
        return f"{self.name}-private" if self.private and self.dual else self.name


Check: TypeAlias = Callable[[Case], None]


def require(condition: object, promise: str) -> None:
    """Return if ``condition`` holds, and raise ``CheckError`` with the broken promise otherwise."""
    if not condition:
        raise CheckError(promise)


def _fit(
    case: Case, data: Dataset | None = None, *, seed: int = 0, ledger: Ledger | None = None, run: Run | None = None
) -> Sampler:
    if ledger is None:
        ledger = Ledger(BUDGET) if case.private else Ledger()
    return case.recipe.fit(
        case.toy(0) if data is None else data, rng=np.random.default_rng(seed), ledger=ledger, run=run or Run()
    )


def _draw(sampler: Sampler, n: int = 50, *, seed: int = 0, given: Given | None = None) -> Dataset:
    return sampler.sample(n, rng=np.random.default_rng(seed), given=given)


def digest(data: Dataset) -> str:
    """Return the SHA-256 of a dataset's rows in order, with names and dtypes."""
    state = hashlib.sha256()
    for name, table in data.tables.items():
        state.update(json.dumps([name, [[str(c), str(t)] for c, t in table.dtypes.items()], len(table)]).encode())
        for column in table.columns:
            hashed = pd.util.hash_pandas_object(table[column].astype(object).map(repr), index=False)
            state.update(hashed.to_numpy().tobytes())
    return state.hexdigest()


def check_recipe_round_trips_through_json(case: Case) -> None:
    """A recipe is its JSON text and its strings: reading them back gives an equal, frozen recipe."""
    recipe = case.recipe
    if not isinstance(recipe, Recipe):
        raise CheckError("a recipe must be a subclass of config.Recipe")
    kind = type(recipe)
    for again, what in (
        (kind.parse(json.loads(recipe.canonical())), "JSON"),
        (from_strings(kind, to_strings(recipe)), "strings"),
    ):
        require(again == recipe and again.canonical() == recipe.canonical(), f"{what} changes the recipe")
    require(kind.model_config.get("frozen"), "the recipe is not frozen")


def check_fit_leaves_data_unchanged(case: Case) -> None:
    """``fit`` writes nothing into the tables it is given."""
    data = case.toy(0)
    before = {name: table.copy(deep=True) for name, table in data.tables.items()}
    _fit(case, data)
    for name, table in data.tables.items():
        same = table.equals(before[name]) and list(table.dtypes) == list(before[name].dtypes)
        require(same, f"fit changed table '{name}'")


class _Watched(Mapping[str, pd.DataFrame]):
    """Tables that call ``on_read`` before anyone sees a row."""

    def __init__(self, tables: Mapping[str, pd.DataFrame], on_read: Callable[[], None]) -> None:
        self._tables, self._on_read = tables, on_read

    def __getitem__(self, name: str) -> pd.DataFrame:
        self._on_read()
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)


def check_fit_charges_the_ledger(case: Case) -> None:
    """Every fit is charged before a row is read: a private one finitely, any other one infinitely."""
    ledger = Ledger(BUDGET) if case.private else Ledger()

    def on_read() -> None:
        require(ledger.entries, "fit reads rows before it charges the ledger")

    data = case.toy(0)
    _fit(case, replace(data, tables=_Watched(data.tables, on_read)), ledger=ledger)
    require(ledger.entries, "fit charges nothing to the ledger")
    spent = ledger.epsilon(BUDGET.delta)
    if case.private:
        require(0 < spent < np.inf, "a private fit must charge a positive, finite epsilon")
    else:
        require(spent == np.inf, "a fit without differential privacy must charge infinity (ledger.not_private)")


def check_fit_respects_the_budget(case: Case) -> None:
    """A private fit spends at most the budget; what it cannot pay for raises before reading."""

    def on_read() -> None:
        raise CheckError("fit reads rows that the budget does not allow")

    data = case.toy(0)
    sealed = replace(data, tables=_Watched(data.tables, on_read))
    ledger = Ledger(Budget(0.0) if case.private or case.dual else BUDGET)
    try:
        _fit(case, sealed, ledger=ledger)
    except BudgetExceededError:
        require(not ledger.entries, "a refused fit leaves a charge behind")
    else:
        raise CheckError("fit must raise BudgetExceededError where the budget cannot pay for it")
    if case.private:
        ledger = Ledger(BUDGET)
        _fit(case, data, ledger=ledger)
        require(ledger.epsilon(BUDGET.delta) <= BUDGET.epsilon * (1 + 1e-9), "fit spends more than the budget")


def check_undeclared_schema_is_refused_when_private(case: Case) -> None:
    """Under a finite budget ``fit`` refuses a schema read off the rows: bounds and categories would leak."""
    data = case.toy(0)
    tables = {
        table: {name: replace(column, public=False) for name, column in columns.items()}
        for table, columns in data.schema.tables.items()
    }
    ledger = Ledger(BUDGET)
    try:
        _fit(case, replace(data, schema=replace(data.schema, tables=tables)), ledger=ledger)
    except SynthError:
        require(not ledger.entries, "a refused fit leaves a charge behind")
    else:
        raise CheckError("under a finite budget fit must refuse columns that are not public")


def _random_states() -> list[bytes]:
    # The whole numpy state: the key array alone misses the position and the cached second normal.
    states: list[Any] = [np.random.get_state(), python_random.getstate()]  # noqa: NPY002 - the state under watch
    if find_spec("torch") is not None:
        states.append(importlib.import_module("torch").get_rng_state().numpy().tolist())
    with np.printoptions(threshold=sys.maxsize):
        return [repr(state).encode() for state in states]


def check_global_random_state_is_untouched(case: Case) -> None:
    """Neither ``fit`` nor ``sample`` draws from, or seeds, a global stream of numpy, random or torch."""
    before = _random_states()
    _draw(_fit(case))
    require(_random_states() == before, "a global random stream moved; draw from rng only")


def check_same_seed_same_rows(case: Case) -> None:
    """The same seeds give the same rows; noise for privacy has no seed, so a private case is fitted once."""
    first = _fit(case)
    second = first if case.private else _fit(case)
    require(digest(_draw(first)) == digest(_draw(second)), "the same seed gave other rows")


def check_other_seed_other_rows(case: Case) -> None:
    """Another seed for ``sample`` gives other rows."""
    sampler = _fit(case)
    require(digest(_draw(sampler, seed=0)) != digest(_draw(sampler, seed=1)), "another seed gave the same rows")


def check_sample_does_not_depend_on_earlier_samples(case: Case) -> None:
    """A block is the same whoever draws it and whatever was drawn before: shards depend on this."""
    first, second = _draw(sampler := _fit(case), seed=1), _draw(sampler, seed=1)
    require(digest(first) == digest(second), "a sampler remembers what it drew; shards would differ")


def check_sample_has_exactly_n_rows(case: Case) -> None:
    """``sample(n)`` gives ``n`` entities of the root table, for 0, 1 and 17, numbered from 0."""
    sampler = _fit(case)
    for n in (0, 1, 17):
        table = _draw(sampler, n).table
        require(len(table) == n, f"sample({n}) gave another number of rows")
        require(table.index.equals(pd.RangeIndex(n)), "the index of sampled rows must be 0, 1, 2, ...")


def check_sample_obeys_schema(case: Case) -> None:
    """Sampled tables have the schema's columns, dtypes, ranges, resolution, categories, nulls, keys."""
    data = case.toy(0)
    drawn = _draw(_fit(case, data), 500)
    _require_schema(drawn, data.schema)
    if len(drawn.tables) == 1:
        rounded = decode(encode(drawn)).table
        require(rounded.equals(drawn.table), "a value lies between the steps of its column's resolution")


def _require_schema(drawn: Dataset, schema: Schema) -> None:
    require(list(drawn.tables) == list(schema.tables), "the sampled tables are not those of the schema")
    for name, columns in schema.tables.items():
        try:
            check(drawn.tables[name], columns, name=name)
        except SynthError as error:
            raise CheckError(f"a sampled table breaks the schema: {error}") from None
    for name, key in schema.keys.items():
        require(not drawn.tables[name].duplicated(list(key)).any(), f"the key of table '{name}' is not unique")
    for link in schema.links:
        child = pd.MultiIndex.from_frame(drawn.tables[link.child][list(link.columns)].dropna())
        parent = pd.MultiIndex.from_frame(drawn.tables[link.parent][list(link.parent_columns)])
        require(child.isin(parent).all(), f"a row of '{link.child}' refers to no row of '{link.parent}'")


def check_save_load_same_rows(case: Case) -> None:
    """A loaded sampler has the saved one's schema and draws its rows."""
    sampler = _fit(case)
    with tempfile.TemporaryDirectory() as folder:
        sampler.save(Path(folder))
        loaded = type(sampler).load(Path(folder))
    require(loaded.schema.canonical() == sampler.schema.canonical(), "the loaded sampler has another schema")
    require(digest(_draw(loaded)) == digest(_draw(sampler)), "the loaded sampler draws other rows")


def saved_files(sampler: Sampler) -> dict[str, bytes]:
    """Return the files that a sampler saves, by path within the folder."""
    with tempfile.TemporaryDirectory() as folder:
        sampler.save(Path(folder))
        paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def check_saved_files_are_arrays_or_json(case: Case) -> None:
    """``save`` writes JSON and safetensors only: nothing that runs code when it is read."""
    files = saved_files(_fit(case))
    require(files, "save wrote no file")
    for name, content in files.items():
        size = int.from_bytes(content[:8], "little") if name.endswith(".safetensors") else 0
        require(name.endswith(".json") or 0 < size <= len(content) - 8, f"'{name}' is neither JSON nor safetensors")
        try:
            json.loads((content[8 : 8 + size] if size else content).decode("utf-8"))
        except ValueError:
            raise CheckError(f"'{name}' is neither JSON nor safetensors") from None


def check_saved_files_hold_no_canary(case: Case) -> None:
    """No value that one training row alone has stands in the saved bytes: no category, no key, no number.

    Numbers are sought as text, as 8-byte floats and integers, and as 4-byte floats, of which chance may hit two.
    A sampler that declares ``holds_rows`` must hold some: it may not be served, and this is no way round the check.
    """
    data, unique = canary_table(case.toy(0))
    sampler = _fit(case, data)
    content = b"\0".join(saved_files(sampler).values())
    if getattr(sampler, "holds_rows", False):
        held = [np.float64(number).tobytes() for numbers in unique.values() for number in numbers]
        require(any(form in content for form in held), "the sampler declares holds_rows and holds no row; drop that")
        return
    forms = [CANARY.encode(), CANARY.encode("utf-16-le"), CANARY.encode("utf-32-le"), CANARY[::-1].encode()]
    require(not any(form in content for form in forms), "a category of a single row stands in the saved files")
    for name, numbers in unique.items():
        short = 0
        for number in numbers:
            exact = [repr(number.item()).encode(), np.float64(number).tobytes()]
            if float(number).is_integer():
                exact.append(np.int64(number).tobytes())
            require(not any(form in content for form in exact), f"a unique value of '{name}' stands in the saved files")
            short += np.float32(number).tobytes() in content
        require(short <= 2, f"unique values of '{name}' stand in the saved files as float32")


def check_saved_files_do_not_tell_an_extreme(case: Case) -> None:
    """No saved number is of the size of the one value that lies far out: means over few rows tell it.

    A private fit reads no column without bounds, and a sampler that declares ``holds_rows`` holds them all.
    """
    if case.private:
        return
    far = 1e30
    try:
        sampler = _fit(case, extreme_table(case.toy(0), far))
    except SynthError:
        return  # what needs bounds, or refuses such values, holds none
    if getattr(sampler, "holds_rows", False):
        return
    for name, content in saved_files(sampler).items():
        numbers: list[float] = []
        if name.endswith(".safetensors"):
            arrays = load_arrays(content).values()
            numbers += [float(np.nanmax(np.abs(a[np.isfinite(a)]), initial=0)) for a in arrays if a.dtype.kind in "iuf"]
        elif name.endswith(".json"):

            def noted(text: str, numbers: list[float] = numbers) -> float:
                numbers.append(abs(float(text)))
                return numbers[-1]

            json.loads(content.decode("utf-8"), parse_float=noted, parse_int=noted)
        require(max(numbers, default=0.0) < far / 1e9, f"'{name}' tells how far out a single row lies")


_LOAD_ELSEWHERE = """
import importlib, sys
from pathlib import Path
import numpy as np
from synth_components.testing import digest
module, kind, folder = sys.argv[1:]
sampler = getattr(importlib.import_module(module), kind).load(Path(folder))
sys.stdout.write(digest(sampler.sample(50, rng=np.random.default_rng(0), given=None)))
"""


def check_loads_in_fresh_process(case: Case) -> None:
    """A new process that has not seen the fit loads the sampler and draws the same rows."""
    sampler = _fit(case)
    with tempfile.TemporaryDirectory() as folder:
        sampler.save(Path(folder))
        arguments = [type(sampler).__module__, type(sampler).__qualname__, folder]
        done = subprocess.run(  # noqa: S603 - our own interpreter and text, no shell
            [sys.executable, "-c", _LOAD_ELSEWHERE, *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            capture_output=True,
            text=True,
            check=False,
        )
        here = digest(_draw(type(sampler).load(Path(folder))))
    require(done.returncode == 0, "a fresh process cannot load the saved sampler")
    require(done.stdout == here, "a fresh process draws other rows")


def check_hard_tables(case: Case) -> None:
    """A hard table is refused by the fit with a ``SynthError``, or fitted and sampled.

    A table without rows, which ``synth_components.fit`` refuses itself, may be refused by the sampler, too.
    """
    for name, data in hard_tables():
        try:
            try:
                sampler = _fit(case, data)
            except SynthError:
                continue
            try:
                _require_schema(_draw(sampler, 60), data.schema)
            except SynthError:
                if len(data.table):
                    raise
        except CheckError as error:
            raise CheckError(f"table '{name}': {error}") from None
        except Exception as error:
            raise CheckError(f"table '{name}' raised {type(error).__name__}, which is no SynthError") from error


def _distances(real: Dataset, drawn: Dataset) -> Floats:
    """Return the total variation between the columns of two tables in ten shared bins, nulls in one of their own."""
    ours, theirs = (_binned(real, part, bins=10) for part in (real, drawn))
    return np.array([_variation(a, b) for a, b in zip(ours.T, theirs.T, strict=True)])


def _pair_distance(real: Dataset, drawn: Dataset) -> float:
    """Return the mean total variation over pairs of columns in four shared bins each."""
    ours, theirs = (_binned(real, part, bins=4) for part in (real, drawn))
    width = ours.shape[1]
    cells = [(i, j) for i in range(width) for j in range(i)]
    return float(np.mean([_variation(*(part[:, i] * 64 + part[:, j] for part in (ours, theirs))) for i, j in cells]))


def _variation(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> float:
    size = int(max(ours.max(), theirs.max())) + 1
    shares = [np.bincount(part, minlength=size) / len(part) for part in (ours, theirs)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def _binned(real: Dataset, part: Dataset, *, bins: int) -> NDArray[np.int64]:
    """Return bins (n, columns) of ``part`` whose edges are the quantiles of ``real``; 0 is null."""
    reference, values = encode(real), encode_table(part.table, real.schema)
    binned = []
    for name, column in real.schema.columns.items():
        ours, theirs = (features.values[:, features.columns[name]][:, 0] for features in (reference, values))
        if isinstance(column, Categorical | Boolean):
            codes = np.nan_to_num(theirs, nan=-2.0) + 2
        else:
            edges = np.unique(np.nanquantile(ours, np.linspace(0, 1, bins + 1)[1:-1]))
            codes = np.where(np.isnan(theirs), 0, np.searchsorted(edges, theirs, side="right") + 1)
        binned.append(codes.astype(np.int64))
    return np.stack(binned, axis=1)


def check_beats_uniform_noise(case: Case) -> None:
    """Columns of sampled rows are closer to the training columns than uniform noise is, on average."""
    data = case.toy(0)
    ours = _distances(data, _draw(_fit(case, data), 2_000)).mean()
    noise = _distances(data, uniform_noise(data, 2_000)).mean()
    require(ours < noise, f"columns are {ours:.3f} from the training data, uniform noise {noise:.3f}")


def check_beats_independent_on_pairs(case: Case) -> None:
    """Pairs of columns are closer to the training pairs, by a tenth, than independent columns are."""
    data = case.toy(0)
    baseline = independent.Independent(knots=50, min_category_count=1)
    ours = _pair_distance(data, _draw(_fit(case, data), 4_000))
    theirs = _pair_distance(data, _draw(_fit(Case("tabular.independent", baseline), data), 4_000))
    require(ours < 0.9 * theirs, f"pairs are {ours:.3f} from the training data, independent columns {theirs:.3f}")


def check_is_documented(case: Case) -> None:
    """The recipe has a summary of at most 100 characters, a Source, and help and bounds for every option."""
    if not isinstance(case.recipe, Recipe):
        raise CheckError("a recipe must be a subclass of config.Recipe")
    kind = type(case.recipe)
    text = kind.__doc__ or ""
    summary = text.strip().split("\n")[0]
    require(0 < len(summary) <= 100 and text != Recipe.__doc__, "the recipe needs a summary of 1 to 100 characters")
    module_text = sys.modules[kind.__module__].__doc__ or ""
    require(
        re.search(r"^\s*Source: \S", f"{module_text}\n{text}", re.MULTILINE), "no docstring has a 'Source:' section"
    )
    described = kind.model_json_schema()["properties"] if kind.model_fields else {}
    for name, option in described.items():
        require(option.get("description"), f"option '{name}' has no description")
        if option.get("type") in {"integer", "number"}:
            bounded = {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"} & set(option)
            require(bounded, f"option '{name}' is a number without bounds")


def check_stops_when_asked(case: Case) -> None:
    """``fit`` asks ``run.should_stop`` and ends with ``StoppedError``, leaving no file behind."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            _fit(case, run=Run(checkpoint=Path(folder), should_stop=lambda: True))
        except StoppedError:
            require(not list(Path(folder).rglob("*")), "a stopped fit leaves files in run.checkpoint")
            return
    raise CheckError("fit goes on although run.should_stop() is true; raise StoppedError")


def check_reports_progress(case: Case) -> None:
    """``fit`` reports work done, never less than before, and ends with all of it."""
    seen: list[tuple[int, int]] = []

    def report(done: int, total: int, /, **_: float) -> None:
        seen.append((done, total))

    _fit(case, run=Run(report=report))
    require(seen, "fit reports no progress")
    require(all(0 <= done <= total for done, total in seen), "progress lies outside 0 to total")
    shares = [done / max(total, 1) for done, total in seen]
    require(shares == sorted(shares), "progress goes back")
    require(seen[-1][0] == seen[-1][1], "the last report is not of all the work")


def _obeys(drawn: pd.DataFrame, given: Given, schema: Schema) -> bool:
    """Return whether every row meets the request."""
    if given.rows is not None:
        for name in given.rows.columns:
            fixed = given.rows[name].notna().to_numpy()
            if given.rows[name][fixed].tolist() != drawn[name][fixed].tolist():
                return False
    for name, allowed in given.allowed.items():
        values = drawn[name]
        if isinstance(allowed, frozenset):
            fits = values.isin([value for value in allowed if value is not None]) | (values.isna() & (None in allowed))
        else:
            is_time = isinstance(schema.columns[name], Datetime)
            bounds = [pd.Timestamp(str(b)) if is_time and b is not None else b for b in (allowed.low, allowed.high)]
            held = values.dropna()
            fits = values.notna()
            fits &= bounds[0] is None or bool((held >= bounds[0]).all())
            fits &= bounds[1] is None or bool((held <= bounds[1]).all())
        if not fits.all():
            return False
    return True


def check_conditions_hold_or_are_refused(case: Case) -> None:
    """Every row meets ``given``, or ``sample`` raises: never free rows in silence.

    A number amid those of the rows has mass: what does not condition on one raises ``UnsupportedError``, by which
    ``Model`` knows that it is to resample.
    """
    data = case.toy(0)
    sampler = _fit(case, data)
    for given in conditions(data):
        n = 20 if given.rows is None else len(given.rows)
        try:
            drawn = _draw(sampler, n, given=copy.deepcopy(given))
        except (UnsupportedError, ConditionError):
            continue
        columns = ", ".join(given.columns)
        require(len(drawn.table) == n, f"a condition on {columns} changes the number of rows")
        require(_obeys(drawn.table, given, data.schema), f"a condition on {columns} does not hold in every row")
        _require_schema(drawn, data.schema)
    for name, column in data.schema.columns.items():
        if not isinstance(column, Numeric) or column.places is not None:
            continue
        number = float(data.table[name].dropna().astype(float).median())
        for wanted in (frozenset({number}), Interval(number, number)):
            given = Given(None, {name: wanted})
            try:
                drawn = _draw(sampler, 20, given=given)
            except UnsupportedError:
                continue
            except ConditionError:
                raise CheckError(f"a number amid those of {name} is said to have no mass") from None
            require(_obeys(drawn.table, given, data.schema), f"a condition on {name} does not hold in every row")


def check_goes_on_from_its_own_model(case: Case) -> None:
    """A fit that can go on from a model does so: not what it makes alone, and the same bytes each time.

    Its rows obey the schema of the model it went on from.  What the new rows hold beside it is told by ``synth.fit``,
    which refuses to go on under a budget, or where a generator cannot.
    """
    if case.private or not (isinstance(case.recipe, Recipe) and type(case.recipe).starts_warm):
        return
    old = case.toy(0)
    new = replace(case.toy(1), schema=old.schema)
    with tempfile.TemporaryDirectory() as folder:
        fit(old, generator=case.recipe, seed=0).save(Path(folder) / "model")
        run = Run(warm_start=Path(folder) / "model")
        try:
            sampler = _fit(case, new, run=run)
        except UnsupportedError as error:
            raise CheckError(f"the recipe says that it goes on from a model, and refuses to: {error}") from None
        again = saved_files(_fit(case, new, run=run))
    _require_schema(_draw(sampler, 500), old.schema)
    files = saved_files(sampler)
    require(files == again, "going on twice from the same model, with the same seed, gave other bytes")
    require(files != saved_files(_fit(case, new)), "the model to go on from changes nothing; read run.warm_start")


CHECKS: tuple[Check, ...] = (
    check_recipe_round_trips_through_json,
    check_fit_leaves_data_unchanged,
    check_fit_charges_the_ledger,
    check_fit_respects_the_budget,
    check_undeclared_schema_is_refused_when_private,
    check_global_random_state_is_untouched,
    check_same_seed_same_rows,
    check_other_seed_other_rows,
    check_sample_does_not_depend_on_earlier_samples,
    check_sample_has_exactly_n_rows,
    check_sample_obeys_schema,
    check_save_load_same_rows,
    check_saved_files_are_arrays_or_json,
    check_saved_files_hold_no_canary,
    check_saved_files_do_not_tell_an_extreme,
    check_loads_in_fresh_process,
    check_hard_tables,
    check_beats_uniform_noise,
    check_beats_independent_on_pairs,
    check_is_documented,
    check_stops_when_asked,
    check_reports_progress,
    check_conditions_hold_or_are_refused,
    check_goes_on_from_its_own_model,
)
"""Every check, in the order of a generator's life."""


@dataclass(frozen=True)
class BoundCheck:
    """One check of one case: call it."""

    check: Check
    case: Case

    def __str__(self) -> str:
        return f"{self.case}-{self.check.__name__}"

    def __call__(self) -> None:
        """Run the check; where the case skips it, fail if it passes.

        A budget file that the circumstances name is not charged: it is not that of the toy's rows.

        Raises:
            CheckError: naming the broken promise, or the exception that is no longer needed.
        """
        reason = self.case.skip.get(self.check.__name__)
        with within(around().model_copy(update={"budget_file": ""})):
            if reason is None:
                self.check(self.case)
                return
            try:
                self.check(self.case)
            except CheckError:
                return
        raise CheckError(f"{self} passes although the case skips it ({reason}); remove the exception")


def yield_checks(case: Case) -> Iterator[BoundCheck]:
    """Yield every check of a case, those it skips included.

    Raises:
        ValueError: if the case skips a check that does not exist.
    """
    unknown = set(case.skip) - {made.__name__ for made in CHECKS}
    if unknown:
        raise ValueError(f"case '{case.name}' skips unknown checks: {', '.join(sorted(unknown))}")
    for made in CHECKS:
        yield BoundCheck(made, case)
