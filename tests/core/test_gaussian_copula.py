"""The Gaussian copula recovers latent correlation, nulls and order, and conditions like rejection does."""

import numpy as np
import pandas as pd
import pytest

from synth_components.errors import ConditionError, UnsupportedError
from synth_components.gaussian import Region, conditional_draw, nearest_correlation, truncated_draw
from synth_components.generators.tabular.gaussian_copula import GaussianCopula
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Dataset, Given, Interval, Run
from synth_components.schema import TABLE, Boolean, Categorical, Numeric, Schema
from synth_components.testing import toy_table


def fit(table, columns, **options):
    data = Dataset({TABLE: table}, Schema({TABLE: columns}))
    return GaussianCopula(**options).fit(data, rng=np.random.default_rng(0), ledger=Ledger(), run=Run())


def normals(rho, n, seed=0):
    rng = np.random.default_rng(seed)
    first = rng.normal(size=n)
    return first, rho * first + np.sqrt(1 - rho**2) * rng.normal(size=n)


@pytest.mark.parametrize("rho", [-0.6, 0.0, 0.8])
def test_latent_correlation_is_recovered_for_continuous_discrete_and_boolean_columns(rho):
    n = 20_000
    first, second = normals(rho, n)
    coarse, flag = np.clip(np.rint(first), -2, 2).astype("int64"), second > 0.8
    table = pd.DataFrame({"real": first, "real2": second, "coarse": coarse, "flag": flag})
    columns = {"real": Numeric(), "real2": Numeric(), "coarse": Numeric(dtype="int64", places=0), "flag": Boolean()}

    correlation = fit(table, columns).correlation

    # The standard error of a tetrachoric correlation at these cuts is at most about 2 / sqrt(n) = .014; 4 of them.
    for i, j in ((0, 1), (0, 3), (1, 2), (2, 3)):
        assert abs(correlation[i, j] - rho) < 4 * 2 / np.sqrt(n)


def test_nulls_are_learned_jointly_with_other_columns():
    rng = np.random.default_rng(0)
    n = 10_000
    group = rng.random(n) < 0.5
    value = np.where(rng.random(n) < np.where(group, 0.6, 0.1), np.nan, rng.normal(size=n))
    columns = {"group": Boolean(), "value": Numeric(nullable=True)}

    drawn = fit(pd.DataFrame({"group": group, "value": value}), columns).sample(n, rng=rng).table

    # Two binary columns have one degree of freedom, so both shares are exact: 4 sqrt(2 * .25 / (n / 2)) = .04.
    for side, share in ((True, 0.6), (False, 0.1)):
        assert abs(drawn.loc[drawn["group"] == side, "value"].isna().mean() - share) < 4 * np.sqrt(2 * 0.25 / (n / 2))


def test_categories_are_ordered_by_the_columns_that_depend_on_them():
    rng = np.random.default_rng(0)
    level = rng.integers(0, 5, size=3_000)
    names = np.array(["c", "e", "a", "d", "b"], dtype=object)  # the order of meaning is not the order of codes
    table = pd.DataFrame({"name": names[level], "value": level + rng.normal(size=3_000)})

    sampler = fit(table, {"name": Categorical(categories=("a", "b", "c", "d", "e")), "value": Numeric()})

    learned = [("a", "b", "c", "d", "e")[code] for code in sampler.columns["name"].order]
    assert learned in (names.tolist(), names.tolist()[::-1])


def test_a_category_without_support_is_never_drawn():
    table = pd.DataFrame({"x": pd.Series(["a"] * 50 + ["b"] * 50 + ["rare"] * 3, dtype=object)})
    sampler = fit(table, {"x": Categorical(categories=("a", "b", "rare"))})
    assert set(sampler.sample(2_000, rng=np.random.default_rng(0)).table["x"]) == {"a", "b"}


TOY = toy_table(rows=1_500)
SAMPLER = GaussianCopula(knots=50).fit(TOY, rng=np.random.default_rng(0), ledger=Ledger(), run=Run())


