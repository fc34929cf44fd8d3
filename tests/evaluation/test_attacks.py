"""Each attack must catch released training rows and a generator that leaks, and let an independent sample pass."""

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from leaky import CITIES, JOBS, SCHEMA, data, population
from scipy.stats import beta

import synth_components as synth
from synth_components.errors import SchemaError
from synth_components.evaluation import METRICS, EvaluateConfig, PrivacyConfig, evaluate
from synth_components.evaluation.attacks.rates import TRIES, rates, right, risk, tries
from synth_components.evaluation.attacks.risk import MOST, exposure, gains
from synth_components.evaluation.attacks.risk import risk as overall_risk
from synth_components.evaluation.attacks.singling_out import (
    Predicates,
    isolates,
    one_column,
    several_columns,
    singling_out,
)
from synth_components.evaluation.columns import coded
from synth_components.evaluation.options import ATTACKS
from synth_components.protocols import Context, Dataset, Score
from synth_components.schema import Numeric, Schema, Unit

TRAIN, HOLDOUT, FRESH = population(1_000, 1), population(800, 2), population(1_000, 3)
OPTIONS = {"replicates": 20, "quasi_identifiers": ("city", "x"), "inverted": "job"}
RISKS = {
    "attribute": "privacy.attribute.risk",
    "singling_out": "privacy.singling_out.multivariate.risk",
    "linkability": "privacy.linkability.risk",
    "reidentification": "privacy.reidentification.risk",
    "inversion": "privacy.inversion.risk",
}
BY_NAME = {metric.__name__: metric for metric in METRICS["privacy"]}


def attack(name, synthetic, *, train=TRAIN, holdout=HOLDOUT, seed=0, **options):
    sides = [data(table) for table in (train, holdout, synthetic)]
    config = PrivacyConfig(**{**OPTIONS, **options})
    return BY_NAME[name](*sides, context=Context(), rng=np.random.default_rng(seed), config=config)


def values(evidence):
    return {one.name: one for one in evidence.scores if not one.subject}


@cache
def leaky(share, noise):
    options = {"share": share, "noise": noise}
    model = synth.fit(TRAIN, generator="leaky", trust=("leaky",), schema=SCHEMA, options=options, seed=0)
    return model.sample(1_000, seed=1)


@cache
def report(kind):
    return evaluate(TRAIN, HOLDOUT, TRAIN if kind == "copy" else FRESH, schema=SCHEMA, config=PrivacyConfig(**OPTIONS))


def test_every_attack_is_a_metric_of_its_name_and_has_its_controls_here():
    assert set(ATTACKS) <= set(BY_NAME)
    assert set(RISKS) == set(ATTACKS) - {"membership"}  # which has a file of its own


@pytest.mark.parametrize("name", RISKS)
def test_releasing_the_training_rows_is_caught(name):
    found = values(attack(name, TRAIN))
    assert found[RISKS[name]].interval[0] > 0.5


@pytest.mark.parametrize("name", RISKS)
def test_a_generator_that_hands_out_half_of_its_rows_is_caught(name):
    # The other half has the columns' values, shuffled; inversion needs the exact rows, as one wrong bin hides them.
    found = values(attack(name, leaky(0.5, 0.0)))
    assert found[RISKS[name]].interval[0] > 0.05


@pytest.mark.parametrize("name", RISKS)
def test_an_independent_sample_passes(name):
    risks = []
    for seed in range(6):
        train, holdout, fresh = (population(400, 50 + 3 * seed + k) for k in range(3))
        found = values(attack(name, fresh, train=train, holdout=holdout, seed=seed))
        risks.append(found[RISKS[name]])
    # The lower end is above 0 with probability .025; twice or more in 6 trials with probability .01.
    assert sum(one.interval is not None and one.interval[0] > 0 for one in risks) < 2
    assert np.mean([one.value for one in risks]) < MOST / 4


