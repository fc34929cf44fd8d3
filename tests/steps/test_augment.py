import numpy as np
import pandas as pd
import pytest

from synth_components.augment import AugmentConfig, augment
from synth_components.config import ConfigError
from synth_components.errors import SchemaError, SynthError
from synth_components.fitting import fit


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": rng.integers(20, 80, 200),
            "sex": np.where(rng.random(200) < 0.25, "F", "M"),
            "outcome": np.repeat(["well", "ill", None], [150, 40, 10]),
        }
    )


@pytest.fixture(scope="module")
def model(table):
    return fit(table, generator="tabular.independent", seed=0)


def made(table, model, **options):
    return augment(table, model, config=AugmentConfig(**options))


def test_multiply_gives_exactly_factor_times_the_rows_after_the_originals(table, model):
    result = made(table, model, mode="multiply", factor=2.5)
    assert result["provenance"].tolist() == ["original"] * 200 + ["synthetic"] * 300
    pd.testing.assert_frame_equal(result[: len(table)].drop(columns="provenance"), table)


def test_multiply_by_one_adds_no_row(table, model):
    assert len(made(table, model, mode="multiply", factor=1)) == 200


def test_balance_brings_every_class_up_to_the_largest(table, model):
    result = made(table, model, mode="balance", columns=("outcome",))
    assert result["outcome"].value_counts(dropna=False).to_dict() == {"well": 150, "ill": 150, None: 10}
    assert (result["provenance"] == "synthetic").sum() == 110


def test_balance_to_a_ratio_leaves_the_larger_classes_alone(table, model):
    result = made(table, model, mode="balance", columns=("outcome",), ratio=0.5)
    assert result["outcome"].value_counts().to_dict() == {"well": 150, "ill": 75}


def test_balance_over_two_columns_fills_every_subgroup_that_occurs(table, model):
    before = table.dropna().groupby(["sex", "outcome"]).size()
    after = made(table, model, mode="balance", columns=("sex", "outcome")).dropna().groupby(["sex", "outcome"]).size()
    assert len(before) == 4
    assert after.tolist() == [before.max()] * 4


def test_enrich_brings_a_subgroup_to_its_share_with_the_fewest_rows(table, model):
    result = made(table, model, mode="enrich", group={"sex": "F"}, share=0.5)
    women = int((table["sex"] == "F").sum())
    # women + k = (200 + k) / 2, so k = 200 - 2 women
    assert len(result) == 200 + 200 - 2 * women
    assert (result["sex"] == "F").mean() == 0.5


def test_enrich_adds_nothing_to_a_subgroup_that_is_large_enough(table, model):
    assert len(made(table, model, mode="enrich", group={"sex": "F"}, share=0.01)) == 200


def test_dtypes_and_columns_stay(table, model):
    result = made(table, model, mode="balance", columns=("outcome",), provenance="origin")
    assert list(result) == [*table, "origin"]
    assert result["age"].dtype == table["age"].dtype


def test_same_seed_gives_the_same_rows_and_another_seed_others(table, model):
    first, again, other = (made(table, model, mode="multiply", seed=seed) for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


@pytest.mark.parametrize(
    ("options", "column"),
    [
        ({"mode": "multiply", "provenance": "sex"}, "sex"),
        ({"mode": "balance", "columns": ("nothing",)}, "nothing"),
        ({"mode": "enrich", "group": {"nothing": 1}}, "nothing"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_column(table, model, options, column):
    with pytest.raises(SchemaError, match=column) as caught:
        made(table, model, **options)
    assert caught.value.column == column


def test_a_continuous_target_is_refused():
    numbers = pd.DataFrame({"x": np.arange(500) / 7, "y": np.arange(500) % 2})
    model = fit(numbers, generator="tabular.independent", seed=0)
    with pytest.raises(SchemaError, match="too many to balance"):
        made(numbers, model, mode="balance", columns=("x",))


def test_a_model_of_other_columns_is_refused(table, model):
    with pytest.raises(SchemaError, match="trained on other columns"):
        made(table.drop(columns="age"), model)


@pytest.mark.parametrize("options", [{"mode": "balance"}, {"mode": "enrich"}, {"factor": 0.5}])
def test_a_mode_without_its_options_is_refused(options):
    with pytest.raises(ConfigError):
        AugmentConfig.parse(options)


@pytest.mark.parametrize("name", ["table", "model", "config"])
def test_an_argument_of_another_type_is_refused_by_name(table, model, name):
    given = {"table": table, "model": model, "config": AugmentConfig(), name: None}
    with pytest.raises(SynthError, match=rf"augment: {name} must be"):
        augment(given["table"], given["model"], config=given["config"])


def test_a_seed_that_is_no_whole_number_is_refused(table, model):
    with pytest.raises(SynthError, match="whole number"):
        augment(table, model, config=AugmentConfig(), seed=1.5)


@pytest.mark.parametrize("epsilon", [None, 1.0])
def test_of_a_private_model_the_log_says_that_no_epsilon_holds_of_the_augmented_table(epsilon, caplog):
    if epsilon is not None:
        pytest.importorskip("opendp", reason="the extra dp is not installed")
    rows = pd.DataFrame({"a": [True, False] * 20, "b": [True, True] * 20})
    schema = {"columns": {name: {"type": "boolean", "dtype": "bool", "public": True} for name in rows}}
    name = "tabular.independent" if epsilon is None else "tabular.mst"
    made(rows, fit(rows, generator=name, epsilon=epsilon, schema=schema), mode="multiply", factor=2)
    assert ("the augmented table is not: it holds the original rows" in caplog.text) == (epsilon is not None)
