"""Membership inference must see training rows that were released, near or exact, and nothing in fresh ones."""

import numpy as np
import pandas as pd
import pytest
from leaky import SCHEMA, data, population

import synth_components as synth
from synth_components.evaluation.attacks.membership import membership
from synth_components.evaluation.attacks.ranking import Ranking, area, hits_at
from synth_components.evaluation.attacks.risk import risk
from synth_components.evaluation.attacks.trial import parts
from synth_components.evaluation.options import PrivacyConfig
from synth_components.protocols import Context, Dataset

TRAIN, HOLDOUT, FRESH = population(1_000, 1), population(600, 2), population(1_000, 3)
CONFIG = PrivacyConfig()
NAMES = {"distance", "ratio", "density", "likelihood", "classifier"}


def attack(synthetic, *, train=TRAIN, holdout=HOLDOUT, seed=0, **options):
    config = PrivacyConfig(**{"replicates": 50, **options})
    sides = [data(table) for table in (train, holdout, synthetic)]
    return membership(*sides, context=Context(), rng=np.random.default_rng(seed), config=config)


def values(evidence):
    return {one.name.removeprefix("privacy.membership."): one for one in evidence.scores}


def leaky(share, noise, n=1_000):
    options = {"share": share, "noise": noise}
    model = synth.fit(TRAIN, generator="leaky", trust=("leaky",), schema=SCHEMA, options=options, seed=0)
    return model.sample(n, seed=1)


def test_releasing_the_training_rows_is_caught_everywhere():
    found = values(attack(TRAIN))
    assert found["auc"].value > 0.99
    assert found["isolated.auc"].value > 0.99
    assert found["tpr_at_1_in_100"].value > 0.99
    assert found["p_value"].value == 1 / 51


def test_fewer_training_rows_than_half_of_the_holdout_are_attacked_beside_as_many_others():
    few = TRAIN.head(40)
    found = parts(data(few), data(HOLDOUT), data(few), context=Context(), rng=np.random.default_rng(0), config=CONFIG)
    assert found is not None
    assert len(found.members) == len(found.others) == 40
    assert values(attack(few, train=few))["auc"].value > 0.99


def test_every_attack_sees_released_training_rows():
    table = attack(TRAIN).tables["privacy.membership"].set_index("attack")
    assert set(table.index) == NAMES
    # AUC of 300 and 300 rows deviates by sqrt(1 / (6 * 300)) = .024 from a half.
    assert table["auc"].min() > 0.5 + 4 * 0.024


def test_a_generator_that_hands_out_noisy_training_rows_is_caught():
    # Noise of 5 % of a standard deviation leaves no copy; half of the rows are made from rows of their own columns.
    found = values(attack(leaky(0.5, 0.05)))
    assert found["auc"].interval[0] > 0.55
    assert found["p_value"].value == 1 / 51


def test_a_fresh_sample_is_caught_no_more_often_than_chance_allows():
    p_values, areas = [], []
    for seed in range(40):
        train, holdout, fresh = (population(n, 10 * seed + k) for k, n in enumerate((160, 160, 160), start=100))
        config = {"replicates": 20, "attack_rows": 80}
        found = values(attack(fresh, train=train, holdout=holdout, seed=seed, **config))
        p_values.append(found["p_value"].value)
        areas.append(found["auc"].value - found["auc"].floor)
    # p <= 1/21 in 1 of 21 trials: 2 of 40 expected, 7 or more with probability 2e-3; seeded, so it stays.
    assert sum(p < 0.05 for p in p_values) < 7
    # The floor is what chance gives the best of five: AUC of 80 and 80 rows deviates by .046, the mean of 40 by .007.
    assert abs(np.mean(areas)) < 4 * 0.007


