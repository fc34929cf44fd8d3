"""A command of the command line, derived from a step: its config's fields and its ports, nothing written twice."""

from __future__ import annotations

import datetime
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click

from synth_components.circumstances import Circumstances, around, within
from synth_components.config import Config, ConfigError, StepConfig, from_strings, to_strings
from synth_components.errors import DataError
from synth_components.steps.map_file import read_map
from synth_components.steps.places import refuse_clashes
from synth_components.steps.port import KINDS, STDOUT, Place, Port, Step, config_of, details, ports, summary
from synth_components.steps.record import perform

if TYPE_CHECKING:
    _TextType = click.ParamType[str]
else:
    _TextType = click.ParamType  # not generic at run time before click 8.3

EXAMPLES: Mapping[str, str] = {
    "dataset": "{port}.csv",
    "model": "model",
    "report": "report.json",
    "page": "report.html",
    "schema": "schema.json",
    "directory": "{step}-output",
}
"""A file name to show for each kind of port."""


KINDS_OF_TEXT: Mapping[str, str] = {"INTEGER": "an integer", "NUMBER": "a number", "true|false": "true or false"}
"""What text must be, in words, by the name that the help gives it."""

EMPTY: tuple[object, ...] = ("", (), {})

MAPS = (".json", ".yaml", ".yml")
"""Endings of option files."""


@dataclass(frozen=True)
class Origin:
    """Where the value of a command-line option goes.

    Attributes:
        kind: A field of the config, an entry of a map of options, a port, or what every command has.
        name: Name of the field, entry or port.
        field: The config's field that holds the entry, as ``generator_options``.
    """

    kind: Literal["field", "entry", "port", "common"]
    name: str
    field: str = ""


