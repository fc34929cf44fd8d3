"""What is done about rows that break a rule: repair, reject, warn, refuse."""

import logging

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.constraints import RULES, Expression, Monotone, Range, Unique, check, constraint_from_json
from synth_components.enforcement import enforce
from synth_components.errors import ConstraintError
from synth_components.evaluation.options import FidelityConfig
from synth_components.evaluation.validity import validity
from synth_components.protocols import Context, Dataset
from synth_components.schema import Schema
from synth_components.steps.gate import GateConfig, shortfalls

SCHEMA = Schema.from_json(
    {"columns": {name: {"type": "numeric", "dtype": "float64", "low": 0, "high": 100, "places": 0} for name in "ab"}}
)


def draws(seed=0):
    rng = np.random.default_rng(seed)
    return lambda positions: pd.DataFrame({name: rng.integers(0, 101, len(positions)) * 1.0 for name in "ab"})


def enforced(rule, n=400, **options):
    return enforce(draws(), [rule], n, rng=np.random.default_rng(1), schema=SCHEMA, **options)


def below_fifty(policy):
    return Range(name="low", column="a", high=50, policy=policy)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_type_of_rule_has_a_policy_that_is_repair_unless_said_otherwise(rule):
    assert rule.model_fields["policy"].default == "repair"


def test_a_rule_written_before_policies_existed_still_loads():
    old = {"name": "range(a)", "type": "range", "column": "a", "low": 1, "high": None, "strict": False}
    assert constraint_from_json(old) == Range(column="a", low=1)


def test_repair_moves_values_to_the_bound():
    # 50 of 101 values lie beyond 50 and are clipped to it, so that half of the rows hold it: 4 sigma of 400 are 0.10
    assert abs((enforced(below_fifty("repair"))["a"] == 50).mean() - 51 / 101) < 0.1


def test_reject_leaves_no_pile_at_the_bound():
    drawn = enforced(below_fifty("reject"))
    assert drawn["a"].max() <= 50
    # 1 of the 51 values that are left: 4 sigma of 400 are 0.03
    assert (drawn["a"] == 50).mean() < 1 / 51 + 0.03


def test_warn_keeps_the_rows_and_tells_how_many_break_the_rule(caplog):
    with caplog.at_level(logging.WARNING):
        drawn = enforced(below_fifty("warn"))
    broken = int((drawn["a"] > 50).sum())
    assert broken > 0
    assert drawn.attrs["acceptance"]["low"] == pytest.approx(1 - broken / 400)
    assert f"'low' (policy warn) is broken by {broken} of 400 rows" in caplog.text


def test_warn_about_rows_of_earlier_blocks_counts_repetitions_across_them(caplog):
    before = pd.DataFrame({"a": np.arange(101) * 1.0})
    with caplog.at_level(logging.WARNING):
        drawn = enforced(Unique(columns=("a",), policy="warn"), 50, before=before)
    assert drawn.attrs["acceptance"]["unique(a)"] == 0.0


def test_a_row_that_breaks_a_warned_rule_does_not_count_as_compliant():
    rule = below_fifty("warn")
    schema = SCHEMA.with_constraints((rule,))
    drawn = enforced(rule)
    data = Dataset({"table": drawn}, schema)
    evidence = validity(data, data, data, context=Context(), rng=np.random.default_rng(0))
    scores = {score.name: score.value for score in evidence.scores}
    assert scores["validity.rules"] == (drawn["a"] <= 50).mean() < 1


def test_report_card_score_and_gate_count_the_rows_of_a_warned_rule_as_broken():
    rule = below_fifty("warn")
    drawn = enforced(rule)
    share = (drawn["a"] <= 50).mean()
    report = synth.evaluate(
        draws(1)(np.arange(200)),
        draws(2)(np.arange(200)),
        drawn,
        schema=SCHEMA.with_constraints((rule,)),
        config=FidelityConfig(replicates=10, detector_rows=60, detector_folds=2, manifold_rows=60),
    )

    (verdict,) = (line for line in report.card if line.name == "rules obeyed")
    (advice,) = (one for one in report.recommendations if one.subject == ("low",))
    assert (verdict.value, verdict.passed) == (share, False)
    assert report.overall.parts["validity"] == pytest.approx((share + 1) / 2)
    assert "policy repair or reject" in advice.change
    assert shortfalls(report, GateConfig(min_scores={"validity.rules": 1})) == [
        f"validity.rules is {share:.4g}, at least 1 is asked for"
    ]


def test_refuse_raises_as_soon_as_one_candidate_breaks_the_rule():
    with pytest.raises(ConstraintError, match=r"'low' has policy refuse, and \d+ of 400 candidates") as caught:
        enforced(below_fifty("refuse"))
    assert caught.value.constraint == "low"
    assert 0 < caught.value.acceptance < 1


def test_refuse_of_a_repetition_raises():
    with pytest.raises(ConstraintError, match="policy refuse"):
        enforced(Unique(columns=("a",), policy="refuse"))


def test_refuse_lets_rows_pass_that_all_obey():
    drawn = enforced(Range(column="a", high=100, policy="refuse"))
    assert drawn.attrs["acceptance"]["range(a)"] == 1.0


def test_a_repair_may_meet_a_rule_that_refuses():
    rules = [Range(column="a", low=60), Expression(expression="a >= 60", policy="refuse")]
    drawn = enforce(draws(), rules, 100, rng=np.random.default_rng(1), schema=SCHEMA)
    assert drawn["a"].min() >= 60


@pytest.mark.parametrize("policy", ["repair", "reject", "warn", "refuse"])
def test_a_policy_survives_saving_the_model(tmp_path, policy):
    table = draws()(np.arange(200))
    rule = below_fifty(policy)
    synth.fit(table, generator="tabular.independent", seed=0, schema=SCHEMA, constraints=[rule]).save(
        tmp_path / "model"
    )
    assert synth.load(tmp_path / "model").schema.constraints == (rule,)


@pytest.mark.parametrize("decreasing", [False, True])
def test_a_monotone_column_is_in_order_across_blocks(decreasing):
    table = draws()(np.arange(500))
    rule = Monotone(column="b", order="a", decreasing=decreasing)
    model = synth.fit(table, generator="tabular.independent", seed=0, schema=SCHEMA, constraints=[rule])
    drawn = model.sample(40_000, seed=0)  # three blocks of 16,384 rows
    assert check(drawn, [rule]) == {rule.name: 1.0}
    # Rearranging keeps the marginal: the mean of 0..100 is 50, 4 sigma of 500 rows 5.2.  Later blocks move little.
    assert abs(drawn["b"].mean() - table["b"].mean()) < 5.2
    assert drawn["b"].nunique() > 90


def test_the_rows_that_a_monotone_rule_allows_are_in_order_among_themselves():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.integers(0, 9, 300), "b": rng.integers(0, 9, 300), "g": rng.integers(0, 3, 300)})
    rule = Monotone(column="b", order="a", by=("g",))
    obeys = rule.allows(table).to_numpy()
    group, a, b = (table[name].to_numpy() for name in ("g", "a", "b"))
    for i in range(300):
        earlier = np.arange(i)[group[:i] == group[i]]
        inverted = ((a[earlier] < a[i]) & (b[earlier] > b[i])) | ((a[earlier] > a[i]) & (b[earlier] < b[i]))
        assert obeys[i] == (not inverted.any())
