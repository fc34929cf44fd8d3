"""Every public name says what it does, its `Args:` exist, papers are named, and every option has help."""

import importlib
import inspect
import json
import pkgutil
import re
from pathlib import Path
from typing import Literal, get_args, get_origin

import numpy as np
import pytest

import synth_components
from synth_components import generators
from synth_components.config import Config

MIN_PUBLIC_OBJECTS = 400
"""A collection that finds fewer is broken.  Raise it as the package grows."""

SECTIONS = r"Args|Attributes|Raises|Returns|Yields|Source|Differs|Example|Note"


def modules():
    """Yield every module of the package that can be imported without an extra."""
    yield synth_components
    for found in pkgutil.walk_packages(synth_components.__path__, "synth_components."):
        if found.name.endswith("__main__"):
            continue
        try:
            yield importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("synth_components"):
                raise


MODULES = tuple(modules())


def public_objects():
    """Yield (name, object) of every public function and class, and of the public methods that a class defines."""
    for module in MODULES:
        for name, value in vars(module).items():
            is_own = getattr(value, "__module__", None) == module.__name__ and getattr(value, "__name__", name) == name
            if name.startswith("_") or not is_own or not (inspect.isfunction(value) or inspect.isclass(value)):
                continue
            yield f"{module.__name__}.{name}", value
            if not inspect.isclass(value):
                continue
            for method_name, method in vars(value).items():
                function = getattr(method, "__func__", getattr(method, "fget", method))
                if not method_name.startswith("_") and inspect.isfunction(function) and is_defined_in(function, value):
                    yield f"{module.__name__}.{name}.{method_name}", function


def is_defined_in(function, owner):
    """Return whether a method is written in the class: not generated, and not a default that is a function."""
    return function.__qualname__ == f"{owner.__qualname__}.{function.__name__}" and "def " in source_of(function)


def source_of(function):
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return ""


def is_tag(annotation):
    """Return whether an annotation is a literal of one choice."""
    return get_origin(annotation) is Literal and len(get_args(annotation)) == 1


OBJECTS = dict(public_objects())
CONFIGS = {
    name: value
    for name, value in OBJECTS.items()
    if inspect.isclass(value) and issubclass(value, Config) and value.model_fields
}


def summary(value):
    return (inspect.cleandoc(value.__doc__ or "") or " ").splitlines()[0]