def test_the_advantage_is_that_over_an_attacker_who_has_the_holdout():
    found = attack("attribute", TRAIN)
    scores = values(found)
    gain = scores["privacy.attribute.attack"].value - scores["privacy.attribute.baseline"].value
    assert scores["privacy.attribute.advantage"].value == pytest.approx(gain)
    table = found.tables["privacy.attribute"]
    assert table["advantage"].mean() == pytest.approx(gain, abs=1e-4)
    # Without quasi-identifiers among the secrets, three columns are left.
    assert list(table["column"]) == ["y", "z", "job"]
    independent = values(attack("attribute", FRESH))["privacy.attribute.advantage"]
    assert independent.interval[0] <= 0 <= independent.interval[1]


def test_named_secrets_and_quasi_identifiers_are_used_and_unknown_ones_refused():
    made = attack("attribute", TRAIN, secrets=("job",), quasi_identifiers=("x", "y"))
    assert list(made.tables["privacy.attribute"]["column"]) == ["job"]
    with pytest.raises(SchemaError, match="secrets names column 'nope'"):
        attack("attribute", TRAIN, secrets=("nope",))
    with pytest.raises(SchemaError, match="quasi_identifiers names column 'nope'"):
        attack("linkability", TRAIN, quasi_identifiers=("nope",))


def test_what_was_not_declared_is_left_out_with_the_reason():
    for name, options in (("reidentification", {"quasi_identifiers": ()}), ("inversion", {"inverted": ""})):
        found = attack(name, TRAIN, **options)
        assert not found.scores
        assert "declared" in (reason := found.tables["left_out"]["reason"].iloc[0]) or "named" in reason


def test_the_target_of_an_evaluation_is_inverted():
    options = {"replicates": 10, "detector_rows": 60, "detector_folds": 2, "manifold_rows": 60, "global_utility": False}
    made = evaluate(
        TRAIN, HOLDOUT, TRAIN, schema=SCHEMA, target="job", config=EvaluateConfig(**options, attacks=("inversion",))
    )
    assert made.value("privacy.inversion.risk") > 0.5


@pytest.mark.parametrize("name", ATTACKS)
def test_small_and_empty_tables_are_survived(name):
    few = attack(name, FRESH.iloc[:5])
    assert not few.scores
    assert len(few.tables["left_out"])
    gaps = {"x": np.nan, "y": 1.0, "z": TRAIN["z"].where(TRAIN["z"] > 3), "city": None, "job": TRAIN["job"]}
    sides = [pd.DataFrame({**gaps, "z": side["z"], "job": side["job"]}) for side in (TRAIN, HOLDOUT, FRESH)]
    for one in attack(name, sides[2], train=sides[0], holdout=sides[1]).scores:
        assert np.isfinite(one.value)


def test_rates_and_risk_follow_their_definitions():
    hit, held = np.r_[np.ones(60), np.zeros(40)], np.r_[np.ones(20), np.zeros(80)]
    found = {one.name: one for one in rates("a", hit, held, held)}
    assert found["a.attack"].value == 0.6
    assert found["a.attack"].floor == found["a.control"].value == 0.2
    assert found["a.risk"].value == pytest.approx((0.6 - 0.2) / (1 - 0.2))
    # Wilson's half widths of 60 and 20 in 100 are .0943 and .0775; by d/da = 1/.8 and d/dc = -.4/.64 they give .127.
    assert found["a.risk"].interval == pytest.approx((0.5 - 0.127, 0.5 + 0.127), abs=0.002)
    assert risk("a", np.ones(9), np.ones(9)).value == 0.0


def test_the_interval_of_a_risk_covers_it_at_the_promised_rate():
    rng = np.random.default_rng(0)
    tries = [risk("a", (rng.random(300) < 0.4) * 1.0, (rng.random(300) < 0.2) * 1.0).interval for _ in range(400)]
    share = np.mean([low <= 0.25 <= high for low, high in tries])
    assert share > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 400)


