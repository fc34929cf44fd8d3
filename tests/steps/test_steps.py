import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from synth_components.augment import AugmentConfig
from synth_components.config import ConfigError, from_strings, to_strings
from synth_components.errors import (
    ArtifactError,
    ConditionError,
    DataError,
    GuardError,
    SchemaError,
    ThresholdError,
    UnsupportedError,
)
from synth_components.evaluation.options import EvaluateConfig, FidelityConfig, PrivacyConfig, UtilityConfig
from synth_components.io.artifact import fingerprint_of, reasons_of
from synth_components.io.dataset import read_table
from synth_components.model import Model
from synth_components.schema import TABLE, Key, Numeric, Schema, Text, Unit
from synth_components.steps import STEPS, load
from synth_components.steps.evaluate import evaluate, evaluate_fidelity, evaluate_privacy, evaluate_tstr
from synth_components.steps.gate import GateConfig, gate
from synth_components.steps.merge import MergeConfig, merge
from synth_components.steps.port import details
from synth_components.steps.profile import profile
from synth_components.steps.report import ReportConfig, report
from synth_components.steps.report_file import read_report
from synth_components.steps.run import RunConfig, run
from synth_components.steps.sample import SampleConfig, sample
from synth_components.steps.select import SelectConfig, select
from synth_components.steps.split import SplitConfig, split
from synth_components.steps.train import TrainConfig, train

QUICK = {
    "replicates": 10, "detector_rows": 60, "detector_folds": 2, "manifold_rows": 60, "global_utility": False
}  # fmt: skip
INDEPENDENT = TrainConfig(generator="tabular.independent")


def people(rows=240, seed=0):
    """A table with nulls, dates, categories and several rows a person."""
    rng = np.random.default_rng(seed)
    age = rng.integers(20, 80, rows)
    return pd.DataFrame(
        {
            "person": np.arange(rows) // 3,
            "age": age,
            "income": np.where(rng.random(rows) < 0.2, np.nan, rng.normal(3e4, 5e3, rows).round(2)),
            "city": rng.choice(["Rome", "Oslo", "Bonn"], rows),
            "seen": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, rows), unit="D"),
            "outcome": np.where(age + rng.normal(0, 10, rows) > 50, "ill", "well"),
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a table, its parts, a model and a sample, made by the steps themselves."""
    folder = tmp_path_factory.mktemp("steps")
    people().to_csv(folder / "real.csv", index=False)
    split(
        SplitConfig(share=0.4, unit=("person",)),
        data=folder / "real.csv", train=folder / "train.parquet", holdout=folder / "holdout.parquet",
    )  # fmt: skip
    train(INDEPENDENT, data=folder / "train.parquet", model=folder / "model")
    sample(SampleConfig(num_rows=150), model=folder / "model", synthetic=folder / "synthetic.parquet")
    return folder


@pytest.fixture(scope="module")
def judged(folder):
    """The folder, with a report of all groups."""
    evaluate(
        EvaluateConfig(**QUICK, target="outcome"),
        train=folder / "train.parquet", holdout=folder / "holdout.parquet", synthetic=folder / "synthetic.parquet",
        model=folder / "model", report=folder / "report.json", page=folder / "report.html",
    )  # fmt: skip
    return folder


@pytest.mark.parametrize("odd", ["A7", "0.5"])
def test_a_hashed_split_of_declared_columns_moves_no_row_for_one_more(tmp_path, odd):
    column = Text() if odd == "A7" else Numeric(dtype="float64", places=1)
    schema = Schema({TABLE: {"code": column, "n": Numeric(dtype="int64", places=0)}})
    (tmp_path / "schema.json").write_text(schema.canonical())
    rows = [f"{number % 97},{number}" for number in range(300)]
    sides = []
    for name, lines in {"before": rows, "after": [*rows, f"{odd},-1"]}.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(["code,n", *lines]) + "\n")
        split(
            SplitConfig(seed=3, privacy="dp"),
            data=tmp_path / f"{name}.csv",
            schema=tmp_path / "schema.json",
            train=tmp_path / f"{name}_train.parquet",
            holdout=tmp_path / f"{name}_holdout.parquet",
        )
        sides.append(set(pd.read_parquet(tmp_path / f"{name}_holdout.parquet")["n"]) - {-1})
    assert sides[0] == sides[1]
    assert 30 < len(sides[0]) < 90


def test_a_private_split_tells_no_count(tmp_path, caplog):
    people().to_parquet(tmp_path / "real.parquet", index=False)
    told = {}
    for privacy in ("none", "dp"):
        caplog.clear()
        with caplog.at_level("INFO"):
            split(
                SplitConfig(privacy=privacy),
                data=tmp_path / "real.parquet",
                train=tmp_path / "train.csv",
                holdout=tmp_path / "holdout.csv",
            )
        told[privacy] = caplog.text
    assert re.search(r"split \d+ training rows from \d+ held-out rows", told["none"])
    assert "split training rows from held-out rows" in told["dp"]


def test_whole_units_that_the_schema_does_not_name_are_refused_for_a_private_fit(folder, tmp_path):
    """Its epsilon would be of a row, or of another unit, whatever the split kept together."""
    out = {"data": folder / "real.csv", "train": tmp_path / "a.csv", "holdout": tmp_path / "b.csv"}
    columns = {"person": Key(dtype="int64"), "city": Text()}
    schema = Schema({TABLE: columns}, unit=Unit(TABLE, ("person",), 3))
    for name, named in {"other": ("city",), "none": ()}.items():
        (tmp_path / f"{name}.json").write_text(replace(schema, unit=Unit(TABLE, named, 3)).canonical())
    for given in (None, tmp_path / "none.json", tmp_path / "other.json"):
        with pytest.raises(ConfigError, match="an epsilon is of the unit that the schema names"):
            split(SplitConfig(unit=("person",), privacy="dp"), schema=given, **out)
    assert not (tmp_path / "a.csv").exists()
    split(SplitConfig(unit=("person",), hashed=True), **out)
    (tmp_path / "schema.json").write_text(schema.canonical())
    split(SplitConfig(unit=("person",), privacy="dp"), schema=tmp_path / "schema.json", **out)


def test_split_keeps_each_person_on_one_side(folder):
    kept, held = read_table(folder / "train.parquet"), read_table(folder / "holdout.parquet")
    assert not set(kept["person"]) & set(held["person"])
    assert len(kept) + len(held) == 240
    assert held["person"].nunique() == 32  # 0.4 of 80 people


def test_split_takes_the_unit_from_the_schema(folder, tmp_path):
    declared = {
        "columns": {"person": {"type": "key"}},
        "unit": {"table": "table", "columns": ["person"], "max_rows": 3},
    }
    (tmp_path / "schema.json").write_text(json.dumps(declared))
    split(
        SplitConfig(), data=folder / "real.csv", schema=tmp_path / "schema.json",
        train=tmp_path / "a.csv", holdout=tmp_path / "b.csv",
    )  # fmt: skip
    assert not set(read_table(tmp_path / "a.csv")["person"]) & set(read_table(tmp_path / "b.csv")["person"])


def test_profile_writes_a_schema_that_train_reads(folder, tmp_path):
    from synth_components.profile import ProfileConfig

    profile(ProfileConfig(), data=folder / "train.parquet", schema=tmp_path / "s.json", statistics=tmp_path / "p.json")
    train(INDEPENDENT, data=folder / "train.parquet", schema=tmp_path / "s.json", model=tmp_path / "model")
    assert list(Model.load(tmp_path / "model").schema.columns) == list(people())
    assert json.loads((tmp_path / "p.json").read_text())


def test_train_again_replaces_the_model(folder, tmp_path):
    for _ in range(2):
        train(INDEPENDENT, data=folder / "train.parquet", model=tmp_path / "model")
    assert Model.load(tmp_path / "model").manifest.generator == "tabular.independent"


def test_train_refuses_generator_options_before_it_reads_the_data(tmp_path):
    config = TrainConfig(generator="tabular.independent", generator_options={"knot": 3})
    with pytest.raises(ConfigError, match="knots"):
        train(config, data=tmp_path / "absent.csv", model=tmp_path / "model")


@pytest.mark.parametrize(
    ("options", "start", "message"),
    [
        ({"monitor_every": 1}, False, "asks no monitor while it trains"),
        ({}, True, "does not go on from a model"),
        ({"generator": "tabular.ensemble", "privacy": "dp"}, True, "learned outside of epsilon"),
    ],
)
def test_train_refuses_a_monitor_and_a_start_before_it_reads_the_data(tmp_path, options, start, message):
    config = TrainConfig(**{"generator": "tabular.independent", **options})
    with pytest.raises(UnsupportedError, match=message):
        train(
            config,
            data=tmp_path / "absent.csv",
            start=tmp_path / "absent" if start else None,
            model=tmp_path / "m",
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"monitor_every": 2, "privacy": "dp"}, "reads rows without noise"),
        ({"monitor_patience": 2}, "monitor_patience means nothing without monitor_every"),
        ({"monitor_alert": 0.5}, "monitor_alert means nothing"),
        ({"monitor_share": 0.2}, "monitor_share means nothing"),
    ],
)
def test_a_monitor_of_private_rows_and_options_of_none_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig.parse(options)


def test_a_fit_goes_on_from_a_model_and_the_report_tells_the_drift(folder, tmp_path, caplog):
    """The dates of a CSV are read by the schema of the start, and drift is told without the values."""
    new = people(seed=1).assign(city=lambda table: table["city"].where(table.index > 30, "Turin"))
    new.assign(weight=70.5).to_csv(tmp_path / "new.csv", index=False)
    config = TrainConfig(generator="tabular.ensemble", generator_options={"generators": ["tabular.independent"]})
    train(config, data=tmp_path / "new.csv", start=folder / "model", model=tmp_path / "model")
    before, after = Model.load(folder / "model"), Model.load(tmp_path / "model")
    assert after.schema.columns == before.schema.columns
    (said,) = reasons_of(tmp_path / "model")
    assert said.startswith(f"The fit went on from model {before.manifest.identity} (tabular.independent); drift")
    assert "column 'city' has 31 of 240 values outside" in said
    assert "Turin" not in said
    assert "drift: the model to go on from has no column 'weight'; it is not learnt" in caplog.messages


def test_train_refuses_a_known_seed_under_differential_privacy(tmp_path):
    with pytest.raises(ConfigError, match="seed"):
        train(TrainConfig(privacy="dp", seed=5), data=tmp_path / "absent.csv", model=tmp_path / "model")


def test_four_shards_joined_are_the_rows_of_one(folder, tmp_path):
    rows = 40_000  # three blocks, so that one of four shards is empty
    sample(SampleConfig(num_rows=rows, seed=7), model=folder / "model", synthetic=tmp_path / "whole.parquet")
    parts = tuple(tmp_path / f"part-{index}.parquet" for index in range(4))
    for index, part in enumerate(parts):
        config = SampleConfig(num_rows=rows, seed=7, shard_index=index, num_shards=4)
        sample(config, model=folder / "model", synthetic=part)
    merge(MergeConfig(), parts=parts, merged=tmp_path / "merged.parquet")
    assert min(len(read_table(part)) for part in parts) == 0
    pd.testing.assert_frame_equal(read_table(tmp_path / "merged.parquet"), read_table(tmp_path / "whole.parquet"))


def test_same_seed_gives_the_same_bytes_and_another_seed_others(folder, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        sample(SampleConfig(num_rows=50, seed=seed), model=folder / "model", synthetic=tmp_path / f"{name}.csv")
    first, again, other = ((tmp_path / f"{name}.csv").read_bytes() for name in "abc")
    assert first == again
    assert first != other


def test_sample_keeps_the_columns_asked_for(folder, tmp_path):
    sample(SampleConfig(num_rows=5, columns=("city", "age")), model=folder / "model", synthetic=tmp_path / "s.csv")
    assert list(read_table(tmp_path / "s.csv")) == ["city", "age"]


def test_sample_refuses_an_unknown_column_and_writes_nothing(folder, tmp_path):
    with pytest.raises(SchemaError, match="'town'"):
        sample(SampleConfig(columns=("town",)), model=folder / "model", synthetic=tmp_path / "s.csv")
    assert list(tmp_path.iterdir()) == []


def test_sample_obeys_a_map_of_conditions(folder, tmp_path):
    asked = tmp_path / "asked.yaml"
    asked.write_text("city: [Rome, Oslo]\noutcome: ill\nage: {low: 60}\n")
    sample(SampleConfig(num_rows=40), model=folder / "model", conditions=asked, synthetic=tmp_path / "s.parquet")
    rows = read_table(tmp_path / "s.parquet")
    assert len(rows) == 40
    assert set(rows["city"]) <= {"Rome", "Oslo"}
    assert set(rows["outcome"]) == {"ill"}
    assert rows["age"].min() >= 60


def test_sample_gives_one_row_per_request_row(folder, tmp_path):
    requests = pd.DataFrame({"city": ["Rome", None, "Bonn"], "outcome": "ill"})
    requests.to_csv(tmp_path / "asked.csv", index=False)
    sample(SampleConfig(), model=folder / "model", conditions=tmp_path / "asked.csv", synthetic=tmp_path / "s.csv")
    rows = read_table(tmp_path / "s.csv")
    assert len(rows) == 3
    assert rows["city"].tolist()[::2] == ["Rome", "Bonn"]
    assert rows["outcome"].tolist() == ["ill"] * 3


def test_a_condition_of_the_wrong_form_names_its_column(folder, tmp_path):
    (tmp_path / "asked.json").write_text('{"age": {"from": 3}}')
    with pytest.raises(ConditionError, match="'age'"):
        sample(SampleConfig(), model=folder / "model", conditions=tmp_path / "asked.json", synthetic=tmp_path / "s.csv")


@pytest.mark.parametrize("options", [{"shard_index": 2, "num_shards": 2}, {"num_shards": 2, "seed": -1}])
def test_shards_that_do_not_fit_together_are_refused(options):
    with pytest.raises(ConfigError):
        SampleConfig.parse(options)


def test_merge_refuses_parts_with_other_columns(tmp_path):
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "b.csv").write_text("y\n1\n")
    with pytest.raises(DataError, match="part 2"):
        merge(MergeConfig(), parts=(tmp_path / "a.csv", tmp_path / "b.csv"), merged=tmp_path / "c.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b.csv"]


@pytest.mark.parametrize(
    ("step", "config", "group"),
    [
        (evaluate_fidelity, FidelityConfig(**{k: v for k, v in QUICK.items() if k != "global_utility"}), "fidelity"),
        (evaluate_tstr, UtilityConfig(replicates=10, global_utility=False, target="outcome"), "utility"),
        (evaluate_privacy, PrivacyConfig(replicates=10), "privacy"),
    ],
)
def test_each_evaluation_scores_its_group(folder, tmp_path, step, config, group):
    step(
        config,
        train=folder / "train.parquet", holdout=folder / "holdout.parquet", synthetic=folder / "synthetic.parquet",
        report=tmp_path / "report.json",
    )  # fmt: skip
    found = {score.name.partition(".")[0] for score in read_report(tmp_path / "report.json").scores}
    assert found - {"validity"} == {group}


def test_evaluate_writes_the_report_even_if_it_misses_its_threshold(folder, tmp_path):
    config = PrivacyConfig(replicates=10, min_quality=1.0)
    with pytest.raises(ThresholdError, match="min_quality"):
        evaluate_privacy(
            config,
            train=folder / "train.parquet", holdout=folder / "holdout.parquet", synthetic=folder / "train.parquet",
            report=tmp_path / "report.json",
        )  # fmt: skip
    assert read_report(tmp_path / "report.json").overall.value < 1


def test_evaluate_writes_a_report_and_a_page(judged):
    assert read_report(judged / "report.json").overall.value > 0
    assert (judged / "report.html").read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")


def test_report_draws_the_page_again_and_markdown(judged, tmp_path):
    report(ReportConfig(), report=judged / "report.json", page=tmp_path / "p.html", text=tmp_path / "p.md")
    assert (tmp_path / "p.html").read_bytes() == (judged / "report.html").read_bytes()
    assert (tmp_path / "p.md").read_text(encoding="utf-8").startswith("#")


def test_what_is_no_report_is_refused(tmp_path):
    (tmp_path / "r.json").write_text('{"scores": 3}')
    with pytest.raises(ArtifactError, match=r"r\.json"):
        gate(GateConfig(), report=tmp_path / "r.json")


def test_gate_passes_what_it_reaches_and_names_all_that_it_misses(judged):
    gate(GateConfig(min_quality=0.01, min_scores={"fidelity.shape": 0.01}), report=judged / "report.json")
    hard = GateConfig(min_quality=1.0, min_scores={"fidelity.shape": 1.1}, max_scores={"privacy.dcr.share": 0.0})
    with pytest.raises(ThresholdError, match=r"3 of its thresholds.*overall.*fidelity\.shape.*privacy\.dcr\.share"):
        gate(hard, report=judged / "report.json")


def test_gate_holds_the_strongest_membership_attack_against_its_threshold(judged):
    gate(GateConfig(max_membership_inference_score=0.99), report=judged / "report.json")
    asked = GateConfig(max_membership_inference_score=0.01, max_scores={"privacy.membership.auc": 0.9})
    with pytest.raises(ThresholdError, match=r"membership\.auc is .*, at most 0\.01 is allowed"):
        gate(asked, report=judged / "report.json")


def test_gate_lets_no_risk_above_three_tenths_pass_unless_told_to(judged, tmp_path, caplog):
    def gated(scores, **options):
        value = json.loads((judged / "report.json").read_text(encoding="utf-8"))
        told = {"interval": None, "deviation": 0.0, "floor": 0.0, "ideal": 0.0, "subject": []}
        value["scores"] = [{"name": name, "value": one, **told} for name, one in scores.items()]
        (tmp_path / "report.json").write_text(json.dumps(value))
        gate(GateConfig(**options), report=tmp_path / "report.json")

    gated({"privacy.risk": 0.3})
    gated({"privacy.risk": 0.9}, max_risk=1.0)
    gated({"fidelity.shape": 0.9})  # no attack was tried, and none was asked for
    with pytest.raises(ThresholdError, match=r"privacy\.risk is 0\.31, at most 0\.3 is allowed"):
        gated({"privacy.risk": 0.31})
    assert "nobody said max_risk: no risk was held" in caplog.text
    assert "the report tells nothing of exact copies and near copies" in caplog.text
    for said in (0.2, 0.3, 0.9):
        with pytest.raises(DataError, match=r"no score 'privacy\.risk'; evaluate with attacks"):
            gated({"fidelity.shape": 0.9}, max_risk=said)
    gated({"fidelity.shape": 0.9}, max_risk=1.0)
    with pytest.raises(DataError, match="evaluate with attacks"):
        gated({"privacy.risk": 0.1}, max_membership_inference_score=0.9)


def test_gate_holds_what_few_records_do_not_rule_out_if_it_is_asked_to(judged, tmp_path):
    def gated(risk, interval, **options):
        value = json.loads((judged / "report.json").read_text(encoding="utf-8"))
        told = {"deviation": 0.0, "floor": 0.0, "ideal": 0.0, "subject": []}
        value["scores"] = [{"name": name, "value": risk, "interval": interval, **told} for name in options.pop("names")]
        (tmp_path / "report.json").write_text(json.dumps(value))
        gate(GateConfig(**options), report=tmp_path / "report.json")

    names = ("privacy.risk",)
    gated(0.1, [0.1, 0.6], names=names)
    gated(0.1, [0.1, 0.6], names=names, max_risk_upper=0.6)
    with pytest.raises(ThresholdError, match=r"could be as large as 0\.6, at most 0\.5 is allowed"):
        gated(0.1, [0.1, 0.6], names=names, max_risk_upper=0.5)
    with pytest.raises(ThresholdError, match=r"could be as large as 0\.2"):
        gated(0.2, None, names=names, max_risk_upper=0.1)
    with pytest.raises(DataError, match="no score"):
        gated(0.9, None, names=("fidelity.shape",), max_risk_upper=0.5)


def test_gate_holds_the_epsilon_of_the_model_against_its_threshold(judged, tmp_path):
    given = {"report": judged / "report.json"}
    with pytest.raises(ThresholdError, match="the model's epsilon is not bounded, at most 1 is allowed"):
        gate(GateConfig(max_epsilon=1.0), model=judged / "model", **given)
    with pytest.raises(ConfigError, match="give the model too"):
        gate(GateConfig(max_epsilon=1.0), **given)
    declared = {"type": "numeric", "dtype": "float64", "low": 0, "high": 1, "public": True}
    (tmp_path / "schema.json").write_text(json.dumps({"columns": {"age": declared}}))
    pd.DataFrame({"age": [0.5]}).to_csv(tmp_path / "rows.csv", index=False)
    specified = TrainConfig(generator="tabular.specified", privacy="dp", units=1)
    train(specified, data=tmp_path / "rows.csv", schema=tmp_path / "schema.json", model=tmp_path / "model")
    with pytest.raises(GuardError, match="the report is of rows"):
        gate(GateConfig(max_epsilon=1e-9), model=tmp_path / "model", **given)  # of the other model
    said = json.loads((judged / "report.json").read_text(encoding="utf-8"))
    said["judged"]["model"] = fingerprint_of(tmp_path / "model")
    (tmp_path / "report.json").write_text(json.dumps(said))
    gate(GateConfig(max_epsilon=1e-9), model=tmp_path / "model", report=tmp_path / "report.json")  # it read no row


def test_gate_lets_no_report_without_an_overall_score_pass(judged, tmp_path):
    value = json.loads((judged / "report.json").read_text(encoding="utf-8"))
    value["rows"]["synthetic"] = 1
    (tmp_path / "few.json").write_text(json.dumps(value))
    with pytest.raises(ThresholdError, match=r"there is no overall score, at least 0\.01 is asked for"):
        gate(GateConfig(min_quality=0.01), report=tmp_path / "few.json")


def test_gate_refuses_a_score_that_the_report_lacks(judged):
    with pytest.raises(DataError, match=r"did you mean 'fidelity\.shape'"):
        gate(GateConfig(min_scores={"fidelity.shpe": 0.5}), report=judged / "report.json")


def test_select_keeps_the_best_report_and_its_model(judged, tmp_path):
    better = json.loads((judged / "report.json").read_text())
    better["overall"]["value"] = 1.0
    (tmp_path / "better.json").write_text(json.dumps(better))
    shutil.copytree(judged / "model", tmp_path / "other")
    (tmp_path / "other" / "mark").write_text("")
    select(
        SelectConfig(),
        reports=(judged / "report.json", tmp_path / "better.json"), models=(judged / "model", tmp_path / "other"),
        report=tmp_path / "best.json", model=tmp_path / "best",
    )  # fmt: skip
    assert read_report(tmp_path / "best.json").overall.value == 1.0
    assert (tmp_path / "best" / "mark").exists()


@pytest.mark.parametrize("epsilon", [0.0, 1.0])
def test_select_chooses_among_no_models_of_which_one_is_private(judged, tmp_path, epsilon):
    model = Model.load(judged / "model")
    stated = model.manifest.privacy.model_copy(update={"epsilon": epsilon})
    replace(model, manifest=model.manifest.model_copy(update={"privacy": stated})).save(tmp_path / "private")
    both = {"reports": (judged / "report.json",) * 2, "models": (judged / "model", tmp_path / "private")}
    for more in ({}, {"model": tmp_path / "best"}):
        with pytest.raises(UnsupportedError, match="reads rows that no epsilon counts"):
            select(SelectConfig(), **both, report=tmp_path / "best.json", **more)
    assert not (tmp_path / "best.json").exists()
    alone = {"reports": both["reports"][:1], "models": both["models"][1:]}
    select(SelectConfig(), **alone, report=tmp_path / "best.json", model=tmp_path / "best")  # no choice


def test_select_refuses_models_that_do_not_match_the_reports(judged, tmp_path):
    with pytest.raises(DataError, match="2 reports and 1 models"):
        select(
            SelectConfig(),
            reports=(judged / "report.json",) * 2, models=(judged / "model",), report=tmp_path / "best.json",
        )  # fmt: skip


def test_run_goes_the_whole_way_then_skips_what_did_not_change(folder, tmp_path, caplog):
    config = RunConfig(
        train=INDEPENDENT,
        sample=SampleConfig(num_rows=60),
        evaluate=EvaluateConfig(**QUICK, target="outcome"),
        gate=GateConfig(min_quality=0.01),
        augment=(AugmentConfig(mode="balance", columns=("outcome",)),),
    )
    output = tmp_path / "out"

    def skipped(config):
        run(config, data=folder / "real.csv", output=output)
        return {s["step"]: s["skipped"] for s in json.loads((output / "run.json").read_text())["stages"]}

    first, again = skipped(config), skipped(config)
    resampled = skipped(config.model_copy(update={"sample": SampleConfig(num_rows=70)}))
    (output / "augmented.parquet").unlink()
    repaired = skipped(config.model_copy(update={"sample": SampleConfig(num_rows=70)}))

    stages = ["split", "train", "sample", "evaluate", "gate", "augmented"]
    assert first == dict.fromkeys(stages, False)
    assert again == dict.fromkeys(stages, True)
    assert [stage for stage in stages if not resampled[stage]] == ["sample", "evaluate", "gate"]
    assert [stage for stage in stages if not repaired[stage]] == ["augmented"]
    counts = read_table(output / "augmented.parquet")["outcome"].value_counts()
    assert counts.nunique() == 1
    assert not list(output.glob(".*"))
    assert read_report(output / "report.json").notes[0].startswith("The holdout was split off the real rows before")


def test_the_score_names_in_the_examples_of_the_help_exist_in_a_report(judged):
    names = {score.name for score in read_report(judged / "report.json").scores}
    shown = {
        name
        for step in STEPS
        for thresholds in re.findall(r"--(?:min|max)-scores '(.*)'", details(load(step)))
        for name in json.loads(thresholds)
    }
    assert shown
    assert shown <= names


def test_run_stops_at_a_missed_gate_and_keeps_the_report(folder, tmp_path):
    config = RunConfig(
        train=INDEPENDENT,
        sample=SampleConfig(num_rows=60),
        evaluate=EvaluateConfig(**QUICK),
        gate=GateConfig(min_quality=1.0),
        augment=(AugmentConfig(),),
    )
    with pytest.raises(ThresholdError, match="overall"):
        run(config, data=folder / "real.csv", output=tmp_path)
    assert (tmp_path / "report.html").exists()
    assert not (tmp_path / "augmented.parquet").exists()


@pytest.mark.parametrize("asked", [{}, {"min_quality": GateConfig().min_quality}])
def test_run_gates_only_if_asked_and_then_even_with_the_defaults(asked, folder, tmp_path):
    options = {"train": {"generator": "tabular.independent"}, "sample": {"num_rows": 60}, "evaluate": QUICK}
    stages = {}
    for name, config in {
        "gated": RunConfig.parse({**options, "gate": asked}),
        "free": RunConfig.parse(options),
    }.items():
        run(config, data=folder / "real.csv", output=tmp_path / name)
        stages[name] = [stage["step"] for stage in json.loads((tmp_path / name / "run.json").read_text())["stages"]]
    assert stages["free"] == ["split", "train", "sample", "evaluate"]
    assert stages["gated"] == [*stages["free"], "gate"]


def test_run_takes_one_augmentation_without_a_list():
    config = RunConfig.parse({"augment": {"mode": "multiply", "factor": 3}})
    assert config.augment == (AugmentConfig(mode="multiply", factor=3),)


def test_an_error_in_the_options_of_a_stage_names_the_entry():
    with pytest.raises(ConfigError, match=r"'train\.epsilon'"):
        RunConfig.parse({"train": {"epsilon": -1}})


@pytest.mark.parametrize("budget", [{"epsilon": 1.0}, {"delta": 1e-6}, {"epsilon": 2.0, "privacy": "none"}])
def test_a_budget_without_privacy_dp_is_refused_and_never_ignored(budget):
    with pytest.raises(ConfigError, match=f"{next(iter(budget))} is kept only with privacy=dp"):
        TrainConfig.parse(budget)


def test_the_options_of_a_fit_without_privacy_are_themselves_again():
    for config in (TrainConfig(), TrainConfig(privacy="dp", epsilon=2.0)):
        assert TrainConfig.parse(config.model_dump(mode="json")) == config
        assert from_strings(TrainConfig, to_strings(config)) == config
