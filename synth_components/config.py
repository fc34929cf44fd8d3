"""The pydantic base of generator recipes and step configs, and their string dialect (KFP, SageMaker)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from synth_components.errors import SynthError

if TYPE_CHECKING:
    from synth_components.schema import Schema

C = TypeVar("C", bound="Config")


@dataclass(frozen=True)
class Sought:
    """How a search treats an option: a mark in its annotation, beside its rules.

    Attributes:
        is_left: Whether it keeps its default unless it is named: a request, a consent, what another such option puts
            to use, or a budget alone, under which nothing is searched.
        of_sequences: Whether it acts on how rows follow each other alone, which single rows do not tell.
        safer: The way of a privacy knob that leads away from the training rows; past its default it goes the other way
            only if it is named.
        values: What to try instead of numbers around the default.
        multiple_of: The option that it must be a multiple of.
    """

    is_left: bool = False
    of_sequences: bool = False
    safer: Literal["", "up", "down"] = ""
    values: tuple[int, ...] = ()
    multiple_of: str = ""


LEFT = Sought(is_left=True)
OF_SEQUENCES = Sought(is_left=True, of_sequences=True)
SAFER_UP = Sought(safer="up")
SAFER_DOWN = Sought(safer="down")


def sought(metadata: Sequence[Any]) -> Sought:
    """Return how a search treats a field, by its metadata."""
    return next((mark for mark in metadata if isinstance(mark, Sought)), Sought())


MIN_CATEGORY_COUNT = 10
"""Fewest rows that must share a value before the value itself may stand in a schema or a model."""

MinCategoryCount = Annotated[
    int,
    SAFER_UP,
    Field(
        ge=1,
        description="Privacy knob: fewest training rows that must share a category, or an inflated number, before the "
        "value itself is kept; rarer ones are redistributed over the kept values.",
    ),
]

KNOTS = 1000

Knots = Annotated[
    int,
    SAFER_DOWN,
    Field(
        ge=2,
        le=1000,
        description="Privacy knob: most pieces of a numeric column, each over min_category_count rows or more; a value "
        "is uniform within its piece.",
    ),
]


class ConfigError(SynthError):
    """An option is unknown or its value breaks the option's rule.

    Attributes:
        option: Name of the option.
    """

    def __init__(self, message: str, *, option: str) -> None:
        super().__init__(message)
        self.option = option


class Config(BaseModel):
    """A frozen set of parameters, each declared once with its default, bounds and help text."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="strings")

    @classmethod
    def parse(cls, options: Mapping[str, Any] | None = None) -> Self:
        """Return the config that ``options`` describe; absent options take their default.

        Raises:
            ConfigError: for an unknown option or a value that breaks its rule.
        """
        try:
            return cls.model_validate(dict(options or {}))
        except ValidationError as error:
            raise _first_error(cls, error) from None

    def canonical(self) -> str:
        """Return the canonical JSON text, every default written out: equal text means equal config."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)


class Recipe(Config):
    """The hyper-parameters of a generator.  Subclasses add fields and ``fit``; they hold no data.

    Attributes:
        trains_together: Whether several processes, ``Run.world_size``, can fit one model together.
        needs: Import names of optional packages without which a fit is refused.
        is_monitored: Whether a fit asks ``Run.monitor`` after its epochs.
        starts_warm: Whether a fit can go on from the model in ``Run.warm_start``.
        kept_warm: Options that such a fit has from that model: the shape of its network, and how columns are cut.
        without_privacy: Why no fit is differentially private; empty where one may be.
        of_members: Whether it fits other generators, on which it depends whether a fit is.
    """

    trains_together: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()
    is_monitored: ClassVar[bool] = False
    starts_warm: ClassVar[bool] = False
    kept_warm: ClassVar[tuple[str, ...]] = ()
    without_privacy: ClassVar[str] = ""
    of_members: ClassVar[bool] = False

    def members_without_privacy(self) -> str:
        """Return why a fit with these options is not differentially private, if that is for its members."""
        return ""

    def sequence_column(self, schema: Schema) -> str:
        """Return the column that tells sequences apart in a fit on rows of a schema; empty for none."""
        return str(getattr(self, "group", ""))

    def one_sequence(self, schema: Schema) -> str | None:
        """Return the column by which all rows are one sequence; ``None`` if they are none.

        It is empty where the rows are one sequence as they stand.
        """
        return None

    def learns_sequences(self, schema: Schema) -> bool:
        """Return whether a fit on rows of a schema learns how they follow each other."""
        return bool(self.sequence_column(schema)) or self.one_sequence(schema) is not None

    def doubts(self, schema: Schema, rows: int) -> tuple[str, ...]:
        """Return what speaks against a fit on that many rows, each with what to do; empty for none."""
        return ()


class StepConfig(Config):
    """The options of one step: each takes one value of type int, float, str, bool, list or dict."""


def _first_error(cls: type[Config], error: ValidationError) -> ConfigError:
    first = error.errors(include_input=False, include_url=False)[0]
    option = ".".join(str(part) for part in first["loc"]) or cls.__name__
    if first["type"] == "extra_forbidden":
        known = ", ".join(cls.model_fields) or "none"
        return ConfigError(f"{cls.__name__} has no option '{option}'; its options are: {known}", option=option)
    where = f"option '{option}'" if first["loc"] else "options"  # of a rule about several there is no one
    return ConfigError(f"{where} of {cls.__name__}: {first['msg'].removeprefix('Value error, ')}", option=option)


def to_strings(config: Config) -> dict[str, str]:
    """Return every option as the text that KFP and SageMaker carry.

    Strings stand for themselves, booleans are ``true`` or ``false``, numbers are JSON numbers, lists and maps JSON.
    """
    dumped = config.model_dump(mode="json")
    return {
        name: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for name, value in dumped.items()
    }


def from_strings(cls: type[C], options: Mapping[str, str]) -> C:
    """Return the config whose ``to_strings`` is ``options``; an absent or empty option takes its default.

    Raises:
        ConfigError: for an unknown option, or text that is not a value of the option's type.
    """
    values: dict[str, Any] = {}
    for name, text in options.items():
        field = cls.model_fields.get(name)
        if field is None:
            values[name] = text  # left to parse, which names the options that exist
        elif text == "" and not _takes_text(field.annotation):
            continue  # SageMaker sends "" for an unset hyper-parameter
        elif _takes_text(field.annotation):
            values[name] = text
        else:
            values[name] = _from_json(cls, name, text)
    return cls.parse(values)


def _from_json(cls: type[Config], name: str, text: str) -> object:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        raise ConfigError(f"option '{name}' of {cls.__name__}: the text is not valid JSON", option=name) from None
    # KFP carries integers as float64, so 5 may arrive as 5.0
    if isinstance(value, float) and value.is_integer() and not _takes_float(cls.model_fields[name].annotation):
        return int(value)
    return value


def _members(annotation: Any) -> tuple[Any, ...]:  # noqa: ANN401 - an annotation may be any object
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return tuple(member for part in get_args(annotation) for member in _members(part))
    return (annotation,)


def _takes_text(annotation: Any) -> bool:  # noqa: ANN401
    return any(
        member is str or (get_origin(member) is Literal and all(isinstance(choice, str) for choice in get_args(member)))
        for member in _members(annotation)
    )


def _takes_float(annotation: Any) -> bool:  # noqa: ANN401
    return any(member is float for member in _members(annotation))


def json_schema(annotation: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the JSON schema of a type, as the platforms' specifications need it."""
    return TypeAdapter(annotation).json_schema()


def bounds(metadata: Sequence[Any]) -> tuple[float, float]:
    """Return the least and the largest value that a field's rules allow, ends included."""
    low, high = -math.inf, math.inf
    for rule in metadata:
        for name in ("ge", "gt"):
            if getattr(rule, name, None) is not None:
                low = max(low, float(getattr(rule, name)))
        for name in ("le", "lt"):
            if getattr(rule, name, None) is not None:
                high = min(high, float(getattr(rule, name)))
    return low, high
