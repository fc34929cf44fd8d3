"""Generators within a generator: made by name, fitted in turn, drawn with conditions, saved in folders of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from numpy import random

from synth_components.checkpoint import member_folder
from synth_components.config import Recipe
from synth_components.errors import ArtifactError, ConditionError, UnsupportedError
from synth_components.generators import make, sampler_type
from synth_components.generators.tabular._finished import fitted_once
from synth_components.protocols import Dataset, Generator, Given, PrivacyLedger, Report, Run, Sampler
from synth_components.resampling import resample
from synth_components.schema import Schema

STEPS = 1_000
"""Units of progress of one member."""


def members_of(names: Sequence[str], options: Sequence[dict[str, Any]]) -> list[Generator]:
    """Return the recipes of several generators; options stand in their order, absent ones are defaults.

    Raises:
        UnsupportedError: for an unknown generator.
        ConfigError: for an unknown option, or a value that breaks its rule.
    """
    padded = [*options, *({} for _ in range(len(names) - len(options)))]
    return [make(name, dict(chosen)) for name, chosen in zip(names, padded, strict=True)]


def without_privacy(names: Sequence[str], options: Sequence[dict[str, Any]]) -> str:
    """Return which member keeps no budget and why, the first one; empty where all may."""
    for name, recipe in zip(names, members_of(names, options), strict=True):
        # A generator that somebody else brought may be no Recipe: the rehearsal tells of it.
        if isinstance(recipe, Recipe) and (reason := recipe.without_privacy or recipe.members_without_privacy()):
            return f"its member {name} does not ({reason})"
    return ""


def doubts_of(names: Sequence[str], options: Sequence[dict[str, Any]], schema: Schema, rows: int) -> tuple[str, ...]:
    """Return what speaks against a fit of the members on that many rows, each once."""
    told: list[str] = []
    for name, recipe in zip(names, members_of(names, options), strict=True):
        if isinstance(recipe, Recipe):
            told += recipe.doubts(schema, rows)
            if recipe.learns_sequences(schema):
                told.append(
                    f"rows are drawn one by one from several generators, so that those of {name} do not follow each "
                    "other as its sequences do; fit it alone if they shall"
                )
    return tuple(dict.fromkeys(told))


def fit_member(
    recipe: Generator,
    data: Dataset,
    *,
    rng: random.Generator,
    ledger: PrivacyLedger,
    run: Run,
    part: int,
    parts: int,
) -> Sampler:
    """Return a fitted member, the ``part``-th of so many fits; its checkpoint is its own."""
    inner = replace(
        run,
        report=part_of(run.report, part, parts),
        checkpoint=None if run.checkpoint is None else member_folder(run.checkpoint, part),
        warm_start=None,
        holdout=None,
    )
    return fitted_once(recipe, data, rng=rng, ledger=ledger, run=inner)


def part_of(report: Report, part: int, parts: int) -> Report:
    """Return where one of several fits reports, so that the whole never goes back."""

    def told(done: int, total: int, /, **metrics: float) -> None:
        report(part * STEPS + STEPS * done // max(total, 1), parts * STEPS, **metrics)

    return told


def drawn(
    sampler: Sampler,
    n: int,
    *,
    rng: random.Generator,
    given: Given | None,
    on_unserved: Callable[[int], None] | None = None,
) -> Dataset:
    """Return ``n`` rows of a member that meet the conditions: by itself if it can, else by resampling.

    Args:
        on_unserved: Told how many rows ask for what the member does not draw: they are those nearest to it, and do not
            meet the conditions.  ``None`` raises.

    Raises:
        ConditionError: if the member gives the conditions no mass.
    """
    if given is None or not given.columns:
        return sampler.sample(n, rng=rng)
    try:
        return sampler.sample(n, rng=rng, given=given)
    except UnsupportedError:
        pass
    except ConditionError:
        if on_unserved is None:
            raise
    schema = sampler.schema

    def draw(k: int) -> pd.DataFrame:
        return sampler.sample(k, rng=rng).table

    try:
        table = resample(draw, given, n, schema=schema, rng=rng, on_unserved=on_unserved)
    except ConditionError:
        if on_unserved is None:
            raise
        on_unserved(n)
        table = _despite(draw, given, n, schema=schema, rng=rng)
    return Dataset({schema.root: table}, schema)


def _despite(
    draw: Callable[[int], pd.DataFrame], given: Given, n: int, *, schema: Schema, rng: random.Generator
) -> pd.DataFrame:
    """Return ``n`` rows where nulls and numbers are asked for that are never drawn: of values alone, or of nothing."""
    try:
        return resample(draw, Given(given.rows), n, schema=schema, rng=rng, on_unserved=lambda _: None)
    except ConditionError:
        return draw(n)


def save_members(members: Sequence[Sampler], names: Sequence[str], directory: Path) -> None:
    """Write each member into a folder that is called by its place, and ``members.json``."""
    for place, member in enumerate(members):
        (directory / str(place)).mkdir()
        member.save(directory / str(place))
    (directory / "members.json").write_text(json.dumps(list(names)), encoding="utf-8")


def load_members(directory: Path) -> tuple[tuple[str, ...], tuple[Sampler, ...]]:
    """Return the names and samplers that ``save_members`` wrote.

    Raises:
        ArtifactError: if ``members.json`` is not a list of names.
        UnsupportedError: for a generator that is not installed.
    """
    names = json.loads((directory / "members.json").read_text(encoding="utf-8"))
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ArtifactError("members.json is no list of generators: the model was altered; save it anew")
    loaded = tuple(sampler_type(name).load(directory / str(place)) for place, name in enumerate(names))
    return tuple(names), loaded


def holds_rows(members: Sequence[Sampler]) -> bool:
    """Return whether any member keeps training rows."""
    return any(bool(getattr(member, "holds_rows", False)) for member in members)
