"""Associations restored on any table: its columns are reordered, and each keeps exactly its values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy import random

from synth_components.config import ConfigError
from synth_components.enforcement import learned
from synth_components.errors import DataError, SchemaError, UnsupportedError
from synth_components.preserve import genetic, iman_conover, raking, rules
from synth_components.preserve.frame import Aim, Frame, Order, frames, square
from synth_components.preserve.options import Method, Mode, PreserveConfig
from synth_components.preserve.residuals import Infeasible, Preserved, residuals
from synth_components.privacy.budget_file import opened
from synth_components.privacy.ledger import SETTLED, Ledger
from synth_components.protocols import Dataset, Floats
from synth_components.schema import Schema
from synth_components.split import owners_in

_SWEEPS = 3


def preserve(
    real: pd.DataFrame | Dataset,
    synthetic: pd.DataFrame | Dataset,
    *,
    mode: Mode | None = None,
    targets: Mapping[tuple[str, str], float] | None = None,
    method: Method | None = None,
    schema: Schema | None = None,
    seed: int | None = None,
    config: PreserveConfig = PreserveConfig(),  # noqa: B008 - frozen
    ledger: Ledger | None = None,
) -> Preserved:
    """Return the synthetic table with its columns reordered, so that their associations are the real ones.

    Associations are those of the fidelity report: Spearman's correlation between numbers or times, the correlation
    ratio of ranks between a category and a number, Cramer's V between categories.  Each column of the result is a
    permutation of the same column before, nulls included.  Keys, texts, images, links and the order column do not
    move; nor do columns that a rule ties to them.  Rows obey every rule of the schema that they obeyed before.

    Categories come first: each is fitted to its joint counts with those before it.  Then each number is reordered by
    rank, given all columns before it.  Columns that are close already do not move.

    Args:
        real: The table whose associations are wanted.
        synthetic: The table to mend, with the columns of the schema.
        mode: Instead of ``config.mode``.
        targets: Associations by pair of columns, instead of ``config.targets``.  Only the columns that they name move;
            their other pairs aim at the real table.  Not empty.
        method: Instead of ``config.method``.
        schema: Of both tables; ``None`` takes a dataset's own, or profiles ``real``.
        seed: Instead of ``config.seed``.
        ledger: Written to, not charged: the associations of ``real`` are outside the epsilon of any model.

    Raises:
        SchemaError: for a table that lacks a column, or a target about a column without associations.
        ConfigError: for a target outside the range of its measure.
        DataError: for a table without rows.
        UnsupportedError: for linked tables, or one too large for memory.

    Source: Iman & Conover 1982 for numbers; Deming & Stephan 1940 for categories; Higham 2002 for targets that
        contradict each other.
    Differs: see ``iman_conover.reorder`` and ``raking.reorder``.
    """
    from threadpoolctl import threadpool_limits

    given = {"mode": mode, "method": method, "seed": seed, "targets": None if targets is None else _nested(targets)}
    options = {name: value for name, value in given.items() if value is not None}
    config = PreserveConfig.parse({**config.model_dump(), **options}) if options else config
    declared = real.schema if schema is None and isinstance(real, Dataset) else schema
    if declared is not None and (len(declared.tables) > 1 or declared.links):
        raise UnsupportedError("preserve works on one table, and this schema links several; give it one at a time")
    model, table = (_rows(data, side) for data, side in ((real, "real"), (synthetic, "synthetic")))
    opened(ledger).note_uncovered(f"preserve: {len(model)} real rows")
    known = _profiled(model) if declared is None else declared
    # A fresh seed is drawn by the step that records it; here -1 draws one too.
    rng = random.default_rng(None if config.seed == -1 else config.seed)
    rows, frame = frames(model, table, known)
    if len(frame.names) < 2:
        return Preserved(table, residuals(frame, frame, np.eye(len(frame.names)), set(), config.mode))
    laws = learned(known.constraints, model, owners=owners_in(model, known))
    groups = rules.tied(table, laws, rng=rng)
    wanted, aim, infeasible = _aim(rows, known, config)
    units = _units(frame, known, groups, config)
    # One thread: the same seed gives the same bytes, and matrices this small gain nothing from more.
    with threadpool_limits(limits=1):
        orders, after = _ordered(units, frame, aim, config, rng)
    named = {name: order for unit, order in zip(units, orders, strict=True) for name in unit}
    kept = rules.put_back(table, named, laws, groups) if laws else named
    moved = {frame.names.index(name): order for name, order in kept.items() if name in frame.names}
    gaps = residuals(frame, frame.reordered(moved) if laws else after, wanted, set(moved), config.mode)
    return Preserved(rules.applied(table, kept), gaps, infeasible)


def _nested(targets: Mapping[tuple[str, str], float]) -> dict[str, dict[str, float]]:
    made: dict[str, dict[str, float]] = {}
    for (first, second), value in targets.items():
        made.setdefault(first, {})[second] = value
    return made


def _profiled(rows: pd.DataFrame) -> Schema:
    from synth_components.profile import profile

    return profile(rows, ledger=Ledger(account=SETTLED)).schema  # written down already


def _rows(data: pd.DataFrame | Dataset, side: str) -> pd.DataFrame:
    if isinstance(data, Dataset) and data.is_lazy:
        raise UnsupportedError(f"preserve holds both tables, and the {side} one is too large for memory; give a part")
    table = data.table if isinstance(data, Dataset) else data
    if len(table) == 0:
        raise DataError(f"the {side} table has no rows; preserve needs some of each")
    return table


def _aim(rows: Frame, schema: Schema, config: PreserveConfig) -> tuple[Floats, Aim, tuple[Infeasible, ...]]:
    """Return the targets (d, d), what is aimed at, and where the two differ."""
    pairs = rows.pairs
    wanted = square(pairs.association, len(rows.names))
    declared = np.zeros(wanted.shape, dtype=np.bool_)
    for (first, second), value in config.pairs.items():
        for name in (first, second):
            _refuse(name, rows, schema)
        at, to = rows.names.index(first), rows.names.index(second)
        if value < 0 and rows.kind(at, to) != "spearman":
            raise ConfigError(
                f"the target of '{first}' and '{second}' is negative, and their measure, {rows.kind(at, to)}, is not; "
                "give a number in [0, 1]",
                option="targets",
            )
        wanted[at, to] = wanted[to, at] = value
        declared[at, to] = declared[to, at] = True
    feasible = wanted.copy()
    block = np.ix_(rows.numbers, rows.numbers)
    feasible[block] = iman_conover.nearest(wanted[block], fixed=declared[block])
    changed = np.argwhere(np.triu(np.abs(feasible - wanted) > config.tolerance, 1))
    warnings = tuple(
        Infeasible((rows.names[at], rows.names[to]), float(wanted[at, to]), float(feasible[at, to]))
        for at, to in changed
    )
    return wanted, Aim(feasible, declared, config.tolerance, rows, pairs), warnings


def _refuse(name: str, rows: Frame, schema: Schema) -> None:
    if name in rows.names and name not in _held(schema):
        return
    reason = "has no associations that could be kept" if name in schema.columns else "is not in the schema"
    raise SchemaError(f"targets names column '{name}', which {reason}; name a number, time or category", column=name)


def _held(schema: Schema) -> set[str]:
    """Return the columns that never move: what identifies a row or its place, and what has no associations."""
    held = {*schema.keys.get(schema.root, ()), schema.order.get(schema.root, "")}
    held |= set(schema.unit.columns) if schema.unit is not None else set()
    return held | (set(schema.columns) - set(schema.modelled.columns))


def _units(frame: Frame, schema: Schema, groups: list[set[str]], config: PreserveConfig) -> list[list[str]]:
    """Return the columns that move, those that move together in one list, in the order in which they are placed.

    The first of a list leads: its category or rank decides; it is one that a target names, or else the one with the
    most different values.  Categories go before numbers, wide ones first because
    the first is free; of numbers those with the fewest different values, which bend the least.
    """
    held = _held(schema)
    free = [name for name in frame.names if name not in held]
    sets = [{name} for name in free if not any(name in group for group in groups)] + groups
    named = {name for pair in config.pairs for name in pair}
    distinct = {
        name: len(np.unique(frame.ranks[:, place] if frame.numbers[place] else frame.codes[:, place]))
        for place, name in enumerate(frame.names)
    }
    is_number = dict(zip(frame.names, frame.numbers.tolist(), strict=True))
    made = []
    for group in sets:
        if group & held or (named and not group & named):
            continue
        leaders = sorted(
            group & set(free), key=lambda name: (name not in named, -distinct[name], is_number[name], name)
        )
        made.append([*leaders, *sorted(group - set(leaders))])

    def turn(unit: list[str]) -> tuple[bool, int]:
        return is_number[unit[0]], distinct[unit[0]] if is_number[unit[0]] else -distinct[unit[0]]

    return sorted(made, key=turn)


def _ordered(
    units: list[list[str]], frame: Frame, aim: Aim, config: PreserveConfig, rng: random.Generator
) -> tuple[list[Order], Frame]:
    """Return one order for each unit, and the frame that they make.

    First each unit is placed given those before it; then, while a pair is not close, given all others.
    """
    at = {name: place for place, name in enumerate(frame.names)}
    places = [[at[name] for name in unit if name in at] for unit in units]
    if config.method == "genetic":
        found = genetic.search(places, frame, aim, config=config, rng=rng)
        return found, frame.reordered({c: order for unit, order in zip(places, found, strict=True) for c in unit})
    moving = {place for unit in places for place in unit}
    placed = [place for place in range(len(frame.names)) if place not in moving]
    orders = [np.arange(len(frame.codes)) for _ in units]
    for sweep in range(_SWEEPS):
        for at_unit, unit in enumerate(places):
            if sweep:
                placed = [place for place in range(len(frame.names)) if place not in unit]
            reorder = iman_conover.reorder if frame.numbers[unit[0]] else raking.reorder
            order = reorder(unit[0], placed, frame, aim, rng=rng)
            frame = frame.reordered(dict.fromkeys(unit, order))
            orders[at_unit] = orders[at_unit][order]
            placed = [*placed, *unit]
        gaps = np.abs(square(frame.pairs.association, len(frame.names)) - aim.strength)
        if (gaps[sorted(moving)] <= aim.tolerance).all():
            break
    return orders, frame


__all__ = ["Infeasible", "PreserveConfig", "Preserved", "preserve"]