def section(text, name):
    """Return the lines of one section of a docstring, '' if there is none."""
    found = re.search(rf"^{name}:[ ]*\n?(.*?)(?=^(?:{SECTIONS}):|\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def entries(text):
    """Return the names that a section explains: the words before a colon at its first indentation."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return []
    indent = min(len(line) - len(line.lstrip()) for line in lines)
    return [m[1] for line in lines if (m := re.match(rf" {{{indent}}}(\*{{0,2}}\w+)(?: \([^)]*\))?:", line))]


def test_the_collection_is_whole():
    assert len(OBJECTS) >= MIN_PUBLIC_OBJECTS
    assert {"synth_components.schema.Schema.from_json", "synth_components.encode.encode"} <= set(OBJECTS)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_a_module_has_a_summary(module):
    assert summary(module).strip(), "say in one line what the module holds"


def faults(complaint):
    """Return the names of public objects for which ``complaint`` returns a text, with the text."""
    return {name: said for name, value in OBJECTS.items() if (said := complaint(value))}


def test_every_public_name_has_a_summary_of_at_most_100_characters():
    def complaint(value):
        first = summary(value).strip()
        is_inherited = inspect.isclass(value) and value.__doc__ == getattr(value.__base__, "__doc__", None)
        return "no summary" if not first or is_inherited else "too long" if len(first) > 100 else ""

    assert faults(complaint) == {}


def test_every_summary_ends_its_sentence():
    assert faults(lambda value: "" if re.search(r"[.:?!]`*$", summary(value).strip()) else summary(value)) == {}


def test_every_explained_argument_exists():
    def complaint(value):
        explained = entries(section(inspect.cleandoc(value.__doc__ or ""), "Args"))
        known = {name for name in inspect.signature(value).parameters} if explained else set()
        return [name for name in explained if name.lstrip("*") not in known]

    assert faults(complaint) == {}


def test_every_explained_attribute_exists():
    def complaint(value):
        if not inspect.isclass(value):
            return []
        explained = entries(section(inspect.cleandoc(value.__doc__ or ""), "Attributes"))
        known = set(dir(value)) | {name for base in value.__mro__ for name in getattr(base, "__annotations__", {})}
        known |= set(inspect.signature(value.__init__).parameters)
        return [name for name in explained if name not in known]

    assert faults(complaint) == {}


def test_every_raised_error_that_is_explained_is_a_known_name():
    from synth_components import errors

    def complaint(value):
        explained = entries(section(inspect.cleandoc(value.__doc__ or ""), "Raises"))
        known = {
            *vars(errors),
            *vars(__builtins__ if inspect.ismodule(__builtins__) else importlib.import_module("builtins")),
        }
        return [
            name for name in explained if name not in known | {"ConfigError", "CheckError", "Refusal", "UsageError"}
        ]

    assert faults(complaint) == {}


@pytest.mark.parametrize("name", [name for name in generators.names() if name.startswith("tabular.")])
def test_every_generator_names_its_source_and_where_it_differs(name):
    text = f"{inspect.getdoc(generators.module_of(name))}\n{inspect.getdoc(generators.recipe_type(name))}"
    assert re.search(r"^Source: \S", text, re.MULTILINE)
    assert re.search(r"^Differs: \S", text, re.MULTILINE)


@pytest.mark.parametrize("name", [name for name in generators.names() if name.startswith("tabular.")])
def test_the_page_that_helps_to_choose_tells_of_every_generator_in_three_sentences(name):
    page = (Path(__file__).parents[1] / "docs" / "choosing.md").read_text(encoding="utf-8")
    told = [part for part in page.split("\n\n") if f"`{name}`" in part.split("**: ")[0] and part.startswith("**")]
    assert len(told) == 1
    assert len(re.findall(r"\.(?= [A-Z`]|\n|$)", told[0].split("**: ")[1])) == 3
    (table,) = [part for part in page.split("\n\n") if part.startswith("| you have |")]
    assert f"`{name}`" in table


def scores():
    """Return the first seed's C2ST against train that are committed, by generator and table."""
    results = Path(__file__).parents[1] / "benchmarks" / "results" / "flagship.jsonl"
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    found = {}
    for row in rows:
        if row["measure"] == "fidelity" and row["seed"] == 0 and "c2st_xgb_train" in row["values"]:
            found[row["generator"], row["dataset"]] = row["values"]["c2st_xgb_train"]
    return found


def test_the_page_that_helps_to_choose_tells_scores_that_are_committed_and_whose_they_are():
    page, held, seen = (Path(__file__).parents[1] / "docs" / "choosing.md").read_text(encoding="utf-8"), scores(), []
    for part in re.findall(r"^\*\*`tabular\.\w+`\*\*: .*?\n(?=\n|\Z)", page, re.MULTILINE | re.DOTALL):
        name = part.split("`")[1]
        if not any(generator == name for generator, _ in held):  # a figure of what was measured in its place
            assert " of 1" not in part or f"`peer.{name.removeprefix('tabular.')}`" in part, name
            continue
        for figure, table in re.findall(r"(\.\d+)(?:\s+of\s+1)?\s+on\s+(Adult|Beijing|Default|Magic|Shoppers)\b", part):
            assert f"{held[name, table.lower()]:.{len(figure) - 1}f}" == f"0{figure}", (name, table)
            seen.append(name)
    assert seen.count("tabular.hybrid") == 5  # what it is worth
    assert len(seen) > 10


def test_the_page_that_helps_to_choose_tells_how_far_conditions_are_from_exact():
    root = Path(__file__).parents[1]
    results = (root / "benchmarks" / "results" / "conditioning.jsonl").read_text(encoding="utf-8").splitlines()
    page, off = (root / "docs" / "choosing.md").read_text(encoding="utf-8"), {}
    for row in map(json.loads, results):
        assert row["met"] == 1
        off.setdefault(row["generator"], []).append((row["own_mean"], row["own_largest"]))
    mean, largest = (np.array(off["tabular.autoregressive"])[:, place] for place in (0, 1))
    (told,) = [part for part in page.split("\n\n") if part.startswith("**`tabular.autoregressive`**")]
    figures = f"{mean.mean():.3f}".lstrip("0"), f"{largest.max():.2f}".lstrip("0")
    assert "by {} in the mean and {} at most".format(*figures) in " ".join(told.split())
    (advice,) = [line for line in page.splitlines() if line.startswith("| conditions on any columns |")]
    assert "{} in the mean, {} at most".format(*figures) in advice


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_option_has_a_description(config):
    # A literal of one choice is the tag of a kind, not an option.
    silent = [
        name
        for name, field in config.model_fields.items()
        if not is_tag(field.annotation) and not (field.description or "").strip()
    ]
    assert silent == []


def test_the_entries_of_a_section_are_found():
    text = "Do.\n\nArgs:\n    a: first\n        more: of it\n    *b: second\nRaises:\n    ValueError: never"
    assert entries(section(text, "Args")) == ["a", "*b"]
    assert entries(section(text, "Raises")) == ["ValueError"]