def test_a_guess_is_right_if_equal_or_within_a_twentieth_of_the_range():
    view = coded(*(data(side) for side in (TRAIN, HOLDOUT, FRESH)))
    low, high = np.quantile(TRAIN["x"], [0.05, 0.95])
    step = 0.05 * (high - low)
    truth = np.array([0.0, 0.0, np.nan, 0.0])
    assert right(view, 0, truth + np.array([0.99 * step, 1.01 * step, 0, np.nan]), truth).tolist() == [1, 0, 1, 0]
    assert right(view, 3, np.array([1.0, 2.0]), np.array([1.0, 1.0])).tolist() == [1, 0]


def test_predicates_isolate_one_synthetic_row_and_count_what_they_say():
    view = coded(*(data(side) for side in (TRAIN, HOLDOUT, FRESH)))
    rng = np.random.default_rng(0)
    for made in (one_column(view, 200, rng), several_columns(view, 200, rng)):
        assert len(made.places) == 200
        assert set(made.counts(view.synthetic)) == {1}
    at_most = Predicates(np.array([[0, 3]]), np.array([[0.0, 2.0]]), np.array([[-1, 0]]))
    expected = ((view.train[:, 0] <= 0) & (view.train[:, 3] == 2)).sum()
    assert at_most.counts(view.train).tolist() == [expected]


def test_the_control_of_singling_out_is_what_a_random_split_gives():
    rng = np.random.default_rng(0)
    pooled, inside, outside = np.array([1, 2, 5]), 60, 40
    drawn = np.array(
        [[(rng.permutation(100)[:inside] < count).sum() == 1 for count in pooled] for _ in range(4_000)]
    ).mean(axis=0)
    assert isolates(pooled, inside, outside) == pytest.approx(drawn, abs=4 * np.sqrt(0.25 / 4_000))


def test_the_risk_is_the_largest_gain_that_chance_does_not_explain():
    scores = (
        Score("privacy.membership.auc", 0.6, (0.58, 0.62), 0.01, 0.5, 0.5),
        Score("privacy.linkability.risk", 0.3, (0.1, 0.5), 0.1, 0.0, 0.0),
        Score("privacy.membership.auc", 0.9, (0.8, 1.0), 0.01, 0.5, 0.5, ("elsewhere",)),
        Score("privacy.dcr.share", 0.9, (0.8, 1.0), 0.01, 0.5, 0.5),
    )
    assert [one.label for one in gains(scores)] == ["membership inference", "linking two halves of a record"]
    (made,) = overall_risk(scores)
    # Two gains, so that each may miss with .0125 at either end: 2.2414 deviations instead of 1.96.
    assert made.value == pytest.approx((0.6 - 2.2414 * 0.01 - 0.5) / 0.5, abs=1e-5)
    assert made.interval == pytest.approx((made.value, 0.3 + 2.2414 * 0.1), abs=1e-5)
    assert overall_risk(scores[-1:]) == ()


def test_intervals_of_many_attacks_hold_together_where_each_by_itself_would_not():
    n, secrets, trials, rng = 60, 40, 100, np.random.default_rng(0)
    alone, together = 0, 0
    for _ in range(trials):
        sides = [(rng.random((secrets, n)) < 0.3).astype(float) for _ in range(2)]  # no attack gains anything
        each = [(f"s{k}", hit, held) for k, (hit, held) in enumerate(zip(*sides, strict=True))]
        scores = [risk("privacy.attribute.column", hit, held, subject=(name,)) for name, hit, held in each]
        counted = {TRIES: tries(*(("privacy.attribute.column", (name,), hit, held) for name, hit, held in each))}
        alone += max(one.interval[0] for one in scores) > 0
        together += overall_risk(scores, counted)[0].value > 0
    # At most .025 of the trials, by Bonferroni; 4 sigma of 100 above it are .0875.
    assert together / trials <= 0.0875
    assert alone / trials > 0.4  # what each interval by itself lets through: 1 - .975^40 = .64


