"""The mixture: both methods find components, and conditions are met by the model's exact law."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from synth_components.generators.tabular.mixture import Mixture
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Dataset, Given, Interval, Run
from synth_components.schema import Categorical, Numeric, Schema


def three_kinds(n=3_000, seed=0):
    """Return rows of three kinds, each with a color and a place of its own."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(3, size=n)
    table = pd.DataFrame(
        {"color": np.array(["r", "g", "b"], dtype=object)[kind], "x": np.round(kind * 10 + rng.normal(size=n), 3)}
    )
    columns = {"color": Categorical(categories=("r", "g", "b")), "x": Numeric(places=3)}
    return Dataset({"data": table}, Schema({"data": columns}, root="data"))


def fitted(data, **options):
    return Mixture(**options).fit(data, rng=np.random.default_rng(0), ledger=Ledger(), run=Run())


def drawn(sampler, n, given=None):
    return sampler.sample(n, rng=np.random.default_rng(1), given=given).table


@pytest.mark.parametrize("distribution", ["gaussian", "categorical"])
@pytest.mark.parametrize("method", ["em", "variational"])
def test_a_mixture_finds_the_kinds_of_rows(method, distribution):
    data = three_kinds()
    made = drawn(fitted(data, method=method, distribution=distribution, components=12), 3_000)
    for color in "rgb":
        ours, theirs = (table.loc[table["color"] == color, "x"] for table in (made, data.table))
        # Kinds are 10 apart: at most a tenth of the rows of one may be drawn as if of the next.
        assert abs(ours.mean() - theirs.mean()) < 1.0


def test_variational_inference_empties_components_that_the_rows_do_not_need():
    rng = np.random.default_rng(0)
    kind = rng.integers(3, size=2_000)
    names = ("a", "b", "c")
    table = pd.DataFrame(
        {
            f"c{i}": np.array(names, dtype=object)[np.where(rng.random(2_000) < 0.9, kind, rng.integers(3, size=2_000))]
            for i in range(5)
        }
    )
    columns = {name: Categorical(categories=names) for name in table}
    data = Dataset({"data": table}, Schema({"data": columns}, root="data"))
    options = {"components": 12, "iterations": 200, "tolerance": 0.0, "concentration": 0.001}
    held = [int((fitted(data, method=m, **options).share > 0.005).sum()) for m in ("em", "variational")]
    assert held[1] <= 6 < held[0]


def test_a_step_of_expectation_maximisation_never_lowers_the_likelihood():
    seen = []
    run = Run(report=lambda done, total, /, **metrics: seen.append(metrics.get("log_likelihood")))
    recipe = Mixture(components=5, distribution="categorical", prior=1e-6, tolerance=0.0, iterations=15, knots=20)
    recipe.fit(three_kinds(500), rng=np.random.default_rng(0), ledger=Ledger(), run=run)
    reached = np.array(seen[:-1], dtype=float)
    assert len(reached) > 2
    assert (np.diff(reached) > -1e-4).all()  # a single-precision sum of 500 logs of some 10 nats
    assert reached[-1] > reached[0]


def test_a_condition_is_met_by_the_law_of_the_rows_that_meet_it():
    sampler = fitted(three_kinds(), components=6)
    free = drawn(sampler, 30_000)
    asked = drawn(sampler, 8_000, Given(allowed={"x": Interval(8.0, 19.0)}))
    kept = free[free["x"].between(8.0, 19.0)]
    shares = [table["color"].value_counts(normalize=True).reindex(list("rgb")).fillna(0) for table in (asked, kept)]
    assert asked["x"].between(8.0, 19.0).all()
    assert_allclose(*shares, atol=5 * 0.5 * np.sqrt(1 / len(asked) + 1 / len(kept)))
