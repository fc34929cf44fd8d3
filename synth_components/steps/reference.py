"""The configuration reference: every option of every step, generator and rule, as the models declare them.

``python -m synth_components.steps.reference`` prints the page ``docs/configuration.md``; ``make docs`` writes it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

from synth_components.circumstances import Circumstances
from synth_components.config import Config
from synth_components.constraints import RULES, Rule
from synth_components.generators import names, recipe_type
from synth_components.service.command import serve
from synth_components.steps import STEPS, load
from synth_components.steps.catalogue import cell, fields_table, mark_of, parts_of, summary_of, tag_of
from synth_components.steps.port import KINDS, Port, Step, config_of, ports, summary

_HEAD = """# Configuration reference

Written by `make docs` from the models that declare the options; do not edit it here.

- **Python**: `AugmentConfig(mode="balance", columns=("income",))`, `synth.fit(table, options={"min_leaf": 20})`.
- **Command line**: a port or an option is `--name VALUE`, dashes for underscores; lists and maps are JSON, a list of
  names may be `a,b`; options of the generator are `--generator.min_leaf 20`.
- **File**: `synth STEP options.yaml` reads the same names from a YAML or JSON map; the command line wins.

*Allowed* gives limits, choices or the kind of value. Integers stay below 2^53: some platforms carry them as floats.
"""

_RULES = """## Rules

A list of maps, in the `constraints` of a schema or in a file for `--constraints`: `{"type": "range", "column": "age",
"low": 0}`. In Python each is a class of `synth_components.constraints`.
"""


_CIRCUMSTANCES = """## Every step

Beside its own options, on the command line and in the file; each also by a variable of the environment, which is how a
platform sets it.
"""


def page() -> str:
    """Return the whole reference as Markdown."""
    everywhere = [_CIRCUMSTANCES, f"{fields_table(Circumstances)}\n"]
    return "\n".join(
        [
            _HEAD,
            *everywhere,
            "## Steps",
            "",
            *_steps(),
            "## Service",
            "",
            *_service(),
            "## Generators",
            "",
            *_generators(),
            _RULES,
            *_rules(),
        ]
    )


def _steps() -> Iterator[str]:
    for name in STEPS:
        step = load(name)
        yield f"### `synth {name.replace('_', '-')}`\n\n{_plain(summary(step))}\n\n{_ports_table(step)}\n"
        yield from _fields(config_of(step))


def _service() -> Iterator[str]:
    yield f"### `synth serve`\n\n{_plain(summary(serve))}\n\n{_ports_table(serve)}\n"
    yield from _fields(config_of(serve))


def _ports_table(step: Step) -> str:
    rows = [
        f"| `{name}` | {_use(port)} | {KINDS[port.kind]} | {cell(port.description)} |"
        for name, port in ports(step).items()
    ]
    return "\n".join(["| port | | holds | what it is for |", "|---|---|---|---|", *rows])


def _use(port: Port) -> str:
    return f"{port.direction}{', optional' * port.optional}{', repeated' * port.many}"


def _generators() -> Iterator[str]:
    for name in names():
        kind = recipe_type(name)
        condition = ", if its members can" * kind.of_members
        private = f" It can be fitted under a budget of epsilon{condition}." * bool(mark_of(name))
        yield f"### `{name}`\n\n{summary_of(name)}{private}\n"
        yield from _fields(kind)


def _rules() -> Iterator[str]:
    shared = tuple(Rule.model_fields)
    yield f"Every rule has\n\n{fields_table(Rule)}\n"
    for kind, rule in RULES.items():
        yield f"### `{kind}`\n\n{_doc(rule)}\n\n{fields_table(rule, without=shared)}\n"


def _fields(config: type[Config]) -> Iterator[str]:
    """Yield the table of a config, then those of the configs that its fields hold."""
    if config.model_fields:
        yield f"{fields_table(config)}\n"
    for part in parts_of(config):
        title = ", ".join(f"{name}: {value}" for name, value in tag_of(part).items()) or part.__name__
        yield f"#### `{title}`\n\n{_doc(part)}\n\n{fields_table(part)}\n"


def _doc(config: type[Config]) -> str:
    return _plain(inspect.cleandoc(config.__doc__ or ""))


def _plain(text: str) -> str:
    return text.replace("``", "`")


if __name__ == "__main__":
    sys.stdout.write(page())
