"""A marginal follows its column, keeps atoms, holds no single value, and inverts its own transform."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from synth_components.errors import UnsupportedError
from synth_components.marginal import Marginal
from synth_components.schema import Boolean, Categorical, Numeric

NUMBER = Numeric(nullable=True)
LETTERS = Categorical(categories=tuple("abcdefgh"))


def of(values, column=NUMBER, *, knots=500, min_count=10):
    return Marginal.of(np.asarray(values, dtype=np.float64), column, name="x", knots=knots, min_count=min_count)


SHAPES = {
    "normal": stats.norm(3, 2),
    "lognormal": stats.lognorm(1.0),
    "bimodal": stats.beta(0.5, 0.5),
    "heavy tail": stats.t(3),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_draws_follow_the_truth(shape):
    n = 20_000
    truth = SHAPES[shape]
    rng = np.random.default_rng(0)
    marginal = of(truth.rvs(size=n, random_state=rng))
    drawn = marginal.quantile(rng.random(n))
    # Two samples of n, each at p = 1e-6: 2 * 2.69 / sqrt(n); and the piecewise part is off by at most half of one of
    # 500 pieces: .001.
    assert stats.kstest(drawn, truth.cdf).statistic < 2 * 2.7 / np.sqrt(n) + 0.001


def test_atoms_keep_their_share_and_their_value():
    rng = np.random.default_rng(0)
    values = np.where(rng.random(5_000) < 0.4, 0.0, rng.exponential(size=5_000))
    values[:100] = 7.5
    drawn = of(values).quantile(rng.random(50_000))
    for atom in (0.0, 7.5):
        share = (values == atom).mean()
        assert abs((drawn == atom).mean() - share) < 4 * np.sqrt(share * (1 - share) / 50_000)


def test_nulls_keep_their_share():
    rng = np.random.default_rng(0)
    values = np.where(rng.random(5_000) < 0.3, np.nan, rng.normal(size=5_000))
    share = np.isnan(values).mean()
    drawn = of(values).quantile(rng.random(50_000))
    assert abs(np.isnan(drawn).mean() - share) < 4 * np.sqrt(share * (1 - share) / 50_000)


def test_masses_and_the_null_share_sum_to_one():
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=100), np.append(np.full(30, np.nan), np.arange(70.0)), np.repeat([1.0, 2.0], 20)):
        marginal = of(values)
        assert marginal.mass.sum() + marginal.null == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("min_count", [2, 10, 40])
def test_no_single_value_stands_among_the_edges(min_count):
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=1_000), [1e6, -1e6], np.full(min_count, 3.25)])
    marginal = of(values, min_count=min_count)
    edges = np.unique(np.concatenate([marginal.low, marginal.high]))
    alone = values[values != 3.25]
    assert 3.25 in edges
    assert not np.isin(edges, alone).any()
    assert not np.isclose(edges[:, None], alone, rtol=1e-12, atol=0.0).any()


@pytest.mark.parametrize("n", [11, 25, 60, 1_000])
def test_how_far_out_an_extreme_row_lies_is_not_told(n):
    values = np.random.default_rng(0).normal(size=n)
    near, far = (of(np.append(values, [-reach, reach])) for reach in (1e3, 1e9))
    for name, array in near.to_arrays().items():
        np.testing.assert_array_equal(array, far.to_arrays()[name])
    assert -20 < near.low[0] < near.high[-1] < 20


def test_an_atom_needs_the_support_of_min_count_rows():
    values = np.concatenate([np.full(9, 1.5), np.full(10, 2.5), np.random.default_rng(0).normal(size=200)])
    marginal = of(values)
    assert marginal.low[marginal.low == marginal.high].tolist() == [2.5]


def test_rare_categories_are_redistributed_over_those_kept():
    marginal = of([0] * 60 + [1] * 30 + [2] * 9 + [-1] * 12, LETTERS)
    assert marginal.low.tolist() == [0, 1]
    np.testing.assert_allclose(marginal.mass, [2 / 3, 1 / 3])


def test_a_number_has_at_most_knots_pieces_and_knots_atoms():
    values = np.repeat(np.arange(300.0), 20) * 1.5
    values = np.concatenate([values, np.random.default_rng(0).normal(size=5_000)])
    marginal = of(values, knots=50)
    is_atom = marginal.low == marginal.high
    assert is_atom.sum() <= 50
    assert (~is_atom).sum() <= 50 + is_atom.sum()  # an atom splits the piece that holds it


@pytest.mark.parametrize("values", [[1.0], [1.0, 2.0, 3.0], np.arange(9.0)])
def test_too_few_rows_are_refused_with_the_column_and_no_value(values):
    with pytest.raises(UnsupportedError, match="'x'"):
        of(values)


@pytest.mark.parametrize("values", [[], [np.nan] * 20, [np.nan] * 20 + [1.0, 2.0]])
def test_a_column_without_supported_values_is_all_null(values):
    marginal = of(values)
    assert np.isnan(marginal.quantile(np.linspace(0, 0.999, 7))).all()


COLUMN_VALUES = st.lists(
    st.one_of(st.sampled_from([0.0, 1.0, 2.5, -3.0]), st.floats(-1e6, 1e6), st.just(float("nan"))),
    min_size=20,
    max_size=120,
).filter(lambda values: np.isfinite(values).sum() >= 10)


@settings(max_examples=60)
@given(COLUMN_VALUES, st.integers(2, 30))
def test_quantiles_rise_and_pieces_do_not_overlap(values, knots):
    marginal = of(values, knots=knots)
    drawn = marginal.quantile(np.linspace(0, 1, 400, endpoint=False))
    known = drawn[~np.isnan(drawn)]
    assert (np.diff(known) >= 0).all()
    assert (marginal.low <= marginal.high).all()
    assert (marginal.high[:-1] <= marginal.low[1:]).all()
    assert (marginal.mass >= 0).all()


@settings(max_examples=60)
@given(COLUMN_VALUES, st.integers(2, 30))
def test_the_quantile_of_the_uniform_gives_values_of_the_marginal_back(values, knots):
    marginal = of(values, knots=knots)
    rng = np.random.default_rng(0)
    own = marginal.quantile(rng.random(300))
    uniforms = marginal.uniform(own, rng=rng)
    assert ((uniforms >= 0) & (uniforms < 1)).all()
    back = marginal.quantile(uniforms)
    atoms = np.isin(own, marginal.low[marginal.low == marginal.high])
    span = float(np.ptp(np.concatenate([marginal.low, marginal.high])))
    np.testing.assert_array_equal(np.isnan(back), np.isnan(own))
    np.testing.assert_allclose(back[~np.isnan(own)], own[~np.isnan(own)], rtol=1e-9, atol=1e-9 * (span + 1))
    # A neighbour's end may equal the atom in floating point; the value is the atom's all the same.
    np.testing.assert_allclose(back[atoms], own[atoms], rtol=1e-12, atol=1e-12 * (span + 1))


def test_the_quantile_of_the_uniform_gives_each_atom_back_exactly():
    rng = np.random.default_rng(0)
    values = np.concatenate([np.repeat([0.0, 1.0, 2.5], 50), rng.normal(size=500)])
    marginal = of(values)
    atoms = np.repeat([0.0, 1.0, 2.5], 1_000)
    np.testing.assert_array_equal(marginal.quantile(marginal.uniform(atoms, rng=rng)), atoms)


def test_the_transform_of_its_own_draws_is_uniform():
    rng = np.random.default_rng(0)
    values = np.where(rng.random(3_000) < 0.3, 0.0, rng.normal(size=3_000))
    values[:300] = np.nan
    marginal = of(values)
    uniforms = marginal.uniform(marginal.quantile(rng.random(20_000)), rng=rng)
    assert stats.kstest(uniforms, "uniform").pvalue > 1e-6


def test_a_value_in_a_gap_or_outside_belongs_to_the_nearest_piece():
    marginal = of(np.repeat([0.0, 1.0, 10.0], 20), LETTERS)
    np.testing.assert_array_equal(marginal.piece_of(np.array([-5.0, 0.4, 0.6, 6.0, 99.0, np.nan])), [0, 0, 1, 2, 2, -1])


def test_a_discrete_marginal_says_so():
    assert of([0.0] * 20 + [1.0] * 20, Boolean()).is_discrete
    assert not of(np.random.default_rng(0).normal(size=50)).is_discrete


def test_a_marginal_survives_its_arrays():
    marginal = of(np.append(np.random.default_rng(0).normal(size=200), [np.nan] * 9))
    back = Marginal.from_arrays(marginal.to_arrays())
    uniforms = np.linspace(0, 1, 100, endpoint=False)
    np.testing.assert_array_equal(back.quantile(uniforms), marginal.quantile(uniforms))


def counted(values, owners, column=NUMBER, *, knots=500, min_count=10):
    values, owners = np.asarray(values, dtype=np.float64), np.asarray(owners)
    return Marginal.of(values, column, name="x", knots=knots, min_count=min_count, owners=owners)


def test_a_row_each_is_counted_as_rows_are():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=500), np.full(40, 0.25), np.full(20, np.nan)])
    for column, held in ((NUMBER, values), (LETTERS, rng.integers(0, 8, 560))):
        mine, plain = counted(held, np.arange(560), column), of(held, column)
        for name in ("low", "high", "mass"):
            np.testing.assert_allclose(getattr(mine, name), getattr(plain, name))
        assert mine.null == plain.null


def test_no_number_of_rows_of_one_person_makes_his_value_one_that_is_kept():
    rng = np.random.default_rng(0)
    owners = np.repeat(np.arange(60), 50)
    letters = np.where(owners == 7, 3, rng.integers(0, 2, 3_000))
    assert counted(letters, owners, LETTERS).atoms.tolist() == [0, 1]
    assert of(letters, LETTERS).atoms.tolist() == [0, 1, 3]
    numbers = np.where(owners == 7, 3.125, np.where(owners < 30, 0.5, rng.normal(size=3_000)))
    assert counted(numbers, owners).atoms.tolist() == [0.5]
    assert 3.125 in of(numbers).atoms


def test_many_rows_of_one_person_move_a_mean_no_more_than_one_row():
    """Of thousands of rows of one person beside a few of others, the mean would be his number."""
    owners = np.repeat(np.arange(15), [5_000, *[1] * 14])
    marginal = counted(owners.astype(np.float64), owners)
    reach = np.sqrt(3 * np.arange(15).var())  # a uniform with mean and deviation of 0, ..., 14
    np.testing.assert_allclose((marginal.low[0], marginal.high[-1]), (7 - reach, 7 + reach))


def test_a_piece_is_over_as_many_persons_as_are_asked_for():
    owners = np.repeat(np.arange(35), 200)
    marginal = counted(np.random.default_rng(0).normal(size=7_000) * 1e-3 + owners, owners)
    assert len(marginal.mass) == 3  # 35 persons, one after the other, in groups of ten
    with pytest.raises(UnsupportedError, match="no value that 40 privacy units share, and too few privacy units"):
        counted(np.arange(7_000.0), owners, min_count=40)