def test_the_risk_counts_hits_and_tries_by_clopper_and_pearson():
    hit, held = np.r_[np.ones(60), np.zeros(40)], np.r_[np.ones(20), np.zeros(80)]
    counted = {TRIES: tries(("privacy.linkability.risk", (), hit, held))}
    (made,) = overall_risk([risk("privacy.linkability.risk", hit, held)], counted)
    # One gain; each end of attack and control may miss with .0125 (scipy: beta.ppf of 60 and of 20 in 100).
    low, high = beta.ppf(0.0125, 60, 41), beta.ppf(0.9875, 61, 40)
    below, above = beta.ppf(0.0125, 20, 81), beta.ppf(0.9875, 21, 80)
    assert made.value == pytest.approx((low - above) / (1 - above))
    assert made.interval[1] == pytest.approx((high - below) / (1 - below))


@pytest.mark.parametrize("name", sorted(set(RISKS) - {"singling_out"}))
def test_an_attack_that_counts_hits_hands_them_over(name):
    found = attack(name, TRAIN)
    for row in found.tables[TRIES].to_dict("records"):
        score = next(
            one for one in found.scores if (one.name, ", ".join(one.subject)) == (row["score"], row["subject"])
        )
        hit, held = (row[f"{side}_hits"] / row[f"{side}_tries"] for side in ("attack", "control"))
        assert score.value == pytest.approx(max(0.0, (hit - held) / (1 - held)), abs=1e-6)


def test_the_card_and_the_quality_hold_the_risk_against_its_threshold():
    copied, fresh = (report(kind) for kind in ("copy", "fresh"))
    lines = [{one.name: one for one in made.card}["privacy risk (strongest attack)"] for made in (copied, fresh)]
    assert [line.passed for line in lines] == [False, True]
    assert [line.threshold for line in lines] == [0.3, 0.3]
    assert copied.overall.parts["privacy"] == 0.0
    assert fresh.overall.parts["privacy"] > 0.8


def test_mitigations_follow_from_what_was_found():
    advice = {one.finding.split(" gains")[0]: one.change for one in report("copy").recommendations}
    assert "differential privacy" in advice["membership inference"]
    assert "coarsen the quasi-identifiers" in advice["re-identification"]
    assert "min_category_count" in advice["singling out by several columns"]
    told = [one.finding for one in report("fresh").recommendations]
    assert not [finding for finding in told if " gains" in finding and "rule out" not in finding]


def test_few_rows_are_told_not_to_rule_a_risk_out():
    small = evaluate(
        TRAIN.iloc[:60], HOLDOUT.iloc[:60], FRESH.iloc[:60], schema=SCHEMA, config=PrivacyConfig(**OPTIONS)
    )
    assert small.value("privacy.risk") < 0.3
    assert any("cannot rule out" in one.finding for one in small.recommendations)
    upper = next(one.interval[1] for one in small.scores if one.name == "privacy.risk")
    (count,) = re.findall(rf"(\d+) attacked records: the attack could be as strong as {upper:.3f} \(", small.exposure)
    assert 0 < int(count) <= 60
    assert "Fewer records rule out less" in small.to_markdown()
    assert small.exposure.replace("'", "&#39;") in small.to_html()
    many = report("fresh")
    assert next(one.interval[1] for one in many.scores if one.name == "privacy.risk") < upper


def test_what_few_records_do_not_rule_out_tells_the_records_of_the_attack_that_could_be_strongest():
    auc = Score("privacy.membership.auc", 0.6, (0.5, 0.7), 0.05, 0.5, 0.5, ())
    alone = Score("privacy.membership.isolated.auc", 0.6, (0.3, 0.9), 0.15, 0.5, 0.5, ())
    rate = Score("privacy.linkability.risk", 0.1, (0.0, 0.2), 0.05, 0.0, 0.0, ())
    tries = pd.DataFrame(
        {
            "score": [rate.name],
            "subject": [""],
            "attack_hits": [3],
            "attack_tries": [12],
            "control_hits": [0],
            "control_tries": [12],
        }
    )
    for scores, tables, count in (((auc,), None, 400), ((auc, alone), None, 40), ((auc, rate), {TRIES: tries}, 12)):
        high = max(gain.high for gain in gains(scores, tables))
        told = exposure(scores, tables, records=400)
        assert told.startswith(f"{count} attacked records: the attack could be as strong as {high:.3f} (")
    assert exposure((), records=400) == ""


