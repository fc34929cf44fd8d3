"""The command ``synth``: every step is a command, and packages add theirs by the entry-point group ``synth.commands``.

Exit status: 0 ok, 1 a bug of ours, 2 a user's error, 3 a threshold missed, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.metadata import entry_points, version
from pathlib import Path
from types import FrameType
from typing import Any

import click

from synth_components.errors import StoppedError, SynthError, ThresholdError
from synth_components.progress import Bars, JsonFormatter, JsonLines, Observer, installed, stamp, watching
from synth_components.steps import STEPS, load
from synth_components.steps.command import StepCommand, circumstance_options, common_options, read_circumstances

GROUP = "synth.commands"
"""Entry-point group of installed packages that add commands; each is a ``click.Command``."""

OK, BUG, USER_ERROR, MISSED, INTERRUPTED = 0, 1, 2, 3, 130

_CUSTODY = ("audit", "budget", "encrypt", "decrypt", "rotate")
"""The commands of ``synth_components.custody``."""

ISSUES = "please report it, with what --debug shows"


class Commands(click.Group):
    """The steps, ``serve``, what looks after things, then what installed packages add, each imported by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command's name, the steps in the order of the work."""
        added = sorted(point.name for point in entry_points(group=GROUP))
        return [*(name.replace("_", "-") for name in STEPS), "serve", "generators", "cache", *_CUSTODY, *added]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by name, ``None`` if there is none."""
        if cmd_name == "generators":
            return generators
        if cmd_name == "cache":
            return cache
        if cmd_name in _CUSTODY:
            from synth_components.custody import COMMANDS

            return COMMANDS[cmd_name]
        if cmd_name == "serve":
            from synth_components.service.command import ServeCommand

            return ServeCommand()
        step = cmd_name.replace("-", "_")
        if step in STEPS and "_" not in cmd_name:
            return StepCommand(cmd_name, load(step))
        for point in entry_points(group=GROUP):
            if point.name == cmd_name:
                added: click.Command = point.load()
                return added
        return None

    def invoke(self, ctx: click.Context) -> object:
        """Run the named command; Ctrl-C ends it without the empty line that click would write."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.Abort from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name.

        Raises:
            UsageError: for an unknown name, with the nearest one.
        """
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            near = get_close_matches(args[0].replace("_", "-"), known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "`synth --help` lists them"
            raise click.UsageError(f"there is no command '{args[0]}'; {hint}", ctx)
        return super().resolve_command(ctx, args)


_TOUR = """Train a generator on a real table, sample synthetic rows, judge them, augment with them.

\b
    synth demo --output demo-output

\b
    synth split --data patients.csv --train train.csv --holdout holdout.csv
    synth train --data train.csv --model model
    synth sample --model model --synthetic synthetic.csv --num-rows 1000
    synth evaluate --train train.csv --holdout holdout.csv \\
        --synthetic synthetic.csv --report report.json --page report.html
