import json
from typing import Literal

import click
import pytest
from pydantic import BaseModel, Field

from synth_components.config import ConfigError, StepConfig
from synth_components.errors import DataError
from synth_components.generators import recipe_type
from synth_components.steps import STEPS, load
from synth_components.steps.command import StepCommand, flattened, options_of
from synth_components.steps.port import InDataset, InDatasets, OptionalOutPage, OutReport, config_of, ports

SEEN: list[tuple[StepConfig, dict[str, object]]] = []


class Inner(StepConfig):
    depth: int = Field(2, ge=1, description="Depth.")


class Knobs(StepConfig):
    count: int = Field(3, ge=1, lt=2**53, description="How many.")
    names: tuple[str, ...] = Field((), description="Which.")
    is_sorted: bool = Field(True, description="In order.")
    kind: Literal["a", "b"] = Field("a", description="What kind.")
    inner: Inner = Field(Inner(), description="More.")
    generator: str = Field("tabular.independent", description="Name.")
    generator_options: dict[str, object] = Field({}, description="Its options.")


def look(config: Knobs, *, data: InDataset, more: InDatasets, report: OutReport, page: OptionalOutPage = None) -> None:
    """Look at things.

    Args:
        data: A table.
        more: More tables.
        report: A report.
        page: A page.
    """
    SEEN.append((config, {"data": data, "more": more, "report": report, "page": page}))


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("x\n1\n")
    (tmp_path / "u.csv").write_text("x\n2\n")
    SEEN.clear()

    def call(*args, bare=False):
        needed = () if bare else ("--data", "t.csv", "--more", "t.csv", "--more", "u.csv", "--report", "r.json")
        StepCommand("look", look).main([*needed, *args], standalone_mode=False)
        return SEEN[-1]

    return call


def test_options_default_to_the_config(run):
    config, places = run()
    assert config == Knobs()
    assert [str(part) for part in places["more"]] == ["t.csv", "u.csv"]
    assert places["page"] is None


def test_every_kind_of_option_takes_one_value(run):
    config, _ = run(
        "--count", "7", "--names", "x,y", "--is-sorted", "false", "--kind", "b", "--inner", '{"depth": 4}'
    )  # fmt: skip
    assert config == Knobs(count=7, names=("x", "y"), is_sorted=False, kind="b", inner=Inner(depth=4))


def test_a_list_of_names_may_be_json_for_names_with_commas(run):
    assert run("--names", '["a,b", "c"]')[0].names == ("a,b", "c")


def test_generator_options_are_flattened_on_the_command_line(run):
    config, _ = run("--generator.knots", "50", "--generator", "tabular.independent")
    assert config.generator_options == {"knots": 50}


def test_a_flattened_option_keeps_its_own_rule(run):
    with pytest.raises(click.BadParameter, match="greater than or equal to 2"):
        run("--generator.knots", "1")


def test_the_command_line_wins_over_the_file(run, tmp_path):
    (tmp_path / "options.yaml").write_text("count: 9\nkind: b\ngenerator_options: {knots: 20, min_category_count: 5}\n")
    config, _ = run("options.yaml", "--count", "4", "--generator.knots", "30")
    assert (config.count, config.kind) == (4, "b")
    assert config.generator_options == {"knots": 30, "min_category_count": 5}


def test_the_file_may_hold_the_paths(run, tmp_path):
    (tmp_path / "all.json").write_text(json.dumps({"data": "t.csv", "more": ["u.csv"], "report": "r.json"}))
    _, places = run("all.json", bare=True)
    assert [str(places[name]) for name in ("data", "report")] == ["t.csv", "r.json"]


def test_an_error_in_the_file_names_file_and_entry(run, tmp_path):
    (tmp_path / "o.yaml").write_text("inner: {depth: 0}\n")
    with pytest.raises(ConfigError, match=r"'o.yaml', entry 'inner.depth'"):
        run("o.yaml")


def test_an_unknown_entry_of_the_file_is_refused_with_the_known_ones(run, tmp_path):
    (tmp_path / "o.yaml").write_text("cuont: 3\n")
    with pytest.raises(ConfigError, match=r"unknown entry 'cuont'.*count"):
        run("o.yaml")


def test_broken_yaml_is_refused_with_its_line(run, tmp_path):
    (tmp_path / "o.yaml").write_text("count: 3\nkind: [a\n")
    with pytest.raises(DataError, match="line 3"):
        run("o.yaml")


def test_a_table_in_place_of_the_option_file_is_refused(run):
    with pytest.raises(DataError, match=r"'t.csv' must be a \.json"):
        run("t.csv")


def test_a_missing_port_is_named(run):
    with pytest.raises(ConfigError, match="--report is missing"):
        run("--data", "t.csv", "--more", "t.csv", bare=True)


def test_an_input_that_does_not_exist_is_refused(run):
    with pytest.raises(DataError, match=r"--data: there is no file or folder 'nowhere.csv'"):
        run("--data", "nowhere.csv")


def test_only_tables_may_lie_on_s3(run):
    assert run("--data", "s3://bucket/t.csv")[1]["data"] == "s3://bucket/t.csv"
    with pytest.raises(DataError, match="--report must be a local path"):
        run("--report", "s3://bucket/r.json")


def test_a_record_lies_beside_the_first_output(run, tmp_path):
    run("--count", "5")
    record = json.loads((tmp_path / "r.json.run.json").read_text())
    assert record["config"]["count"] == 5
    assert record["ports"]["more"] == ["t.csv", "u.csv"]
    assert record["seconds"] >= 0


@pytest.mark.parametrize("name", STEPS)
def test_options_are_exactly_the_ports_and_fields_of_the_step(name):
    step = load(name)
    cls = config_of(step)
    flat = set(flattened(cls).values())
    fields = [field for field in cls.model_fields if field not in flat]
    streams = {name: ["--output"] for name, port in ports(step).items() if port.is_stream}
    assert [option.opts for option in options_of(step)] == [
        [f"--{wanted.replace('_', '-')}", *streams.get(wanted, [])] for wanted in (*ports(step), *fields)
    ]


@pytest.mark.parametrize("name", STEPS)
def test_no_option_of_a_step_hides_one_that_every_command_has(name):
    flags = [flag for option in options_of(load(name)) for flag in option.opts]
    assert not {"--quiet", "--log-format", "--debug", "--help"} & set(flags)
    assert len(flags) == len(set(flags))


@pytest.mark.parametrize("name", STEPS)
def test_every_config_round_trips_through_the_command_line_dialect(name):
    from synth_components.config import from_strings, to_strings

    cls = config_of(load(name))
    assert issubclass(cls, BaseModel)
    assert from_strings(cls, to_strings(cls())) == cls()


def test_help_of_train_lists_the_options_of_the_named_generator(capsys):
    command = StepCommand("train", load("train"))
    command.main(["--generator", "tabular.independent", "--help"], standalone_mode=False)
    shown = capsys.readouterr().out
    for option, field in recipe_type("tabular.independent").model_fields.items():
        assert f"--generator.{option}" in shown
        assert f"default: {field.default}" in " ".join(shown.split())