def test_members_others_and_reference_are_disjoint_and_keep_a_person_together():
    rows = population(400, 4).assign(x=np.arange(400.0) - 50)
    person = np.repeat(np.arange(100), 4)
    schema = SCHEMA
    sides = [Dataset({"table": table}, schema) for table in (TRAIN, rows.assign(person=person), FRESH)]
    options = {"context": Context(unit=("person",)), "rng": np.random.default_rng(0), "config": PrivacyConfig()}
    found = parts(*sides, **options)
    others, reference = ((side[:, 0].astype(int) + 50) // 4 for side in (found.others, found.reference))
    assert sorted(others) == sorted(set(others))  # one record of each
    assert set(others) | set(reference) == set(range(100))
    assert set(others).isdisjoint(reference)
    assert len(found.members) == len(found.others) == 50
    assert len(found.reference) == 200


@pytest.mark.slow
def test_rows_of_one_person_are_no_trials_apart():
    def several(n, seed):
        once, rng = population(n, seed), np.random.default_rng(seed)
        again = once.loc[once.index.repeat(20)].reset_index(drop=True)
        noise = rng.normal(scale=0.2, size=(len(again), 3))
        return again.assign(**{c: again[c] + noise[:, k] for k, c in enumerate("xyz")}, person=np.repeat(range(n), 20))

    for seed in range(3):
        sides = [Dataset({"table": several(60, 30 * seed + k)}, SCHEMA) for k in range(3)]
        config = PrivacyConfig(replicates=20, attack_references=300)
        found = membership(*sides, context=Context(unit=("person",)), rng=np.random.default_rng(seed), config=config)
        # Of rows that taught nothing it is above 0 with probability .025; 20 rows of one person made it .2 and more.
        (made,) = risk(found.scores)
        assert made.value < 0.1


def test_few_persons_of_many_rows_are_left_out_with_the_reason():
    person = np.repeat(np.arange(30), 10)
    sides = [Dataset({"table": side.iloc[:300].assign(person=person)}, SCHEMA) for side in (TRAIN, HOLDOUT, FRESH)]
    options = {"context": Context(unit=("person",)), "rng": np.random.default_rng(0), "config": PrivacyConfig()}
    assert parts(*sides, **options) is None


def test_hits_at_a_rate_with_too_few_non_members_are_left_out_with_the_reason():
    found = attack(FRESH)
    missing = found.tables["left_out"].set_index("score")["reason"]
    assert missing["privacy.membership.tpr_at_1_in_1000"] == "it needs 1000 non-members, and there are 300"
    assert "tpr_at_1_in_1000" not in values(found)


def test_too_few_rows_are_left_out_with_the_reason():
    found = attack(FRESH.iloc[:10])
    assert not found.scores
    assert "twice as many of the holdout" in found.tables["left_out"]["reason"].iloc[0]


def test_nulls_constants_and_a_single_column_are_survived():
    columns = {"x": TRAIN["x"].where(TRAIN["x"] > 0), "y": 1.0, "z": np.nan, "city": None, "job": TRAIN["job"]}
    sides = [pd.DataFrame({**columns, "x": side["x"].where(side["x"] > 0)}) for side in (TRAIN, HOLDOUT, FRESH)]
    found = values(attack(sides[2], train=sides[0], holdout=sides[1]))
    assert found["auc"].interval[0] <= found["auc"].floor + 0.1


def test_no_row_and_no_value_stands_in_the_evidence():
    canary = TRAIN.assign(x=TRAIN["x"] + 0.0)
    canary.loc[0, "x"] = 31.4159265
    found = attack(canary, train=canary)
    told = str(found.scores) + str([frame.to_dict() for frame in (*found.tables.values(), *found.curves.values())])
    assert "31.4159" not in told
    assert not any(city in told for city in TRAIN["city"].unique())


def test_ranking_equals_the_textbook_area_and_the_exact_roc():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    is_member = rng.random(500) < 0.4
    scores = (rng.normal(size=500) + is_member).round(1)
    roc = Ranking.of(scores).roc(is_member)
    assert area(roc) == pytest.approx(roc_auc_score(is_member, scores), abs=1e-12)
    weights = rng.integers(0, 3, 500).astype(float)
    assert area(Ranking.of(scores).roc(is_member, weights)) == pytest.approx(
        roc_auc_score(is_member, scores, sample_weight=weights), abs=1e-12
    )


def test_hits_count_what_lies_above_the_threshold_and_part_of_a_tie():
    # Four members, four others; two of either share the top score, so that half of the alarms give half of the hits.
    scores = np.array([3, 3, 1, 0, 3, 3, 0, 0], dtype=float)
    roc = Ranking.of(scores).roc(np.arange(8) < 4)
    assert hits_at(roc, 0.25) == pytest.approx(0.25)
    assert hits_at(roc, 0.5) == pytest.approx(0.75)
    perfect = Ranking.of(np.array([1.0, 1, 0, 0])).roc(np.arange(4) < 2)
    assert hits_at(perfect, 0.0) == 1.0
