"""Of a sequence with a row that a rule rejects all rows are drawn again, and the others stay whole."""

import re
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.constraints import Monotone, Range
from synth_components.enforcement import MAX_SEQUENCES
from synth_components.errors import ConstraintError
from synth_components.generators.auto import AutoSampler

CHAIN = np.array([[0.8, 0.15, 0.05], [0.1, 0.6, 0.3], [0.3, 0.1, 0.6]])
LENGTH = 4
BY = {"group": "machine", "order_by": "hour", "length": LENGTH}


def machines(count=500, rows=30, seed=0):
    """Return logs of machines at three levels, that of each hour drawn given the one before."""
    rng = np.random.default_rng(seed)
    level = np.zeros((count, rows), dtype=int)
    for step in range(1, rows):
        level[:, step] = (rng.random(count)[:, None] > np.cumsum(CHAIN[level[:, step - 1]], axis=1)).sum(axis=1)
    return pd.DataFrame(
        {
            "machine": np.repeat(np.arange(count) * 199, rows),
            "hour": np.tile(pd.date_range("2024-01-01", periods=rows, freq="h"), count),
            "level": level.ravel(),
        }
    )


RULES = {
    "a row is rejected": (Range(name="works", column="level", high=1, policy="reject"), lambda path: max(path) < 2),
    "rows of a sequence are compared": (
        Monotone(name="wears", column="level", order="hour", by=("machine",), policy="reject"),
        lambda path: list(path) == sorted(path),
    ),
}


def shares(allowed):
    """Return the probability of each path that is allowed, given that it is; every one begins at level 0."""
    paths = [(0, *rest) for rest in product(range(3), repeat=LENGTH - 1)]
    mass = {path: np.prod([CHAIN[a, b] for a, b in pairwise(path)]) for path in paths if allowed(path)}
    return {path: float(value / sum(mass.values())) for path, value in mass.items()}


def require_whole(table, rows):
    """Fail unless sequences stand one after the other, each of hours that follow each other, the last one cut short."""
    sizes = table.groupby("machine", sort=False).size()
    assert sizes.tolist() == [LENGTH] * (rows // LENGTH) + [rows % LENGTH] * (rows % LENGTH > 0)
    assert (table["machine"].to_numpy() == np.repeat(sizes.index, sizes)).all()
    assert (table.groupby("machine")["hour"].diff().dropna() == pd.Timedelta("1h")).all()


@pytest.mark.parametrize("about", RULES)
@pytest.mark.parametrize("auto", [False, True], ids=["markov", "auto"])
def test_sequences_stay_whole_and_have_the_law_of_those_that_obey(about, auto):
    rule, allowed = RULES[about]
    generator, options, table = "tabular.markov", BY, machines()
    model = synth.fit(table, generator=generator, options=options, constraints=[rule], seed=0)
    if auto:
        model = replace(model, sampler=AutoSampler(model.sampler, {"generator": generator}))
    rows = 8_002
    made = model.sample(rows, seed=1)
    require_whole(made, rows)
    assert rule.allows(made).all()
    paths = made.groupby("machine", sort=False)["level"].apply(tuple)[:-1]
    for path, share in shares(allowed).items():
        sigma = np.sqrt(share * (1 - share) / len(paths))
        assert abs((paths == path).mean() - share) < 5 * sigma + 0.01  # the chain is learnt from 14,500 steps


@pytest.mark.parametrize("count", [200, 4_000])
def test_rows_that_are_asked_for_stay_in_their_places(count):
    rule, allowed = RULES["a row is rejected"]
    model = synth.fit(machines(), generator="tabular.markov", options=BY, constraints=[rule], seed=0)
    request = pd.DataFrame({"level": [None, 1, None, None] * (count // LENGTH)}, dtype="object")
    made = model.sample(count, seed=1, conditions=request)
    require_whole(made, count)
    assert (made["level"].to_numpy()[1::LENGTH] == 1).all()
    assert rule.allows(made).all()
    asked = {path: share for path, share in shares(allowed).items() if path[1] == 1}
    paths = made.groupby("machine", sort=False)["level"].apply(tuple)
    for path, share in asked.items():
        share /= sum(asked.values())
        sigma = np.sqrt(share * (1 - share) / len(paths))
        assert abs((paths == path).mean() - share) < 5 * sigma + 0.02  # the chain is learnt from 14,500 steps


def test_sequences_of_different_lengths_keep_their_law_where_a_row_is_asked_for():
    rule, _ = RULES["a row is rejected"]
    table = machines(rows=5)
    table = table[(table["machine"] // 199 % 2 == 0) | (table["hour"] < table["hour"].min() + pd.Timedelta("3h"))]
    options = {name: value for name, value in BY.items() if name != "length"}
    model = synth.fit(table, generator="tabular.markov", options=options, constraints=[rule], seed=0)
    count = 2_000
    asked = pd.DataFrame({"level": [0] + [None] * (count - 1)}, dtype="object")
    told = []
    for conditions in (None, asked):
        made = model.sample(count, seed=1, conditions=conditions)
        assert rule.allows(made).all()
        sizes = made.groupby("machine", sort=False).size()
        assert (made["machine"].to_numpy() == np.repeat(sizes.index, sizes)).all()
        assert (made.groupby("machine")["hour"].first() == table["hour"].min()).all()
        assert (made.groupby("machine")["hour"].diff().dropna() == pd.Timedelta("1h")).all()
        assert set(sizes.iloc[:-1]) == {3, 5}
        told.append((sizes.iloc[:-1] == 5).mean())
    # About 500 sequences each, so that a share has a deviation of .022, and their difference one of .032.
    assert abs(told[0] - told[1]) < 0.16


def test_without_a_rejection_the_rows_are_those_without_a_rule():
    rule = Range(name="wide", column="level", high=2, policy="reject")
    plain, ruled = (
        synth.fit(machines(), generator="tabular.markov", options=BY, constraints=rules, seed=0).sample(500, seed=1)
        for rules in ([], [rule])
    )
    pd.testing.assert_frame_equal(plain, ruled, check_flags=False)


@pytest.mark.parametrize("conditions", [None, {"level": [0, 1, 2]}])
@pytest.mark.parametrize("length", [0, 30])
def test_a_rule_that_no_sequence_obeys_is_named_though_half_of_their_rows_do(length, conditions):
    runs = Range(name="runs", column="level", low=1, policy="reject")  # and nearly every sequence begins at 0
    parts = Range(name="lasts", column="level", high=1, policy="reject")  # a quarter of the rows break it
    options = {**BY, "length": length}
    model = synth.fit(machines(), generator="tabular.markov", options=options, constraints=[parts, runs], seed=0)
    with pytest.raises(ConstraintError, match=r"'runs' cannot be met: 0.00% of the sequences obeyed it") as caught:
        model.sample(8_000, seed=1, conditions=conditions)
    told = re.search(r"after (\d+) sequences", str(caught.value))
    assert int(told[1]) <= MAX_SEQUENCES + 8_000 / 30  # and one pass more: 2,267 of 53,333 until then


def test_a_rule_that_few_sequences_obey_is_met():
    rule = Range(name="rests", column="level", high=0, policy="reject")  # as one of 70 does
    options = {**BY, "length": 20}
    model = synth.fit(machines(), generator="tabular.markov", options=options, constraints=[rule], seed=0)
    assert (model.sample(400, seed=1)["level"] == 0).all()