@pytest.mark.parametrize(
    ("name", "allowed", "keep"),
    [
        ("income", Interval(30_000, 60_000), lambda t: t["income"].between(30_000, 60_000)),
        ("age", Interval(50, None), lambda t: t["age"] >= 50),
        ("education", frozenset(["none", "doctorate"]), lambda t: t["education"].isin(["none", "doctorate"])),
        ("smoker", frozenset([None]), lambda t: t["smoker"].isna()),
        ("employed", frozenset([False]), lambda t: ~t["employed"]),
    ],
)
def test_allowed_values_condition_like_rejection(name, allowed, keep):
    n = 4_000
    free = SAMPLER.sample(60_000, rng=np.random.default_rng(1)).table
    rejected = free[keep(free)]

    given = SAMPLER.sample(n, rng=np.random.default_rng(2), given=Given(allowed={name: allowed})).table

    assert keep(given).all()
    for other in ("skill", "visits", "employed", "seen"):
        ours, theirs = (part[other].dropna() for part in (given, rejected))
        if other == "seen":
            ours, theirs = ours.dt.tz_localize(None), theirs.dt.tz_localize(None)
            ours, theirs = (part.astype("datetime64[s]").astype("int64") for part in (ours, theirs))
        ours, theirs = ours.astype(float).to_numpy(), theirs.astype(float).to_numpy()
        grid = np.unique(theirs)
        gap = np.abs(
            np.searchsorted(np.sort(ours), grid, "right") / len(ours)
            - np.searchsorted(np.sort(theirs), grid, "right") / len(theirs)
        ).max()
        # Two-sample Kolmogorov-Smirnov at p = 1e-6: sqrt(-ln(p / 2) / 2) = 2.69.
        assert gap < 2.7 * np.sqrt(1 / len(ours) + 1 / len(theirs)), other


def test_fixed_values_condition_like_rejection():
    free = SAMPLER.sample(60_000, rng=np.random.default_rng(1)).table
    rejected = free[(free["education"] == "college") & (free["visits"] == 0)]
    rows = pd.DataFrame({"education": ["college"] * 4_000, "visits": pd.array([0] * 4_000, dtype="Int64")})

    given = SAMPLER.sample(4_000, rng=np.random.default_rng(2), given=Given(rows=rows)).table

    assert (given["education"] == "college").all()
    assert (given["visits"] == 0).all()
    deviation = np.sqrt(rejected["skill"].var() * (1 / len(rejected) + 1 / len(given)))
    assert abs(given["skill"].mean() - rejected["skill"].mean()) < 4 * deviation
    assert abs(given["employed"].mean() - rejected["employed"].mean()) < 4 * np.sqrt(
        0.25 / len(rejected) + 0.25 / 4_000
    )


def test_each_request_row_is_answered_in_its_place_and_null_is_free():
    rows = pd.DataFrame({"age": [30.0, None, 70.0], "education": [None, "college", None]})
    given = SAMPLER.sample(3, rng=np.random.default_rng(0), given=Given(rows=rows)).table
    assert given["age"].iloc[[0, 2]].tolist() == [30, 70]
    assert given["education"].iloc[1] == "college"


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (Given(allowed={"nowhere": Interval(0, 1)}), ConditionError),
        (Given(allowed={"age": Interval(200, 300)}), ConditionError),
        (Given(allowed={"age": frozenset([None])}), ConditionError),
        (Given(allowed={"city": frozenset(["Zürich", None])}), UnsupportedError),
        (Given(rows=pd.DataFrame({"age": [500]})), ConditionError),
        (Given(rows=pd.DataFrame({"education": ["kindergarten"]})), ConditionError),
        (Given(rows=pd.DataFrame({"age": [30]}), allowed={"age": Interval(40, 50)}), ConditionError),
        (Given(rows=pd.DataFrame({"age": [30, 31]})), ConditionError),
    ],
)
def test_impossible_conditions_raise(given, error):
    with pytest.raises(error):
        SAMPLER.sample(1, rng=np.random.default_rng(0), given=given)


def test_correlations_are_estimated_on_at_most_max_rows():
    first, second = normals(0.7, 5_000)
    table, columns = pd.DataFrame({"a": first, "b": second}), {"a": Numeric(), "b": Numeric()}
    whole, few = fit(table, columns).correlation[0, 1], fit(table, columns, max_rows=200).correlation[0, 1]
    assert few != whole
    assert abs(few - whole) < 4 * (1 - 0.7**2) / np.sqrt(200)  # 4 standard errors of a correlation on 200 rows


def test_nearest_correlation_agrees_with_highams_example():
    # Higham 2002, Sec. 4: the tridiagonal 3 x 3 matrix of ones; the off-diagonals become .7607 and .1573.
    made = nearest_correlation(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]), floor=1e-8)
    np.testing.assert_allclose(made, [[1, 0.7607, 0.1573], [0.7607, 1, 0.7607], [0.1573, 0.7607, 1]], atol=1e-4)


def test_nearest_correlation_leaves_a_definite_matrix_alone():
    matrix = np.array([[1.0, 0.5], [0.5, 1.0]])
    np.testing.assert_array_equal(nearest_correlation(matrix), matrix)


