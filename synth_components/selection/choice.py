"""Which generator suits a table: by its columns, rows, privacy and time, with the reasons in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from synth_components.errors import BudgetExceededError, UnsupportedError
from synth_components.generators import DEFAULT, brought, names, recipe_type
from synth_components.generators.tabular._sequences import FEW_ORDERED_ROWS, few_ordered_rows
from synth_components.protocols import Budget
from synth_components.schema import Categorical, Image, Key, Numeric, Schema, Text

AIM, MST, COPULA = "tabular.aim", "tabular.mst", "tabular.gaussian_copula"
PRIVATE_TREES = "tabular.private_trees"
TRANSFORMER = "tabular.transformer"
SEQUENCES = (TRANSFORMER, "tabular.markov")
"""Generators that know an order of the rows, the better one first."""

APART = {
    "tabular.specified": "it learns from no rows",
    "tabular.ensemble": "it is made of others",
    "tabular.hybrid": "it is made of others",
    "tabular.independent": "it is the baseline",
    "tabular.smote": "it holds training rows",
    "tabular.ctgan": "its library is not open source",
    AIM: "it needs a privacy budget",
    MST: "it needs a privacy budget",
    PRIVATE_TREES: "it needs a privacy budget",
}
"""Generators that are never chosen without a budget, and why."""

FOLLOWS_ROWS = ("tabular.circuit", "tabular.mixture")
"""Generators on which attacks did best on the tables of the benchmarks."""
BY_CATEGORY = ("tabular.copula_gan", "tabular.diffusion", "tabular.latent_diffusion", "tabular.vae")
"""Networks whose last layer has a weight for every category of every column."""

RANKED = (
    DEFAULT,
    "tabular.circuit",
    "tabular.mixture",
    "tabular.bayesian_network",
    "tabular.gaussian_copula",
    "tabular.autoregressive",
    "tabular.diffusion",
    "tabular.vae",
    "tabular.latent_diffusion",
    "tabular.copula_gan",
    "tabular.table_gan",
)
"""Who is tried first where time is short: those fitted in seconds, then networks, the closer ones of the benchmarks
first."""

FEW_ROWS = 200
"""Below this a tree, whose leaves hold 30 rows, has too few leaves to learn a dependence from."""
MANY_COLUMNS = 60
"""From here the pairs that AIM weighs each round (1,770) take longer than its better choice is worth."""
MANY_CATEGORIES = 1_000


@dataclass(frozen=True)
class Choice:
    """A generator and why it was chosen.

    Attributes:
        generator: Its name.
        options: Those that differ from its defaults.
        reasons: Sentences, the decisive one first.
        trials: One map per fit that was tried; empty where none was.
    """

    generator: str
    options: dict[str, Any] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    trials: tuple[dict[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the choice as a JSON value."""
        return {
            "generator": self.generator,
            "options": self.options,
            "reasons": list(self.reasons),
            "trials": list(self.trials),
        }


def is_installed(name: str) -> bool:
    """Return whether the packages that a generator is fitted with are here."""
    return all(find_spec(package) is not None for package in recipe_type(name).needs)