"""


@click.command(
    cls=Commands,
    help=_TOUR,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`synth COMMAND --help` explains a command.  FILE, where a command takes it, is a YAML or JSON map of the "
    "command's options and paths; the command line wins.",
)
@click.version_option(version("synth-components"), prog_name="synth")
def synth() -> None:
    """Train a generator on a real table, sample synthetic rows, judge them, augment with them."""


_MARKDOWN = click.Option(["--markdown"], is_flag=True, help="Print tables of the generators and their options.")


@click.command(params=[_MARKDOWN, *common_options()])
def generators(*, markdown: bool, **_: object) -> None:
    """List the generators, one line each.

    Those marked private can be fitted under a budget of epsilon, those made of members if their members can.
    """
    from synth_components.generators import names
    from synth_components.steps.catalogue import PRIVATE, generator_table, mark_of, option_table, summary_of

    found = names()
    if markdown:
        click.echo("\n\n".join([generator_table(), *(f"### {name}\n\n{option_table(name)}" for name in found)]))
        return
    width = max(map(len, found))
    for name in found:
        click.echo(f"{name:<{width}}  {mark_of(name):<{len(PRIVATE)}}  {summary_of(name)}")


_CLEAR = click.Option(["--clear"], is_flag=True, help="Remove every entry.")
_FOLDER = [option for option in circumstance_options() if option.origin.name == "cache"]


@click.command(params=[*_FOLDER, _CLEAR, *common_options()])
@click.pass_context
def cache(context: click.Context, /, *, clear: bool, **_: object) -> None:
    """Show what the cache of profiles, models and samples holds and how often it was of use, or clear it."""
    from synth_components.cache import Cache

    folder = read_circumstances(_FOLDER, context.params).cache
    if not folder:
        raise click.UsageError("name the folder of the cache: --cache, or SYNTH_CACHE", context)
    held = Cache(Path(folder).expanduser())
    if clear:
        click.echo(f"removed {held.clear()} entries")
        return
    click.echo(f"{len(held.entries())} entries, {held.num_bytes() / 1e6:.1f} MB; {held.tally}")


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    words = list(sys.argv[1:] if args is None else args) or ["--help"]
    as_json = _value(words, "--log-format") == "json"
    command = next((word for word in words if not word.startswith("-")), "")
    try:
        with _terminated_cleanly(), _logging(as_json=as_json, quiet="--quiet" in words):
            code = synth.main(args=words, prog_name="synth", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted; nothing half-written was left", INTERRUPTED, command=command, as_json=as_json)
    except click.ClickException as error:
        return _fail(error.format_message(), USER_ERROR, command=command, as_json=as_json, error=error)
    except ThresholdError as error:
        return _fail(str(error), MISSED, command=command, as_json=as_json, error=error)
    except StoppedError as error:
        status = 128 + error.signal if error.signal else USER_ERROR
        return _fail(str(error), status, command=command, as_json=as_json, error=error)
    except SynthError as error:
        _trace(words)
        return _fail(str(error), USER_ERROR, command=command, as_json=as_json, error=error)
    except OSError as error:
        _trace(words)
        what = error.strerror or type(error).__name__
        where = f": '{error.filename}'" if error.filename else ""
        return _fail(f"{what}{where}", USER_ERROR, command=command, as_json=as_json, error=error)
    except Exception as error:  # noqa: BLE001 - the last resort: its message may hold cell values, so it is not shown
        _trace(words)
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} in {last.name}, line {last.lineno}"
        return _fail(f"internal error ({place}); {ISSUES}", BUG, command=command, as_json=as_json, error=error)
    return code if isinstance(code, int) else OK


def _fail(message: str, status: int, *, command: str, as_json: bool, error: BaseException | None = None) -> int:
    line = " ".join(message.split())
    if as_json:
        about: dict[str, Any] = {
            name: value
            for name in ("column", "table", "option", "constraint")
            if (value := getattr(error, name, None)) is not None and isinstance(value, str)
        }
        kind = "KeyboardInterrupt" if error is None else type(error).__name__
        record = {"time": stamp(), "level": "error", "event": "error", "command": command, "status": status}
        line = json.dumps({**record, "error": kind, "message": line, **about}, ensure_ascii=False)
        click.echo(line, err=True)
    else:
        click.echo(f"{f'synth {command}'.strip()}: {line}", err=True)
    return status


def _trace(words: Sequence[str]) -> None:
    if "--debug" in words:
        click.echo(traceback.format_exc(), err=True)


class _Echo(logging.Handler):
    """Write records to whatever standard error is at that moment: a progress bar stands in for it while it moves."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        click.echo(self.format(record), err=True)


@contextmanager
def _logging(*, as_json: bool, quiet: bool) -> Iterator[None]:
    """Send our log and every stage's progress to standard error, for the length of the block."""
    log = logging.getLogger("synth_components")
    handler = _Echo()
    handler.setFormatter(JsonFormatter() if as_json else logging.Formatter("%(message)s"))
    level, propagate = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.ERROR if quiet else logging.INFO)
    log.propagate = False
    try:
        with watching(() if quiet else _observers(as_json=as_json)):
            yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate


def _observers(*, as_json: bool) -> tuple[Observer, ...]:
    if as_json:
        return (JsonLines(sys.stderr), *installed())
    if sys.stderr.isatty():
        from rich.console import Console

        return (Bars(Console(stderr=True)), *installed())
    return installed()


@contextmanager
def _terminated_cleanly() -> Iterator[None]:
    """Turn SIGTERM into an exit that runs every ``finally``, where this is the main thread."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, leave)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _value(words: Sequence[str], flag: str) -> str | None:
    for word, following in zip(words, [*words[1:], None], strict=False):
        if word == flag:
            return following
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None


if __name__ == "__main__":
    sys.exit(main())
