"""The commands of whoever keeps the data: the audit trail, budgets, and encryption at rest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import cleandoc
from pathlib import Path
from typing import Any

import click

from synth_components.audit import chain_key
from synth_components.chain import Anchor, Chain
from synth_components.circumstances import within
from synth_components.errors import DataError
from synth_components.privacy.budget_file import BudgetFile, State
from synth_components.protocols import Budget
from synth_components.schema import TABLE, Unit
from synth_components.steps.command import (
    DerivedOption,
    circumstance_options,
    common_options,
    examples_kept,
    read_circumstances,
)

_AROUND = [option for option in circumstance_options() if option.origin.name in {"audit", "chain_key"}]
_PLACES = [*_AROUND, *common_options()]


@contextmanager
def _said(context: click.Context, options: Sequence[DerivedOption] = _AROUND) -> Iterator[None]:
    """Hold the circumstances that the command line says."""
    with within(read_circumstances(options, context.params)):
        yield


def _path(context: click.Context) -> Path:
    return Path(context.params["path"]).expanduser()


class _Command(click.Command):
    """A command whose help keeps the lines of its examples."""

    def __init__(self, *, help: str, **settings: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(help=examples_kept(cleandoc(help).split("\n\n")), **settings)


def _argument(name: str = "path") -> click.Argument:
    return click.Argument([name], metavar="FILE", type=str)


@click.group()
def audit() -> None:
    """Show the audit trail, or find out whether it was tampered with."""


@click.command(
    cls=_Command,
    params=[
        _argument(),
        click.Option(["--anchor"], metavar="COUNT:DIGEST", help="A head that was kept elsewhere; see `audit anchor`."),
        *_PLACES,
    ],
)
@click.pass_context
def verify(context: click.Context, /, *, anchor: str | None, **_: object) -> None:
    """Check every line of a trail or a budget file; exit status 2 and the first wrong line if one is.

        synth audit verify audit.jsonl
        synth audit verify audit.jsonl --anchor 120:9f86d0...

    Lines that were edited, inserted, moved, or removed before the end are found out by the file alone; a missing end by
    the head beside it; a file that was written anew, head and all, by an anchor or a key that the writer did not have.
    """
    with _said(context):
        chain = Chain(_path(context), chain_key())
        lines = chain.lines(anchor=None if anchor is None else Anchor.parse(anchor))
        unseen = [] if chain.head.exists() else ["there is no head beside the file: a missing end would not be noticed"]
        if anchor is None:
            unseen.append("without an anchor, an older file with its older head would not be noticed")
            if chain.key is None:
                unseen.append("without an anchor or a key, a file that was written anew would not be noticed")
        click.echo("\n".join([f"{len(lines)} lines are as they were written", *unseen]))


@click.command(cls=_Command, params=[_argument(), *_PLACES])
@click.pass_context
def anchor(context: click.Context, /, **_: object) -> None:
    """Print the head of a trail or a budget file, to be kept where its writers cannot write, for `audit verify`."""
    with _said(context):
        click.echo(str(Chain(_path(context), chain_key()).anchor()))


@click.command(
    cls=_Command,
    params=[
        _argument(),
        click.Option(["--event"], multiple=True, help="Show these events alone.  [may be repeated]"),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the lines as they stand in the file."),
        *_PLACES,
    ],
)
@click.pass_context
def show(context: click.Context, /, *, event: tuple[str, ...], as_json: bool, **_: object) -> None:
    """Print the events of a trail, one a line, after checking them."""
    with _said(context):
        for line in Chain(_path(context), chain_key()).lines():
            if not event or line.get("event") in event:
                click.echo(json.dumps(line, ensure_ascii=False) if as_json else _shown(line))


def _shown(line: Mapping[str, Any]) -> str:
    around = {"number", "previous", "digest", "time", "event", "user", "host", "pid"}
    facts = " ".join(f"{name}={_plain(value)}" for name, value in line.items() if name not in around)
    who = f"{line.get('user', '')}@{line.get('host', '')}"
    return f"{line['number']:>6} {line.get('time', '')} {line.get('event', ''):<12} {who} {facts}".rstrip()


def _plain(value: object) -> str:
    return value if isinstance(value, str) and " " not in value else json.dumps(value, ensure_ascii=False)


for _command in (verify, anchor, show):
    audit.add_command(_command)


@click.group()
def budget() -> None:
    """Make, show and share out the privacy budget of a data set."""


@click.command(
    cls=_Command,
    params=[
        _argument(),
        click.Option(["--epsilon"], type=float, required=True, help="All the epsilon that there is for the data set."),
        click.Option(["--delta"], type=float, default=0.0, show_default=True, help="The delta that goes with it."),
        click.Option(
            ["--name"], default="", help="What the data set is called, where its owner says what belongs to it."
        ),
        click.Option(
            ["--data"],
            multiple=True,
            metavar="PATH",
            help="A table that may be read, parts of a split included; others are then refused.  [may be repeated]",
        ),
        click.Option(
            ["--unit"],
            multiple=True,
            metavar="COLUMN",
            help="Whom epsilon protects: all rows that share the column, as the schemas declare it. Without it a row; "
            "charges for another unit are refused.  [may be repeated]",
        ),
        click.Option(
            ["--max-rows"],
            type=click.IntRange(1),
            default=1,
            show_default=True,
            help="Most rows of a unit that are read, as the schemas declare it.",
        ),
        click.Option(
            ["--units"], type=int, help="Number of privacy units, if it is public: delta must be below 1 over it."
        ),
        click.Option(
            ["--uncovered"],
            type=click.Choice(["note", "refuse"]),
            default="note",
            show_default=True,
            help="What becomes of evaluations that are not differentially private.",
        ),
        *_PLACES,
    ],
)
@click.pass_context
def create(context: click.Context, /, **options: Any) -> None:  # noqa: ANN401 - click's own
    """Make the budget file of a data set, which `--budget-file` and SYNTH_BUDGET_FILE name from then on.

        synth budget create adult.budget --epsilon 3 --delta 1e-6 --name adult --units 45000
        synth budget create adult.budget --epsilon 3 --delta 1e-6 --data train.csv --data holdout.csv
        synth budget create visits.budget --epsilon 3 --delta 1e-6 --name visits --unit patient --max-rows 5

    Without `--data` its owner's word says which rows it is of.
    """
    from synth_components.io.dataset import read_table

    try:
        total = Budget(options["epsilon"], options["delta"])
    except ValueError as error:
        raise click.UsageError(str(error), context) from None
    with _said(context):
        made = BudgetFile.create(
            _path(context),
            total,
            name=options["name"],
            tables=[read_table(place) for place in options["data"]],
            unit=Unit(TABLE, options["unit"], options["max_rows"]),
            units=options["units"],
            uncovered=options["uncovered"],
        )
        click.echo(_left(made.read()))


@click.command("show", cls=_Command, params=[_argument(), *_PLACES])
@click.pass_context
def show_budget(context: click.Context, /, **_: object) -> None:
    """Print what was spent of a budget, what is left, and what was read outside of it."""
    with _said(context):
        state = BudgetFile(_path(context)).read()
        uncovered = [entry.label for entry in state.ledger.entries if not entry.covered]
        for label in uncovered:
            click.echo(f"not covered by epsilon: {label}")
        for entry in state.ledger.entries:
            if entry.covered:
                click.echo(f"charged: {entry.label}")
        click.echo(_left(state))


@click.command(
    cls=_Command,
    params=[
        _argument(),
        click.Option(["--epsilon"], type=float, required=True, help="Epsilon of each share."),
        click.Option(["--delta"], type=float, default=0.0, show_default=True, help="Delta of each share."),
        click.Option(["--parts"], type=click.IntRange(1), default=1, show_default=True, help="Number of shares."),
        click.Option(["--label"], required=True, help="What the shares are for, such as the pipeline."),
        *_PLACES,
    ],
)
@click.pass_context
def reserve(context: click.Context, /, **options: Any) -> None:  # noqa: ANN401 - click's own
    """Charge shares for steps on other machines, which do not see the file, before the pipeline starts.

        synth budget reserve adult.budget --epsilon 0.5 --delta 1e-7 --parts 2 --label 'nightly pipeline'

    Each of the steps may then be given `--epsilon 0.5 --delta 1e-7`, and no budget file. Their schemas must declare the
    privacy unit of the budget.
    """
    try:
        share = Budget(options["epsilon"], options["delta"])
    except ValueError as error:
        raise click.UsageError(str(error), context) from None
    with _said(context):
        file = BudgetFile(_path(context))
        file.reserve(share, label=options["label"], parts=options["parts"])
        click.echo(_left(file.read()))


def _left(state: State) -> str:
    left = state.remaining
    whom = state.unit or "units that an earlier version did not keep"
    return (
        f"for {whom}, added or removed: spent epsilon {state.spent:.4g} of {state.total.epsilon:g} at delta "
        f"{state.total.delta:g}; left: epsilon {left.epsilon:.4g}, delta {left.delta:.4g}"
    )


for _command in (create, show_budget, reserve):
    budget.add_command(_command)


_SEALING = [option for option in circumstance_options() if option.origin.name in {"audit", "chain_key", "encrypt_key"}]


@click.command(cls=_Command, params=[_argument("source"), _argument("target"), *_SEALING, *common_options()])
@click.pass_context
def encrypt(context: click.Context, /, *, source: str, target: str, **_: object) -> None:
    """Write a table or a model folder encrypted; the source stays, to be removed by whoever knows its copies.

        openssl rand -hex 32 > key && chmod 600 key
        synth encrypt train.parquet train.parquet.sealed --encrypt-key file:key
        synth encrypt model sealed-model --encrypt-key kms:alias/synth

    Every step reads what was encrypted so, given the same key. `--encrypt models` or `all` writes it at once.
    """
    from synth_components.encryption import rest
    from synth_components.io import artifact

    with _said(context, _SEALING):
        place, goal = _places(source, target)
        if place.is_dir():
            artifact.seal(place, goal, rest.key_for(place))
        else:
            rest.seal_file(place, goal, rest.key_for(place))


@click.command(cls=_Command, params=[_argument("source"), _argument("target"), *_SEALING, *common_options()])
@click.pass_context
def decrypt(context: click.Context, /, *, source: str, target: str, **_: object) -> None:
    """Write an encrypted table or model folder in plain.

        synth decrypt sealed-model model --encrypt-key file:key

    What was encrypted stays.
    """
    from synth_components.encryption import rest
    from synth_components.io import artifact

    with _said(context, _SEALING):
        place, goal = _places(source, target)
        if place.is_dir():
            artifact.unseal(place, goal)
        else:
            rest.open_file(place, goal, rest.key_for(place))


_NEW_KEY = click.Option(["--new-key"], required=True, help="The key that opens it from now on.")


@click.command(cls=_Command, params=[_argument(), _NEW_KEY, *_SEALING, *common_options()])
@click.pass_context
def rotate(context: click.Context, /, *, new_key: str, **_: object) -> None:
    """Change the key of an encrypted table or model folder in its place, without writing the rest anew.

        synth rotate sealed-model --encrypt-key file:old --new-key file:new

    Copies that somebody made before still open with the old key.
    """
    from synth_components.encryption import rest
    from synth_components.encryption.key import read_key
    from synth_components.io import artifact

    with _said(context, _SEALING):
        place = _path(context)
        file = artifact.main_file(place) if place.is_dir() else place
        if not file.is_file():
            raise DataError(f"there is no encrypted file or model '{place}'")
        rest.rotate(file, rest.key_for(place), read_key(new_key))


def _places(source: str, target: str) -> tuple[Path, Path]:
    """Return what is read and what is written; nothing is written over."""
    place, goal = Path(source).expanduser(), Path(target).expanduser()
    if not place.exists():
        raise DataError(f"there is no file or folder '{place}'")
    if goal.exists():
        raise DataError(f"'{goal}' is there already; name another place")
    return place, goal


COMMANDS: Mapping[str, click.Command] = {
    "audit": audit,
    "budget": budget,
    "encrypt": encrypt,
    "decrypt": decrypt,
    "rotate": rotate,
}
"""The commands by name."""