def candidates(schema: Schema, asked: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the installed generators that may be tried on a table, in the order to try them in.

    Columns of many categories, and rows of persons, leave some out (``left_out``) unless they are asked for.

    Args:
        asked: Names to try, in this order; none takes ours, in that of ``RANKED``.

    Raises:
        UnsupportedError: if none of those asked for can be fitted here.
    """
    if asked:
        found = tuple(name for name in asked if is_installed(name))
        if not found:
            raise UnsupportedError(f"none of {', '.join(asked)} can be fitted here; install the packages they need")
        return found
    others = {point.name for point in brought()}
    apart = set(APART) | others | set(left_out(schema)) | (set() if schema.order else set(SEQUENCES))
    ours = [name for name in names() if name.startswith("tabular.") and name not in apart and is_installed(name)]
    return tuple(sorted(ours, key=lambda name: RANKED.index(name) if name in RANKED else len(RANKED)))


def chosen(
    schema: Schema, *, rows: int | None, budget: Budget | None, is_timed: bool = False, among: Sequence[str] = ()
) -> Choice:
    """Return the generator that the rules choose.

    Args:
        rows: Number of training rows; under a budget it is not asked for, as it is private.
        budget: Under one only the schema and the budget itself decide.
        is_timed: Whether there is a time limit.
        among: Names that it may choose, the first of them where the rules would choose another; none allows all.

    Raises:
        BudgetExceededError: under a budget, if no generator that keeps one is installed, or among those named.
        UnsupportedError: if none of those named can be fitted here.
    """
    if budget is not None:
        return _among(among, _private(schema, budget), schema, budget)
    if schema.order and (known := sequence_generators(among)):
        group = sequences_of(schema)
        told = () if not group else (f"rows of one '{group}', the privacy unit, are one sequence",)
        why = "the schema orders the rows, and this generator learns sequences"
        few_rows = "" if rows is None else few_ordered_rows(rows)
        name = known[-1] if is_timed or few_rows else known[0]
        if name != known[0] and few_rows:
            told = (f"of those that do it needs the fewest rows, and there are fewer than {FEW_ORDERED_ROWS:,}", *told)
        elif name != known[0]:
            told = ("of those that do it is fitted in seconds, and there is a time limit", *told)
        elif few_rows and name == TRANSFORMER:
            told = (few_rows, *told)
        return Choice(name, {"group": group} if group else {}, (why, *told))
    if rows is not None and rows < FEW_ROWS:
        few = Choice(COPULA, {}, (f"there are fewer than {FEW_ROWS} rows: a copula needs the fewest",))
        return _among(among, few, schema, None)
    why = "it is the closest of those that are fitted in seconds, on the five tables of the benchmarks"
    return _among(among, Choice(DEFAULT, {}, (why,)), schema, None)


def sequence_generators(among: Sequence[str] = ()) -> list[str]:
    """Return the installed generators that know an order of the rows, of those named if any; better first."""
    return [name for name in SEQUENCES if name in (among or names()) and is_installed(name)]


def _among(names: Sequence[str], choice: Choice, schema: Schema, budget: Budget | None) -> Choice:
    """Return the rules' choice, or the first of those named that can be fitted, and keeps the budget if there is one.

    Raises:
        BudgetExceededError: if none keeps the budget.
        UnsupportedError: if none can be fitted here.
    """
    if not names or choice.generator in names:
        return choice
    able = [name for name in candidates(schema, names) if budget is None or not recipe_type(name).without_privacy]
    if not able:
        raise BudgetExceededError(
            f"none of the candidates {', '.join(names)} keeps a privacy budget; name one that does, or none",
            requested=float("inf"),
            available=0.0 if budget is None else budget.epsilon,
        )
    return Choice(able[0], {}, (f"it is the first of the candidates that can be fitted; {choice.generator} is none",))


def sequences_of(schema: Schema) -> str:
    """Return the column that tells sequences apart: the privacy unit's, where it can; empty for none."""
    names = () if schema.unit is None or schema.unit.table != schema.root else schema.unit.columns
    column = schema.columns.get(names[0]) if len(names) == 1 and schema.root in schema.modelled.order else None
    if not isinstance(column, Numeric | Categorical | Key | Text) or column.nullable:
        return ""
    return "" if isinstance(column, Numeric) and column.places != 0 else names[0]


def _private(schema: Schema, budget: Budget) -> Choice:
    """Return the generator for a budget; nothing here looks at a row."""
    able = [name for name in (AIM, MST) if is_installed(name)]
    if not able:
        raise BudgetExceededError(
            "no generator that keeps a privacy budget is installed; install the extra dp",
            requested=float("inf"),
            available=budget.epsilon,
        )
    ground = "under a privacy budget the schema and the budget decide, and no row is looked at"
    if budget.delta == 0:
        return Choice(MST, {"mechanism": "laplace"}, ("delta is 0, which Laplace noise alone keeps", ground))
    width = len(schema.columns)
    if width >= MANY_COLUMNS:
        return Choice(MST, {}, (f"there are {width} columns, and AIM would weigh every pair in every round", ground))
    return Choice(AIM, {}, ("it measures where its model is worst, and was the closest at every epsilon", ground))


def left_out(schema: Schema) -> dict[str, str]:
    """Return the installed generators that a schema's columns leave out of a race, and why."""
    made: dict[str, str] = {}
    if wide := _wide(schema):
        why = f"column '{wide}' has more than {MANY_CATEGORIES} categories, for each of which they have weights"
        made |= dict.fromkeys(BY_CATEGORY, why)
    if _is_personal(schema):
        why = "the rows belong to persons or other units, and attacks on these did best in the benchmarks"
        made |= dict.fromkeys(FOLLOWS_ROWS, why)
    return {name: why for name, why in made.items() if is_installed(name)}


def _wide(schema: Schema) -> str:
    """Return the first column of more than ``MANY_CATEGORIES``; empty for none."""
    columns = schema.columns.items()
    wide = [n for n, column in columns if isinstance(column, Categorical) and len(column.categories) > MANY_CATEGORIES]
    return wide[0] if wide else ""


def _is_personal(schema: Schema) -> bool:
    """Return whether a schema names a unit of privacy, or has what may name one: keys, texts, images."""
    return schema.unit is not None or any(isinstance(held, Key | Text | Image) for held in schema.columns.values())