class DerivedOption(click.Option):
    """An option that knows what it was derived from."""

    def __init__(self, flags: Sequence[str], origin: Origin, **settings: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__([*flags, _variable(origin)], **settings)
        self.origin = origin


class FieldText(_TextType):
    """Text that is a value of one field of a config."""

    def __init__(self, cls: type[Config], field: str) -> None:
        self.cls = cls
        self.field = field
        self.name = metavar(cls, field)

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text in the dialect that ``from_strings`` reads; refuse what breaks the field's rule."""
        text = self._as_json_list(value)
        try:
            from_strings(self.cls, {self.field: text})
        except ConfigError as error:
            if error.option.partition(".")[0] == self.field:
                self.fail(_rule(error, self.cls), param, ctx)
        return text

    def _as_json_list(self, value: str) -> str:
        annotation = self.cls.model_fields[self.field].annotation
        is_list_of_text = get_origin(annotation) is tuple and get_args(annotation)[0] is str
        if not is_list_of_text or value.lstrip().startswith("["):
            return value
        return json.dumps([part.strip() for part in value.split(",") if part.strip()])


class StepCommand(click.Command):
    """The command of one step.  Options of the named generator join in when the arguments name it."""

    def __init__(self, name: str, step: Step) -> None:
        self.step = step
        super().__init__(
            name,
            help=_help(step, name),
            short_help=summary(step),
            params=[*options_of(step), _FILE, *circumstance_options(besides=ports(step)), *common_options()],
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, with the entries of every flattened map as options of their own."""
        held = [param.name for param in self.params]
        self.params = [*self.params, *(o for o in _entry_options(self.step, args) if o.name not in held)]
        rest = super().parse_args(ctx, args)
        self._read_positional(ctx)
        ctx.with_resource(within(read_circumstances(self.params, ctx.params)))
        return rest

    def _read_positional(self, ctx: click.Context) -> None:
        """Take a word without an option that is no option file as the step's positional port, if it has one."""
        word, name = ctx.params.get("file"), positional(self.step)
        if word is None or name is None or Path(word).suffix.lower() in MAPS:
            return
        variable = _variable(Origin("port", name))
        if ctx.params.get(variable) is not None:
            raise click.UsageError(f"'{word}' and {_flag(name)} name two; give one of them", ctx)
        ctx.params[variable], ctx.params["file"] = word, None

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the usage line."""
        name = positional(self.step)
        formatter.write_usage(ctx.command_path, f"[{'' if name is None else f'{name.upper()}|'}FILE] [OPTIONS]")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in groups: inputs and outputs, the step's, the generator's, every command's."""
        titles = {"port": "Inputs and outputs", "field": "Options", "entry": "Generator options", "common": "Common"}
        for kind, title in titles.items():
            rows = [
                row
                for param in self.get_params(ctx)
                if _kind(param) == kind and (row := param.get_help_record(ctx)) is not None
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows, col_max=34)

    def invoke(self, ctx: click.Context) -> None:
        """Run the step with what the file and the command line say; the command line wins."""
        config, places = read_arguments(self.step, self.params, ctx.params)
        file = ctx.params.get("file")
        refuse_clashes(self.step, places, file=None if file is None else Path(file))
        perform(self.step, config, places)


def options_of(step: Step) -> list[DerivedOption]:
    """Return one option per port and one per field of the config; a flattened map has none of its own."""
    cls = config_of(step)
    flat = set(flattened(cls).values())
    return [
        *(_port_option(name, port) for name, port in ports(step).items()),
        *(_field_option(cls, name, Origin("field", name)) for name in cls.model_fields if name not in flat),
    ]


def positional(step: Step) -> str | None:
    """Return the port that a word without an option names; ``None`` if the step has none."""
    return next((name for name, port in ports(step).items() if port.is_positional), None)


def flattened(cls: type[Config]) -> dict[str, str]:
    """Return the fields that name a recipe, with the map of its options: ``generator_options``."""
    return {name: f"{name}_options" for name in cls.model_fields if f"{name}_options" in cls.model_fields}


def circumstance_options(*, besides: Container[str] = ()) -> list[DerivedOption]:
    """Return the options that say how a step is run, whichever it is.

    Names that the step has itself, ``besides``, are left out: ``--policy`` of ``protect`` is the policy that it
    applies, and only SYNTH_POLICY then says what a guard holds.
    """
    names = [name for name in Circumstances.model_fields if name not in besides]
    return [_field_option(Circumstances, name, Origin("common", name)) for name in names]


def common_options() -> list[click.Option]:
    """Return the options that every command has; ``__main__`` acts on them."""
    return [
        DerivedOption(["--quiet"], Origin("common", "quiet"), is_flag=True, help="Say only what went wrong."),
        DerivedOption(
            ["--log-format"],
            Origin("common", "log_format"),
            type=click.Choice(["text", "json"]),
            default="text",
            help="json writes one JSON object per line to standard error.  [default: text]",
        ),
        DerivedOption(
            ["--debug"], Origin("common", "debug"), is_flag=True, help="Show where an error arose; may show data."
        ),
    ]


def read_arguments(
    step: Step, params: Sequence[click.Parameter], given: Mapping[str, Any]
) -> tuple[StepConfig, dict[str, Place | tuple[Place, ...] | None]]:
    """Return config and places from the option file and the command line.

    Raises:
        ConfigError: naming an option that is unknown, wrong or missing.
    """
    cls, known = config_of(step), ports(step)
    file = given.get("file")
    said = {} if file is None else read_map(Path(file), "option file")
    names = [*known, *cls.model_fields, *Circumstances.model_fields]
    unknown = [name for name in said if name not in names]
    if unknown:
        options = ", ".join(names)
        raise ConfigError(f"'{file}' has an unknown entry '{unknown[0]}'; known are: {options}", option=unknown[0])
    texts = {name: _text(value) for name, value in said.items() if name in cls.model_fields}
    places = {name: said[name] for name in known if name in said}
    entries: dict[str, dict[str, Any]] = {}
    for param in params:
        value = given.get(param.name or "")
        if not isinstance(param, DerivedOption) or value is None or value == ():
            continue
        origin = param.origin
        if origin.kind == "field":
            texts[origin.name] = value
        elif origin.kind == "port":
            places[origin.name] = value
        elif origin.kind == "entry":
            entries.setdefault(origin.field, {})[origin.name] = _entry_value(param, value)
    for field, values in entries.items():
        texts[field] = json.dumps({**json.loads(texts.get(field, "{}")), **values})
    return _config(cls, texts, file), _places(known, places)


def read_circumstances(params: Sequence[click.Parameter], given: Mapping[str, Any]) -> Circumstances:
    """Return how the step is to be run.

    The command line wins over the option file, and that over the environment.

    Raises:
        ConfigError: naming an option whose value breaks its rule.
    """
    file = given.get("file")
    # A file that is not there is refused by read_arguments, as an option file.
    said = {} if file is None or not Path(file).is_file() else read_map(Path(file), "option file")
    own = {param.origin.name for param in params if isinstance(param, DerivedOption) and param.origin.kind == "port"}
    names = [name for name in Circumstances.model_fields if name not in own]
    filed = {name: _text(said[name]) for name in names if name in said}
    flags = {
        param.origin.name: given[param.name or ""]
        for param in params
        if isinstance(param, DerivedOption) and param.origin.kind == "common" and param.origin.name in names
    }
    said_here = {name: value for name, value in flags.items() if value is not None}
    return from_strings(Circumstances, {**to_strings(around()), **filed, **said_here})


def metavar(cls: type[Config], field: str) -> str:
    """Return what kind of text an option takes, for its help."""
    annotation: Any = cls.model_fields[field].annotation
    if get_origin(annotation) is Literal:
        return "|".join(str(choice) for choice in get_args(annotation))
    if get_origin(annotation) is tuple:
        return "NAMES" if get_args(annotation)[0] is str else "JSON"
    named = {int: "INTEGER", float: "NUMBER", bool: "true|false", str: "TEXT"}
    return next((text for kind, text in named.items() if annotation is kind), "JSON")


def _kind(param: click.Parameter) -> str:
    if isinstance(param, click.Argument):
        return "argument"
    return param.origin.kind if isinstance(param, DerivedOption) else "common"


def _variable(origin: Origin) -> str:
    return f"{origin.kind}_{origin.field}_{origin.name}"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _port_option(name: str, port: Port) -> DerivedOption:
    about = f"{port.description.rstrip('.')} ({KINDS[port.kind]})."
    if not port.optional:
        about += "  [required]"
    elif port.many:
        about += "  [may be repeated]"
    flags = [_flag(name), "--output"] if port.is_stream else [_flag(name)]
    return DerivedOption(
        flags, Origin("port", name), type=str, metavar="PATH", multiple=port.many, default=None, help=about
    )


def _field_option(cls: type[Config], name: str, origin: Origin) -> DerivedOption:
    flag = f"--{origin.field.removesuffix('_options')}.{name}" if origin.kind == "entry" else _flag(name)
    return DerivedOption(
        [flag], origin, type=FieldText(cls, name), metavar=metavar(cls, name), default=None, help=_field_help(cls, name)
    )


def _field_help(cls: type[Config], name: str) -> str:
    field = cls.model_fields[name]
    limits = [
        f"{sign} {getattr(rule, attribute):g}"
        for rule in field.metadata
        for attribute, sign in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below"))
        # such limits are the platforms', which carry integers as floating-point numbers
        if getattr(rule, attribute, None) is not None and getattr(rule, attribute) < 2**31
    ]
    default = field.get_default(call_default_factory=True)
    dumped = default.model_dump(mode="json", exclude_defaults=True) if isinstance(default, Config) else default
    shown = "required" if field.is_required() else f"default: {'empty' if dumped in EMPTY else _text(dumped)}"
    return f"{field.description}  [{'; '.join([shown, *limits])}]"


def _entry_options(step: Step, args: Sequence[str]) -> Iterator[DerivedOption]:
    from synth_components.generators import recipe_type

    cls = config_of(step)
    file = next((arg for arg in args if Path(arg).suffix in {".json", ".yaml", ".yml"} and Path(arg).is_file()), None)
    for name, field in flattened(cls).items():
        said = _argument(args, _flag(name)) or (read_map(Path(file), "option file").get(name) if file else None)
        trust = _argument(args, "--trust") or ""
        recipe = recipe_type(
            str(said or cls.model_fields[name].default), trust=tuple(part.strip(' []"') for part in trust.split(","))
        )
        for entry in recipe.model_fields:
            yield _field_option(recipe, entry, Origin("entry", entry, field))


def _argument(args: Sequence[str], flag: str) -> str | None:
    for position, arg in enumerate(args):
        if arg == flag and position + 1 < len(args):
            return args[position + 1]
        if arg.startswith(f"{flag}="):
            return arg.partition("=")[2]
    return None


def _entry_value(param: DerivedOption, text: str) -> object:
    kind = param.type
    assert isinstance(kind, FieldText)  # noqa: S101 - made by _field_option
    return from_strings(kind.cls, {kind.field: text}).model_dump(mode="json")[kind.field]


def _config(cls: type[StepConfig], texts: Mapping[str, str], file: str | None) -> StepConfig:
    try:
        return from_strings(cls, texts)
    except ConfigError as error:
        top = error.option.partition(".")[0]
        where = f"'{file}', entry '{error.option}'" if file and top in texts else _flag(error.option)
        if top == cls.__name__:
            where = "options"
        raise ConfigError(f"{where}: {_rule(error, cls)}", option=error.option) from None


def _rule(error: ConfigError, cls: type[Config]) -> str:
    rule = str(error).removeprefix(f"option '{error.option}' of {cls.__name__}: ")
    rule = rule.removeprefix(f"options of {cls.__name__}: ")
    if rule == "the text is not valid JSON":
        return f"must be {KINDS_OF_TEXT.get(metavar(cls, error.option), 'JSON')}"
    return rule


def _places(known: Mapping[str, Port], said: Mapping[str, Any]) -> dict[str, Place | tuple[Place, ...] | None]:
    places: dict[str, Place | tuple[Place, ...] | None] = {}
    for name, port in known.items():
        value = said.get(name)
        if value in (None, "", (), []):
            if not port.optional:
                raise ConfigError(f"{_flag(name)} is missing: {port.description.rstrip('.')}", option=name)
        elif port.many:
            places[name] = tuple(
                _place(part, port, name) for part in (value if isinstance(value, list | tuple) else [value])
            )
        else:
            places[name] = _place(value, port, name)
    return places


def _place(value: object, port: Port, name: str) -> Place:
    text = str(value)
    if text == "-" and port.is_stream:
        return STDOUT
    if "://" in text:
        if port.kind != "dataset":
            raise DataError(f"{_flag(name)} must be a local path; copy it here first")
        return text
    path = Path(text).expanduser()
    if port.direction == "in" and not path.exists():
        raise DataError(f"{_flag(name)}: there is no file or folder '{path}'")
    return path


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, datetime.date | datetime.datetime):
        return value.isoformat()
    return json.dumps(value, default=str)


def _help(step: Step, name: str) -> str:
    needed = {port_name: port for port_name, port in ports(step).items() if not port.optional}
    shown = " ".join(
        f"{_flag(port_name)} {EXAMPLES.get(port.kind, port_name).format(port=port_name, step=name)}"
        for port_name, port in needed.items()
    )
    paragraphs = [f"{summary(step)}", *details(step).split("\n\n")]
    if not any(paragraph.startswith("    ") for paragraph in paragraphs):
        paragraphs.append(f"    synth {name} {shown}")
    return examples_kept(paragraphs)


def examples_kept(paragraphs: Sequence[str]) -> str:
    """Return the help of a command, in which indented paragraphs, which are examples, keep their lines."""
    # click keeps the line breaks of a paragraph that starts with \b
    return "\n\n".join(f"\b\n{p}" if p.startswith("    ") else p for p in paragraphs if p.strip())


_FILE = click.Argument(["file"], required=False, metavar="FILE", type=str)
