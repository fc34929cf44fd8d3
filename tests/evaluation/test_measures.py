"""The fidelity measures against other implementations, and on tables whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import chi2_contingency, ks_2samp

from synth_components.evaluation.association import association
from synth_components.evaluation.fidelity import marginal
from synth_components.evaluation.manifold import manifold
from synth_components.evaluation.options import FidelityConfig
from synth_components.protocols import Context, Dataset
from synth_components.schema import Categorical, Numeric, Schema


def drawn(n, seed, *, shift=0.0, spread=1.0, link=0.8):
    rng = np.random.default_rng(seed)
    x = rng.normal(shift, spread, size=n)
    y = link * x + np.sqrt(1 - link**2) * rng.normal(size=n)
    return pd.DataFrame({"x": x, "y": y, "side": np.where(x + rng.normal(size=n) > 0, "l", "r").astype(object)})


def evidence(metric, synthetic):
    columns = {"x": Numeric(), "y": Numeric(), "side": Categorical(dtype="object", categories=("l", "r"))}
    sides = [Dataset({"table": one}, Schema({"table": columns})) for one in (TRAIN, HOLDOUT, synthetic)]
    config = FidelityConfig(replicates=10, manifold_rows=600)
    return metric(*sides, context=Context(), rng=np.random.default_rng(0), config=config)


def values(metric, synthetic):
    return {one.name: one.value for one in evidence(metric, synthetic).scores if not one.subject}


TRAIN, HOLDOUT, SHIFTED = drawn(600, 1), drawn(600, 2), drawn(500, 3, shift=0.3)


def test_each_column_is_tested_by_kolmogorov_smirnov_or_chi_square_as_scipy_does():
    table = evidence(marginal, SHIFTED).tables["fidelity.marginal"].set_index("column")
    for name in ("x", "y"):
        wanted = ks_2samp(TRAIN[name], SHIFTED[name], method="asymp")
        assert_allclose(table.loc[name, ["statistic", "p_value"]].astype(float), wanted, rtol=1e-9)
    counts = [side["side"].value_counts().sort_index() for side in (TRAIN, SHIFTED)]
    wanted = chi2_contingency(np.array(counts), correction=False)[:2]
    assert_allclose(table.loc["side", ["statistic", "p_value"]].astype(float), wanted, rtol=1e-9)


def test_alpha_precision_and_beta_recall_of_a_fresh_sample_are_near_one_and_one_half():
    made = values(manifold, drawn(600, 4))
    assert made["fidelity.alpha_precision"] > 0.9
    # Half of the real rows have a drawn row nearer than their nearest real one, at every level.
    assert made["fidelity.beta_recall"] == pytest.approx(0.5, abs=0.08)


def test_far_rows_cost_precision_and_rows_of_one_kind_cost_recall():
    fresh, far, narrow = (
        values(manifold, table) for table in (drawn(600, 4), drawn(600, 4, shift=4.0), drawn(600, 4, spread=0.05))
    )
    assert far["fidelity.alpha_precision"] < 0.2 < fresh["fidelity.alpha_precision"]
    assert narrow["fidelity.beta_recall"] < 0.5 * fresh["fidelity.beta_recall"]


def test_the_information_error_is_zero_of_a_copy_and_grows_when_columns_part():
    rng = np.random.default_rng(5)
    parted = pd.DataFrame({name: rng.permutation(TRAIN[name].to_numpy()) for name in TRAIN})
    copy, fresh, parted_values = (values(association, table) for table in (TRAIN, drawn(600, 6), parted))
    assert copy["fidelity.information"] == pytest.approx(0.0, abs=1e-12)
    assert copy["fidelity.correlation.difference"] == pytest.approx(0.0, abs=1e-12)
    assert parted_values["fidelity.information"] > 2 * fresh["fidelity.information"]
    # x and y: .8, the others less; nothing is left of it.
    assert parted_values["fidelity.correlation.difference"] > 0.2