def test_the_page_shows_risk_and_attacks_with_their_floors():
    page = report("copy").to_html()
    for told in ("Attacks and risk", "Privacy risk", "Who was trained on?", "isolated, AUC", "Quasi-identifiers lead"):
        assert told in page
    assert (
        "Attacks and risk"
        not in evaluate(TRAIN, HOLDOUT, FRESH, schema=SCHEMA, config=PrivacyConfig(replicates=10, attacks=())).to_html()
    )


def test_neither_report_nor_page_holds_a_row_or_a_rare_value():
    canary = TRAIN.copy()
    canary.loc[7, "x"] = 41.4142135
    made = evaluate(canary, HOLDOUT, canary, schema=SCHEMA, config=PrivacyConfig(**OPTIONS))
    told = str(made.to_json()) + made.to_html() + made.to_markdown()
    assert "41.41" not in told
    assert not any(value in told for value in (*CITIES, *JOBS))


def test_predicates_stand_once_and_one_of_null_does_too():
    asked = Predicates(
        np.array([[0, 1], [1, 0], [0, 1]]),
        np.array([[np.nan, 2.0], [2.0, np.nan], [1.0, 2.0]]),
        np.zeros((3, 2), np.int64),
    )
    assert asked.distinct().places.tolist() == [[0, 1], [0, 1]]


def test_an_independent_sample_of_one_column_that_varies_singles_nobody_out():
    # Two extremes alone tell rows apart there: 2,000 predicates that say the same are no 2,000 trials.
    for seed in range(3):
        train, holdout, fresh = (
            population(200, 50 + 3 * seed + k).assign(y=0.0, z=1.0, city=CITIES[0], job=JOBS[0]) for k in range(3)
        )
        for one in attack("singling_out", fresh, train=train, holdout=holdout, seed=seed).scores:
            assert not one.name.endswith(".risk") or one.value < 0.1


def test_the_deviation_of_singling_out_covers_that_predicates_hit_the_same_rows():
    gone = []
    for seed in range(12):
        train, holdout, fresh = (population(150, 500 + 3 * seed + k)[["x", "y", "city"]] for k in range(3))
        schema = Schema({"table": {name: SCHEMA.columns[name] for name in train}})
        sides = [Dataset({"table": one}, schema) for one in (train, holdout, fresh)]
        config = PrivacyConfig(**OPTIONS, attack_targets=500)
        found = singling_out(*sides, context=Context(), rng=np.random.default_rng(seed), config=config)
        hit, held = (values(found)[f"privacy.singling_out.multivariate.{side}"] for side in ("attack", "control"))
        gone.append((hit.value - held.value) / hit.deviation)
    # The sum of 12 squared deviates is below 55 but for a chance of 1e-6 (scipy: chi2.isf(1e-6, 12) = 53.2).
    assert np.square(gone).sum() < 55


def test_somebody_is_singled_out_who_has_several_rows():
    schema = Schema(
        {"table": {**SCHEMA.columns, "person": Numeric(low=0, high=9999)}}, unit=Unit("table", ("person",), 5)
    )

    def several(n, seed):
        once = population(n, seed)
        again = once.loc[once.index.repeat(5)].reset_index(drop=True)
        return Dataset({"table": again.assign(person=np.repeat(np.arange(n), 5))}, schema)

    train, holdout, other = (several(200, seed) for seed in (1, 2, 3))
    released, fresh = (
        replace(train, tables={"table": one.table.iloc[::5].reset_index(drop=True)}) for one in (train, other)
    )
    options = {
        "context": Context(unit=("person",)),
        "rng": np.random.default_rng(0),
        "config": PrivacyConfig(**OPTIONS),
    }
    caught = values(BY_NAME["singling_out"](train, holdout, released, **options))
    assert caught[RISKS["singling_out"]].interval[0] > 0.5
    assert values(BY_NAME["singling_out"](train, holdout, fresh, **options))[RISKS["singling_out"]].value < 0.1