def test_truncated_draws_stay_within_their_intervals_far_in_the_tail():
    n = 1_000
    low, high = np.tile([[8.0, -np.inf]], (n, 1)), np.tile([[9.0, -9.0]], (n, 1))
    drawn = truncated_draw(low, high, np.zeros(n), np.ones(n), rng=np.random.default_rng(0))
    assert (((drawn >= 8) & (drawn <= 9)) | (drawn <= -9)).all()
    # Beyond 8 the excess is nearly exponential with mean 1/8: .122 with the next term, deviation .119 / sqrt(n).
    assert abs(drawn.mean() - 8.122) < 4 * 0.12 / np.sqrt(n) + 0.002


def test_conditional_draw_given_two_intervals_agrees_with_rejection():
    correlation = np.array([[1.0, 0.7, 0.5], [0.7, 1.0, 0.6], [0.5, 0.6, 1.0]])
    rng = np.random.default_rng(0)
    free = rng.multivariate_normal(np.zeros(3), correlation, size=400_000)
    kept = free[(free[:, 0] > 1) & (free[:, 1] < 0)]
    n = 20_000
    low, high = np.tile([[[1.0], [-np.inf]]], (n, 1, 1)), np.tile([[[np.inf], [0.0]]], (n, 1, 1))

    drawn = conditional_draw(correlation, Region(np.array([0, 1]), low, high), rng=rng)

    tolerance = 4 * kept.std(axis=0) * np.sqrt(1 / len(kept) + 1 / n)
    assert (np.abs(drawn.mean(axis=0) - kept.mean(axis=0)) < tolerance).all()
    np.testing.assert_allclose(drawn.std(axis=0), kept.std(axis=0), rtol=4 / np.sqrt(2 * len(kept)) + 0.01)


SHOPS = (2**60 + 5, 2**60 + 9, 2**62 + 7)


def shops():
    """Return rows of three shops, two of whose wide numbers share their upper half, and what is sold there."""
    rng = np.random.default_rng(0)
    shop = rng.integers(0, 3, 3_000)
    number = pd.Series(pd.array([SHOPS[k] for k in shop], dtype="Int64")).mask(rng.random(3_000) < 0.1)
    table = pd.DataFrame({"number": number, "sold": 10.0 * shop + rng.normal(size=3_000)})
    columns = {
        "number": Numeric(dtype="Int64", low=SHOPS[0], high=SHOPS[2], places=0, nullable=True),
        "sold": Numeric(),
    }
    return fit(table, columns, min_category_count=10)


def test_wide_integers_are_drawn_whole_and_as_often_as_they_are():
    drawn = shops().sample(4_000, rng=np.random.default_rng(1)).table["number"]

    assert set(drawn.dropna()) == set(SHOPS)
    # 4 sigma of a share of 0.3, of 3,000 rows learned and 4,000 drawn: 4 * sqrt(0.21 / 3000 + 0.21 / 4000) = .044
    for number in SHOPS:
        assert abs((drawn == number).sum() / 4_000 - 0.3) < 0.044


def test_both_halves_of_wide_integers_go_with_other_columns():
    drawn = shops().sample(4_000, rng=np.random.default_rng(1)).table
    means = drawn.groupby("number")["sold"].mean()

    # The true means are 0, 10 and 20; a copula keeps the direction and, of a step between neighbours, most.
    assert means[SHOPS[1]] - means[SHOPS[0]] > 3
    assert means[SHOPS[2]] - means[SHOPS[1]] > 3


def test_request_rows_of_wide_integers_draw_what_goes_with_them():
    asked = pd.DataFrame({"number": pd.array([SHOPS[0]] * 500 + [SHOPS[2]] * 500, dtype="Int64")})
    drawn = shops().sample(1_000, rng=np.random.default_rng(1), given=Given(rows=asked, allowed={})).table

    assert drawn["number"].tolist() == asked["number"].tolist()
    assert drawn["sold"][500:].mean() - drawn["sold"][:500].mean() > 10


def test_a_saved_copula_of_wide_integers_draws_the_same(tmp_path):
    made = shops()
    made.save(tmp_path)
    first, second = (one.sample(500, rng=np.random.default_rng(2)).table for one in (made, type(made).load(tmp_path)))
    pd.testing.assert_frame_equal(first, second)


def test_a_wide_column_without_values_is_drawn_null():
    table = pd.DataFrame({"number": pd.array([None] * 50, dtype="Int64"), "sold": np.arange(50.0)})
    columns = {
        "number": Numeric(dtype="Int64", low=SHOPS[0], high=SHOPS[2], places=0, nullable=True),
        "sold": Numeric(),
    }
    assert fit(table, columns).sample(20, rng=np.random.default_rng(0)).table["number"].isna().all()
