"""The pages in docs/: the reference is what the models declare, and each error is what its call ends in."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import get_args

import pytest

import synth_components
from synth_components import generators
from synth_components.circumstances import Circumstances
from synth_components.config import Recipe, StepConfig
from synth_components.constraints import RULES, Rule
from synth_components.constraints.rule import Policy
from synth_components.custody import COMMANDS
from synth_components.errors import SynthError
from synth_components.service.command import serve
from synth_components.steps import STEPS, load
from synth_components.steps.catalogue import fields_table
from synth_components.steps.port import config_of, ports
from synth_components.steps.reference import page
from synth_components.testing import CheckError

ROOT = Path(__file__).resolve().parents[1]
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
TROUBLESHOOTING = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
PAGES = TROUBLESHOOTING + (ROOT / "docs" / "best_practice.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGES = ("synth_components", "mlflow_flavor", "kubeflow/synth_kubeflow", "sagemaker/synth_sagemaker")


def entries():
    """Return the text of each entry of the troubleshooting page by its heading."""
    parts = re.split(r"^## (.+)$", TROUBLESHOOTING, flags=re.MULTILINE)
    assert len(set(parts[1::2])) == len(parts[1::2])
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def flag(name):
    return f"--{name.replace('_', '-')}"


def error_classes():
    """Return the names of the error classes that our packages define, read without importing them."""
    texts = [path.read_text(encoding="utf-8") for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return {name for text in texts for name in re.findall(r"^ *class (\w+Error)\(", text, re.MULTILINE)}


def configs(base):
    """Return the classes under ``base`` that our modules define and that declare fields."""
    found = set()
    for module in pkgutil.walk_packages(synth_components.__path__, "synth_components."):
        # What stands below _torch needs torch, and declares no option: recipes import without it.
        if not module.name.endswith("__main__") and "._torch" not in module.name:
            held = vars(importlib.import_module(module.name)).values()
            found |= {value for value in held if inspect.isclass(value) and issubclass(value, base) and value != base}
    return {kind for kind in found if kind.model_fields and kind.__module__.startswith("synth_components.")}


def test_the_configuration_reference_is_what_the_models_declare():
    assert page() == CONFIGURATION, "docs/configuration.md is stale: run `make docs`"


def test_the_configuration_reference_has_every_step_generator_rule_and_policy():
    headings = set(re.findall(r"^### `(.+)`$", CONFIGURATION, re.MULTILINE))
    steps = {f"synth {name.replace('_', '-')}" for name in STEPS}
    assert headings == steps | {"synth serve"} | set(generators.names()) | set(RULES)
    assert all(f"{policy}: " in CONFIGURATION for policy in get_args(Policy))


def test_every_config_of_the_core_stands_in_the_reference():
    used = {config_of(load(name)) for name in STEPS} | {config_of(serve)} | set(RULES.values())
    used |= {generators.recipe_type(name) for name in generators.names()}
    declared = configs(StepConfig) | configs(Recipe) | configs(Rule)
    # A base of a config that is used has its fields there.
    assert [kind.__name__ for kind in declared if not any(issubclass(one, kind) for one in used)] == []


def test_generators_of_members_are_said_to_be_private_if_those_can_be_and_others_without_a_condition():
    told = dict(re.findall(r"^### `(.+)`\n\n(.*)$", CONFIGURATION, re.MULTILINE))
    ends = {"": "It can be fitted under a budget of epsilon.", "if": "epsilon, if its members can."}
    of_members = {name for name in generators.names() if generators.recipe_type(name).of_members}
    assert of_members == {"auto", "tabular.ensemble", "tabular.hybrid"}
    for name in generators.private_names():
        assert told[name].endswith(ends["if" if name in of_members else ""]), name


def test_the_configs_that_a_field_holds_stand_below_it():
    generator = CONFIGURATION.partition("### `tabular.specified`")[2].partition("\n### ")[0]
    parts = re.findall(r"^#### `(.+)`$", generator, re.MULTILINE)
    assert {"family: normal", "family: weights", "Correlation"} <= set(parts)
    assert "| `value` | required | -1 to 1 | " in generator


def test_limits_choices_and_kinds_of_value_are_told():
    class Knobs(StepConfig):
        count: int = 3

    assert fields_table(Knobs).splitlines()[-1] == "| `count` | 3 | integer |  |"
    assert "| `policy` | repair | `repair`, `reject`, `warn`, `refuse` | " in CONFIGURATION
    assert "| `share` | 0.2 | above 0 to below 1 | " in CONFIGURATION
    assert "| `num_rows` | 1,000 | 0 or more | " in CONFIGURATION
    assert "| `low` | required | text | " in CONFIGURATION


def test_every_class_of_error_has_an_entry_and_every_entry_a_class():
    assert set(entries()) == error_classes(), "give a new class of error its entry in docs/troubleshooting.md"


@pytest.mark.parametrize("name", entries())
def test_the_call_of_the_entry_ends_in_its_error(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (prelude,) = blocks(TROUBLESHOOTING.partition("\n## ")[0], "python")
    (call,), (message,) = blocks(entries()[name], "python"), blocks(entries()[name], "text")
    names = {}
    exec(compile(prelude, "docs/troubleshooting.md", "exec"), names)
    with pytest.raises((SynthError, CheckError)) as raised:
        exec(compile(call, f"docs/troubleshooting.md, {name}", "exec"), names)
    assert type(raised.value).__name__ == name
    expected = re.escape(message.strip()).replace(re.escape("..."), ".+")
    assert re.fullmatch(expected, " ".join(str(raised.value).split()))


def test_the_commands_and_options_that_a_page_writes_exist():
    commands = {f"synth {name.replace('_', '-')}": load(name) for name in STEPS} | {
        "synth serve": serve,
        "synth STEP": None,
        "synth generators": None,
        **{f"synth {name}": None for name in COMMANDS},
    }
    common = {"--help", "--quiet", "--debug", "--log-format", *map(flag, Circumstances.model_fields)}
    options = {
        name: common if step is None else common | set(map(flag, [*config_of(step).model_fields, *ports(step)]))
        for name, step in commands.items()
    }
    written = re.findall(r"`((?:synth |--)[^`]*)`", PAGES)
    assert len(written) > 10
    for text in written:
        command = " ".join(text.split()[:2])
        known = options[command] if text.startswith("synth ") else set().union(*options.values())
        assert {word for word in text.split() if word.startswith("--")} <= known, text


@pytest.mark.parametrize("page_name", [path.name for path in sorted((ROOT / "docs").glob("*.md"))])
def test_the_readme_links_to_the_page(page_name):
    assert f"(docs/{page_name})" in README


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_the_links_of_a_page_lead_somewhere(path):
    links = re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []
