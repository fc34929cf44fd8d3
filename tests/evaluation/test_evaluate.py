"""What a report must say on tables whose truth is known, because they were made that way."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import synth_components.evaluation as judge
from synth_components.constraints import Inequality
from synth_components.errors import ArtifactError, DataError, SchemaError
from synth_components.evaluation import (
    METRICS,
    EvaluateConfig,
    FidelityConfig,
    PrivacyConfig,
    Report,
    UtilityConfig,
    evaluate,
)
from synth_components.evaluation.association import association
from synth_components.evaluation.detection import detection
from synth_components.evaluation.fidelity import marginal, missing
from synth_components.evaluation.validity import validity
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Context, Dataset
from synth_components.schema import Boolean, Categorical, Datetime, Numeric, Schema, Text

CANARY = "Zanzibarian-7731"
SMALL = {"replicates": 10, "detector_rows": 400, "detector_folds": 2, "manifold_rows": 200, "global_utility": False}


def draw(n, seed):
    """Rows of one law: x and y correlated, label and city depending on x."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    y = 0.8 * x + 0.6 * rng.normal(size=n)
    return pd.DataFrame(
        {
            "x": x,
            "y": y,
            "city": np.where(x + rng.normal(size=n) > 0, "north", "south"),
            "label": rng.random(n) < 1 / (1 + np.exp(-2 * x - y)),
        }
    )


def schema_of(table):
    columns = {
        "x": Numeric(low=-20.0, high=20.0),
        "y": Numeric(low=-20.0, high=20.0),
        "city": Categorical(dtype=str(table["city"].dtype), categories=("north", "south")),
        "label": Boolean(),
    }
    return Schema({"table": columns})


TRAIN, HOLDOUT, FRESH = draw(800, 1), draw(800, 2), draw(800, 3)
SCHEMA = schema_of(TRAIN)


def shuffled(table, seed=5):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({name: rng.permutation(table[name].to_numpy()) for name in table})


@pytest.fixture(scope="module")
def report():
    config = EvaluateConfig(
        **{**SMALL, "global_utility": True, "global_rows": 400}, target="label", tasks={"height": "y"}
    )
    return evaluate(TRAIN, HOLDOUT, FRESH, schema=SCHEMA, config=config)


def fidelity(synthetic, **options):
    config = FidelityConfig.parse({k: v for k, v in {**SMALL, **options}.items() if k in FidelityConfig.model_fields})
    return evaluate(TRAIN, HOLDOUT, synthetic, schema=SCHEMA, config=config)


def found(metric, synthetic, *, sides=(TRAIN, HOLDOUT), schema=SCHEMA, **options):
    """Scores of one metric by name and subject."""
    data = [Dataset({"table": table}, schema) for table in (*sides, synthetic)]
    config = FidelityConfig(**{"replicates": 10, **options})
    evidence = metric(*data, context=Context(), rng=np.random.default_rng(0), config=config)
    return {(one.name, *one.subject): one for one in evidence.scores}


def privacy(synthetic):
    return evaluate(TRAIN, HOLDOUT, synthetic, schema=SCHEMA, config=PrivacyConfig(replicates=10))


def test_the_first_lines_say_that_the_evaluation_is_not_covered_by_epsilon(report):
    assert "outside the epsilon" in report.to_markdown().splitlines()[2]
    assert report.to_html().index("outside the epsilon") < report.to_html().index("How good is")


def test_reading_real_rows_is_written_to_the_ledger_and_not_charged():
    ledger = Ledger()
    evaluate(TRAIN, HOLDOUT, FRESH, schema=SCHEMA, config=PrivacyConfig(replicates=10), ledger=ledger)
    assert [entry.covered for entry in ledger.entries] == [False]
    assert ledger.epsilon(1e-6) == 0.0


def test_an_independent_real_sample_scores_as_its_floor(report):
    whole = {s.name: s for s in report.scores if not s.subject}
    # Shape: two sample errors of size about sqrt(2/800) = .05 per column, averaged over four columns.
    assert whole["fidelity.shape"].value == pytest.approx(whole["fidelity.shape"].floor, abs=0.05)
    assert whole["fidelity.pairs"].value == pytest.approx(whole["fidelity.pairs"].floor, abs=0.05)
    assert report.overall.value > 0.85


def test_the_holdout_as_synthetic_data_scores_exactly_the_floor():
    made = [*found(marginal, HOLDOUT).values(), *found(association, HOLDOUT).values()]
    assert len(made) == 5 + 4
    for one in made:
        assert one.value == pytest.approx(one.floor, abs=1e-12)


def test_identical_tables_have_no_distance():
    made = found(marginal, TRAIN) | found(association, TRAIN)
    for name, ideal in (("fidelity.shape", 1.0), ("fidelity.pairs", 1.0), ("fidelity.information", 0.0)):
        assert made[name,].value == pytest.approx(ideal, abs=1e-12)


def test_boosting_detects_shuffled_columns_and_marginals_do_not_see_them():
    made = shuffled(TRAIN)
    assert found(marginal, made)["fidelity.shape",].value == pytest.approx(1.0)
    assert found(association, made)["fidelity.correlation",].value < 0.3
    told = found(detection, made, detector_rows=400, detector_folds=2)
    # The pair (x, y) has correlation .8: the sign of x * y alone separates a fifth of the rows.
    assert told["fidelity.detection.boosted.train",].value < 0.75
    assert told["fidelity.detection.boosted.holdout",].value < 0.75


def test_a_fresh_sample_is_not_detected(report):
    # Under no difference AUC has deviation sqrt(1/(6*200)) = .03 a fold, so C2ST stays within 1 - 2*4*.03.
    assert report.value("fidelity.detection.boosted.train") > 0.76
    assert report.value("fidelity.detection.logistic.holdout") > 0.76


def test_a_shifted_mean_is_seen_in_its_column_and_told():
    made = fidelity(FRESH.assign(x=FRESH["x"] + 1.0))
    # KS distance of N(0,1) and N(1,1) is 2*Phi(.5) - 1 = .383; deviation of a two-sample KS is about sqrt(1/400)/2.
    assert made.value("fidelity.marginal.ks", "x") == pytest.approx(1 - 0.383, abs=0.08)
    assert any("'x'" in one.finding for one in made.recommendations)
    assert made.tables["fidelity.marginal"]["column"].iloc[0] == "x"


def test_shared_bins_do_not_reward_reproduced_extremes():
    heavy = np.random.default_rng(0).pareto(1.0, size=(3, 2000))
    tables = [pd.DataFrame({"a": row, "b": row[::-1]}) for row in heavy]
    schema = Schema({"table": {"a": Numeric(), "b": Numeric()}})
    with_maximum = tables[2].copy()
    with_maximum.loc[with_maximum["a"].idxmax(), "a"] = tables[0]["a"].max()
    plain, copied = (
        found(association, made, sides=tables[:2], schema=schema)["fidelity.pairs",].value
        for made in (tables[2], with_maximum)
    )
    assert plain == pytest.approx(copied, abs=1e-12)


def test_planted_copies_are_caught():
    planted = pd.concat([FRESH.iloc[:720], TRAIN.iloc[:80]], ignore_index=True)
    made = privacy(planted)
    assert made.value("privacy.copies") == pytest.approx(0.1)
    assert {v.name: v.passed for v in made.card}["exact copies"] is False
    assert made.recommendations[0].finding.startswith("10.00% of the rows copy")
    assert made.overall.parts["privacy"] < 0.1


def test_training_rows_with_a_little_noise_are_caught_as_near_copies():
    made = privacy(TRAIN.assign(x=TRAIN["x"] + 1e-4, y=TRAIN["y"] - 1e-4))
    assert made.value("privacy.copies") == 0.0
    assert made.value("privacy.dcr.share") > 0.95
    assert {v.name: v.passed for v in made.card}["near copies"] is False


def test_a_fresh_sample_passes_the_smoke_tests():
    made = privacy(FRESH)
    # DCR share of n = 800 fair coins: deviation sqrt(.25/800) = .018.
    assert made.value("privacy.dcr.share") == pytest.approx(0.5, abs=4 * 0.018)
    assert made.value("privacy.copies") == 0.0
    assert {v.name: v.passed for v in made.card}["exact copies"]


def test_copies_are_judged_against_the_upper_bound_of_the_holdout():
    made = privacy(FRESH)
    # No copy among 800 holdout rows: the Clopper-Pearson bound is 1 - (.05/2)^(1/800).
    assert made.value("privacy.copies.bound") == pytest.approx(1 - 0.025 ** (1 / 800), rel=1e-6)


def test_synthetic_rows_of_the_same_law_teach_as_well_as_real_ones(report):
    ratio = next(s for s in report.scores if s.name == "utility.ratio" and s.subject == ("label", "linear"))
    assert ratio.value == pytest.approx(1.0, abs=0.05)
    r2 = next(s for s in report.scores if s.name == "utility.trtr.r2" and s.subject == ("height", "linear"))
    # y = .8 x + .6 e explains .64 of the variance; city adds nothing, the label a little.
    assert r2.value == pytest.approx(0.66, abs=0.08)


def test_shuffled_rows_teach_nothing():
    config = UtilityConfig(replicates=10, target="y", global_utility=False)
    made = evaluate(TRAIN, HOLDOUT, shuffled(TRAIN), schema=SCHEMA, config=config)
    ratio = next(s for s in made.scores if s.name == "utility.ratio" and s.subject == ("y", "linear"))
    assert ratio.value < 0.1
    assert not made.card[0].passed


def test_global_utility_is_lost_when_columns_are_shuffled(report):
    config = UtilityConfig(replicates=10, global_rows=400)
    made = evaluate(TRAIN, HOLDOUT, shuffled(TRAIN), schema=SCHEMA, config=config)
    assert made.value("utility.global") < 0.3 < 0.7 < report.value("utility.global")


def test_the_card_holds_one_line_per_named_task(report):
    names = [verdict.name for verdict in report.card]
    assert "TSTR / TRTR accuracy: label" in names
    assert "TSTR / TRTR R2: height" in names


def test_a_single_class_target_is_left_out_with_its_reason():
    schema = Schema({"table": {"x": Numeric(), "k": Numeric(dtype="int64", places=0)}})
    sides = [pd.DataFrame({"x": side["x"], "k": 1}) for side in (TRAIN, HOLDOUT, FRESH)]
    config = UtilityConfig(replicates=10, target="k", global_utility=False)
    made = evaluate(*sides, schema=schema, config=config)
    assert "fewer than two classes" in made.tables["left_out"]["reason"].iloc[0]
    assert made.card[0].value is None
    assert not made.card[0].passed


def test_an_unknown_target_is_refused_by_name():
    with pytest.raises(SchemaError, match="'nope'"):
        evaluate(TRAIN, HOLDOUT, FRESH, schema=SCHEMA, config=UtilityConfig(global_utility=False), target="nope")


def test_a_missing_column_is_refused_by_name():
    with pytest.raises(SchemaError, match="synthetic table lacks column 'y'"):
        evaluate(TRAIN, HOLDOUT, FRESH.drop(columns="y"), schema=SCHEMA, config=PrivacyConfig())


def test_an_empty_table_is_refused():
    with pytest.raises(DataError, match="synthetic table has no rows"):
        evaluate(TRAIN, HOLDOUT, FRESH.iloc[:0], schema=SCHEMA, config=PrivacyConfig())


def test_text_in_a_numeric_column_is_refused_without_the_value():
    with pytest.raises(SchemaError) as error:
        evaluate(TRAIN, HOLDOUT, FRESH.assign(x=CANARY), schema=SCHEMA, config=PrivacyConfig())
    assert CANARY not in str(error.value)


def hard(n, seed):
    rng = np.random.default_rng(seed)
    times = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 365, n), unit="D")
    made = pd.DataFrame(
        {
            "when": pd.Series(times).astype("datetime64[ns]"),
            "flag": rng.random(n) < 0.3,
            "constant": 1,
            "empty": np.full(n, np.nan),
            "a": rng.normal(size=n),
            "b": rng.normal(size=n),
            "note": "free text",
        }
    )
    made.loc[rng.random(n) < 0.2, ["a", "b"]] = np.nan
    return made


HARD = Schema(
    {
        "table": {
            "when": Datetime(resolution="D", nullable=True),
            "flag": Boolean(),
            "constant": Numeric(dtype="int64", places=0),
            "empty": Numeric(nullable=True),
            "a": Numeric(nullable=True),
            "b": Numeric(nullable=True),
            "note": Text(),
        }
    }
)


def test_hard_columns_are_judged_without_nan_and_what_cannot_be_is_noted():
    sides = [hard(400, seed) for seed in (1, 2, 3)]
    config = EvaluateConfig(
        **{**SMALL, "detector_rows": 200, "global_utility": True, "global_rows": 200}, target="flag"
    )
    made = evaluate(*sides, schema=HARD, config=config)
    assert all(np.isfinite([s.value, s.floor, s.deviation]).all() for s in made.scores)
    assert "empty" in set(made.tables["left_out"]["subject"])
    assert any("note" in note for note in made.notes)
    json.dumps(made.to_json(), allow_nan=False)
    assert "<svg" in made.to_html()


def test_joint_null_patterns_are_seen_where_null_shares_are_right():
    sides = [hard(400, seed) for seed in (1, 2, 3)]
    apart = sides[2].assign(b=np.random.default_rng(9).permutation(sides[2]["b"].to_numpy()))
    together, broken = (found(missing, made, sides=sides[:2], schema=HARD) for made in (sides[2], apart))
    # Null together with share .2; apart, both with .04 and either with .32: a distance of .32.
    assert together["fidelity.missing.patterns",].value > 0.9
    assert broken["fidelity.missing.patterns",].value == pytest.approx(1 - 0.32, abs=0.1)
    assert broken["fidelity.missing", "b"].value > 0.9


def test_no_rare_category_and_no_extreme_stands_in_the_report():
    train, holdout, synthetic = (side.assign(city=side["city"].astype(object)) for side in (TRAIN, HOLDOUT, FRESH))
    for side in (train, synthetic):
        side.loc[:2, "city"] = CANARY
        side.loc[3, "x"] = 7731.9173
    schema = Schema(
        {"table": {**SCHEMA.columns, "city": Categorical(categories=("north", "south", CANARY)), "x": Numeric()}}
    )
    config = EvaluateConfig(**SMALL, target="label")
    made = evaluate(train, holdout, synthetic, schema=schema, config=config)
    for text in (json.dumps(made.to_json()), made.to_markdown(), made.to_html()):
        assert CANARY not in text
        assert "7731.9" not in text
        assert "7,732" not in text
    assert "north" in made.to_html()
    assert made.curves["marginal/x"]["high"].max() < 10  # the plot ends where ten rows support it


def test_no_drawn_bin_stands_for_fewer_real_rows_than_asked(report):
    for name, frame in report.curves.items():
        if name.startswith("marginal/") and "low" in frame:
            assert (frame["real"] * len(TRAIN)).min() >= 10 - 0.05  # shares are rounded to four places


def test_one_real_table_is_split_and_the_report_says_that_it_was_not_unseen():
    made = evaluate(TRAIN, None, FRESH, schema=SCHEMA, config=PrivacyConfig(replicates=10))
    assert made.rows == {"train": 640, "holdout": 160, "synthetic": 800}
    assert made.notes[0].startswith("The holdout was not unseen")


def test_without_training_rows_all_but_privacy_is_scored_and_the_report_says_so():
    quick = EvaluateConfig(replicates=10, detector_rows=60, detector_folds=2, manifold_rows=60, global_utility=False)
    made = evaluate(None, HOLDOUT, FRESH, schema=SCHEMA, config=quick)
    assert {score.name.partition(".")[0] for score in made.scores} == {"fidelity", "validity"}
    assert "privacy" not in made.overall.parts
    assert "privacy" in made.tables["left_out"]["score"].tolist()
    assert made.notes[0].startswith("There were no training rows")
    page = made.to_html()
    assert page.index("There were no training rows") < page.index("What to do next")
    assert "that were trained on" not in page


def test_privacy_without_training_rows_is_refused():
    with pytest.raises(DataError, match="beside the training rows"):
        evaluate(None, HOLDOUT, FRESH, schema=SCHEMA, config=PrivacyConfig(replicates=10))
    with pytest.raises(DataError, match="no real rows"):
        evaluate(None, None, FRESH, schema=SCHEMA)


def test_the_same_seed_gives_the_same_report_and_another_does_not():
    first, again, other = (
        evaluate(TRAIN, HOLDOUT, FRESH, schema=SCHEMA, config=PrivacyConfig(replicates=10, seed=seed))
        for seed in (0, 0, 1)
    )
    assert {**again.to_json(), "costs": None} == {**first.to_json(), "costs": None}
    assert other.scores != first.scores


def _fidelity_options():
    return {k: v for k, v in SMALL.items() if k in FidelityConfig.model_fields}


def test_the_report_round_trips_through_json(report):
    text = json.dumps(report.to_json(), allow_nan=False)
    assert Report.from_json(json.loads(text)).to_json() == json.loads(text)


def test_a_damaged_or_newer_report_is_refused(report):
    value = report.to_json()
    with pytest.raises(ArtifactError, match="format 99"):
        Report.from_json({**value, "format": 99})
    with pytest.raises(ArtifactError, match="damaged"):
        Report.from_json({k: v for k, v in value.items() if k != "scores"})


def _conforms(value, schema, where="report"):
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
    wanted = schema.get("type")
    names = [wanted] if isinstance(wanted, str) else wanted or []
    fits = [n for n in names if (n == "null" and value is None) or (n != "null" and isinstance(value, kinds[n]))]
    fits = [n for n in fits if n == "boolean" or not isinstance(value, bool)]
    assert fits or not names, f"{where} is {type(value).__name__}, not {names}"
    assert value in schema.get("enum", [value]), where
    if isinstance(value, dict):
        assert set(schema.get("required", ())) <= set(value), where
        more = schema.get("additionalProperties", True)
        for name, part in value.items():
            inner = schema.get("properties", {}).get(name, more)
            assert inner is not False, f"{where}.{name} is not documented"
            if isinstance(inner, dict):
                _conforms(part, inner, f"{where}.{name}")
    if isinstance(value, list):
        for part in value:
            _conforms(part, schema.get("items", {}), where)


def test_the_json_obeys_its_documented_schema(report):
    schema = json.loads((Path(judge.__file__).parent / "report.schema.json").read_text(encoding="utf-8"))
    _conforms(json.loads(json.dumps(report.to_json())), schema)
    with pytest.raises(AssertionError, match="scores"):
        _conforms({**report.to_json(), "scores": "none"}, schema)


def test_save_writes_three_files_and_nothing_else(report, tmp_path):
    report.save(tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["report.html", "report.json", "report.md"]
    assert Report.from_json(json.loads((tmp_path / "out" / "report.json").read_text())).card == report.card


def test_the_page_needs_nothing_from_elsewhere(report):
    html = report.to_html()
    for foreign in ("http://", "https://", "<script", "@import", "url(", "<link"):
        assert foreign not in html
    assert html.count("<svg") == html.count('role="img"')
    assert "prefers-color-scheme: dark" in html


def test_column_names_are_escaped_on_the_page():
    name = "<b>x</b>"
    sides = [pd.DataFrame({name: side["x"], "y": side["y"]}) for side in (TRAIN, HOLDOUT, FRESH)]
    schema = Schema({"table": {name: Numeric(), "y": Numeric()}})
    config = FidelityConfig.parse({**_fidelity_options(), "detector_rows": 100})
    html = evaluate(*sides, schema=schema, config=config).to_html()
    assert name not in html
    assert "&lt;b&gt;x&lt;/b&gt;" in html


def test_min_quality_passes_or_fails_the_report():
    def passed(threshold):
        config = PrivacyConfig(replicates=10, min_quality=threshold)
        return evaluate(TRAIN, HOLDOUT, TRAIN, schema=SCHEMA, config=config).passed

    assert passed(0.0)
    assert not passed(0.9)


def test_the_overall_score_of_copies_is_lower_than_that_of_a_fresh_sample():
    assert privacy(TRAIN).overall.value < 0.1 < 0.85 < privacy(FRESH).overall.value


def test_rows_outside_the_schema_are_counted():
    bad = FRESH.copy()
    bad.loc[:79, "x"] = 50.0
    made = found(validity, bad)
    assert made["validity.schema",].value == pytest.approx(0.9)
    assert made["validity.column", "x"].value == pytest.approx(0.9)
    assert made["validity.column", "y"].value == 1.0


def test_broken_rules_are_counted_by_name():
    schema = SCHEMA.with_constraints((Inequality(name="x below y", low="x", high="y"),))
    ordered = FRESH.assign(y=FRESH["x"] + 1.0)
    ordered.loc[:199, "y"] = ordered.loc[:199, "x"] - 1.0
    made = found(validity, ordered, sides=(TRAIN, HOLDOUT), schema=schema)
    assert made["validity.rules",].value == pytest.approx(0.75)
    assert made["validity.rule", "x below y"].value == pytest.approx(0.75)
    # Among real rows, y > x with probability one half: the law is symmetric.
    assert made["validity.rules",].floor == pytest.approx(0.5, abs=4 * 0.018)


def test_metrics_come_by_group():
    assert set(METRICS) == {"fidelity", "utility", "privacy", "validity"}


def test_without_a_schema_the_training_rows_are_profiled():
    made = evaluate(TRAIN, HOLDOUT, FRESH, config=PrivacyConfig(replicates=10))
    assert made.value("privacy.copies") == 0.0


def test_progress_moves_metric_by_metric():
    seen = []
    config = PrivacyConfig(replicates=10, attacks=("membership",))
    evaluate(TRAIN, HOLDOUT, FRESH, schema=SCHEMA, config=config, report=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_an_attack_that_was_not_asked_for_is_not_made():
    made = evaluate(TRAIN, HOLDOUT, FRESH, schema=SCHEMA, config=PrivacyConfig(replicates=10, attacks=()))
    assert {one.name for one in made.scores if "membership" in one.name} == set()


def test_a_wide_table_is_compared_in_evenly_spread_columns_and_the_report_says_so():
    found = fidelity(FRESH, pair_columns=3)
    pairs = found.tables["fidelity.pairs"]
    assert len(pairs) == 3
    assert set(pairs["first"]) | set(pairs["second"]) == {"x", "city", "label"}
    assert any("3 of 4 columns" in reason for reason in found.tables["left_out"]["reason"])
