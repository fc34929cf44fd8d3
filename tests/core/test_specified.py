"""Declared marginals and correlations come out as declared, or are refused by name; no row is read."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import synth_components as synth
from synth_components.config import ConfigError
from synth_components.errors import SchemaError, UnsupportedError
from synth_components.generators.tabular._family import Normal, Uniform, marginal_of
from synth_components.generators.tabular._norta import Association, staircase
from synth_components.generators.tabular.specified import Specified
from synth_components.marginal import Marginal
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Budget, Dataset, Run
from synth_components.schema import TABLE, Boolean, Categorical, Datetime, Numeric, Schema
from synth_components.testing import Case, check_hard_tables
from synth_components.toy import toy_table

N = 100_000
# The standard error of a correlation of N normal pairs is at most 1 / sqrt(N) = .0032.  That of the most skewed pair
# here (lognormal with sd_log .6, excess kurtosis 10) is below sqrt(3 / N) = .0055: .02 is more than 3.6 of them.
TOLERANCE = 0.02

ORDINAL = Categorical(categories=("low", "middle", "high"), ordered=True)
COLUMNS = {
    "normal": (Numeric(), {"family": "normal", "mean": 10.0, "sd": 3.0}),
    "lognormal": (Numeric(low=0, places=2), {"family": "lognormal", "mean_log": 10.0, "sd_log": 0.6}),
    "exponential": (Numeric(low=0), {"family": "exponential", "scale": 4.0}),
    "count": (Numeric(dtype="int64", low=0, places=0), {"family": "poisson", "mean": 0.7}),
    "ordinal": (ORDINAL, {"family": "weights", "weights": {"low": 6, "middle": 3, "high": 1}}),
    "flag": (Boolean(), {"family": "bernoulli", "p": 0.2}),
    "day": (Datetime(low="2020-01-01", high="2020-12-31", resolution="D"), {"family": "uniform"}),
    "knots": (
        Numeric(low=0, high=100),
        {"family": "quantiles", "probabilities": [0, 0.3, 0.5, 0.9, 1], "values": [0, 0, 10, 20, 100]},
    ),
    "cut": (Numeric(dtype="int64", low=18, high=90, places=0), {"family": "normal", "mean": 40, "sd": 15}),
}
PAIRS = [
    ("normal", "exponential", 0.7),
    ("normal", "lognormal", -0.6),
    ("lognormal", "exponential", 0.8),
    ("lognormal", "ordinal", 0.5),
    ("normal", "ordinal", -0.75),
    ("exponential", "flag", 0.4),
    ("count", "lognormal", 0.6),
    ("count", "ordinal", -0.3),
    ("ordinal", "flag", 0.55),
    ("day", "normal", 0.9),
    ("day", "cut", -0.8),
    ("cut", "exponential", 0.0),
    ("knots", "normal", 0.7),
    ("knots", "ordinal", -0.4),
]


def dataset(columns, rows=0):
    table = pd.DataFrame({name: pd.Series([None] * rows, dtype=object) for name in columns})
    return Dataset({TABLE: table}, Schema({TABLE: columns}))


def fit(columns, ledger=None, **options):
    recipe = Specified.parse(options)
    ledger = Ledger() if ledger is None else ledger
    return recipe.fit(dataset(columns), rng=np.random.default_rng(0), ledger=ledger, run=Run())


def draw(columns, n=N, seed=0, **options):
    return fit(columns, **options).sample(n, rng=np.random.default_rng(seed)).table


def numbers(values):
    if values.dtype == object or isinstance(values.dtype, pd.CategoricalDtype | pd.StringDtype):
        return values.map({"low": 0, "middle": 1, "high": 2}).to_numpy(dtype=np.float64)
    return values.astype("int64" if values.dtype.kind == "M" else "float64").to_numpy(dtype=np.float64)


@pytest.mark.parametrize("measure", ["pearson", "spearman"])
@pytest.mark.parametrize(("first", "second", "value"), PAIRS)
def test_a_declared_correlation_comes_out(first, second, value, measure):
    columns = {name: COLUMNS[name][0] for name in (first, second)}
    marginals = {name: COLUMNS[name][1] for name in (first, second)}

    table = draw(
        columns, marginals=marginals, correlations=[{"columns": (first, second), "value": value, "measure": measure}]
    )

    x, y = numbers(table[first]), numbers(table[second])
    found = np.corrcoef(x, y)[0, 1] if measure == "pearson" else stats.spearmanr(x, y).statistic
    assert abs(found - value) < TOLERANCE


def test_a_whole_matrix_of_mixed_columns_comes_out_at_once():
    names = ["lognormal", "cut", "ordinal", "flag", "day"]
    matrix = np.array(
        [
            [1.0, 0.5, 0.4, 0.2, -0.3],
            [0.5, 1.0, 0.3, 0.0, -0.2],
            [0.4, 0.3, 1.0, 0.25, 0.1],
            [0.2, 0.0, 0.25, 1.0, -0.1],
            [-0.3, -0.2, 0.1, -0.1, 1.0],
        ]
    )
    table = draw(
        {name: COLUMNS[name][0] for name in names},
        marginals={name: COLUMNS[name][1] for name in names},
        correlations={"columns": names, "matrix": matrix.tolist()},
    )
    found = np.corrcoef([numbers(table[name]) for name in names])
    assert np.abs(found - matrix).max() < TOLERANCE


def test_correlations_hold_where_both_are_known():
    columns = {"a": Numeric(nullable=True), "b": Numeric(nullable=True)}
    normal = {"family": "normal", "mean": 0, "sd": 1}
    table = draw(
        columns,
        marginals={"a": normal, "b": normal},
        null_shares={"a": 0.3, "b": 0.1},
        correlations=[{"columns": ("a", "b"), "value": 0.6}],
    )
    assert abs(table.corr().iloc[0, 1] - 0.6) < TOLERANCE
    for name, share in (("a", 0.3), ("b", 0.1)):
        assert abs(table[name].isna().mean() - share) < 4 * np.sqrt(share * (1 - share) / N)


def test_columns_of_no_pair_are_independent():
    table = draw({"a": Numeric(low=0, high=1), "b": Numeric(low=0, high=1)})
    assert abs(table.corr().iloc[0, 1]) < 4 / np.sqrt(N)


def association(first, second, measure="pearson"):
    made = [staircase(marginal, measure) for marginal in (first, second)]
    return Association.of(*made)


@pytest.mark.parametrize("latent", [-0.9, -0.3, 0.0, 0.5, 0.95])
def test_the_correlation_of_two_fair_coins_is_that_of_sheppard(latent):
    # Sheppard 1899: both above their medians with probability 1/4 + arcsin(latent) / (2 pi).
    coin = marginal_of(None, Boolean(), "coin")
    assert association(coin, coin).at(latent) == pytest.approx(2 / np.pi * np.arcsin(latent), abs=1e-6)


@pytest.mark.parametrize("latent", [-0.9, -0.3, 0.0, 0.5, 0.95])
def test_the_rank_correlation_of_normals_is_that_of_pearson(latent):
    # Pearson 1907: 6 / pi arcsin(latent / 2).  Cells a tenth wide cost less than one part in a thousand.
    normal = marginal_of(Normal(mean=0, sd=1), Numeric(), "x")
    found = association(normal, normal, "spearman").at(latent)
    assert found == pytest.approx(6 / np.pi * np.arcsin(latent / 2), abs=2e-3)


@pytest.mark.parametrize("latent", [-0.9, -0.3, 0.0, 0.5, 0.95])
def test_the_correlation_of_lognormals_is_that_of_the_closed_form(latent):
    # (exp(latent s^2) - 1) / (exp(s^2) - 1), Mostafa & Mahmoud 1964; s = .8.
    edges = np.exp(0.8 * np.linspace(-6, 6, 601))
    mass = np.diff(stats.norm.cdf(np.linspace(-6, 6, 601)))
    lognormal = Marginal(edges[:-1], edges[1:], mass / mass.sum(), 0.0)
    closed = (np.exp(latent * 0.64) - 1) / (np.exp(0.64) - 1)
    assert association(lognormal, lognormal).at(latent) == pytest.approx(closed, abs=3e-3)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_and_itself_are_as_correlated_as_their_latents_can_be(name):
    column, marginal = COLUMNS[name]
    made = marginal_of(Specified.parse({"marginals": {"x": marginal}}).marginals["x"], column, "x")
    # Latents are at most .999 correlated: a coin of p = .2 then flips in 1 % of the rows and loses .01 / .16 / 2 = .03;
    # without atoms nothing is lost but the cells' width.
    least = 0.96 if (made.low == made.high).any() else 0.995
    for measure in ("pearson", "spearman"):
        assert association(made, made, measure).limits[1] > least


@pytest.mark.parametrize("wanted", [-0.4, 0.0, 0.7])
def test_the_latent_correlation_is_the_root(wanted):
    made = association(marginal_of(None, Boolean(), "a"), marginal_of(Uniform(low=0, high=1), Numeric(), "b"))
    assert made.at(made.latent(wanted)) == pytest.approx(wanted, abs=1e-5)


FAMILIES = {
    "normal": ({"mean": 3, "sd": 2}, stats.norm(3, 2)),
    "laplace": ({"mean": 1, "scale": 2}, stats.laplace(1, 2)),
    "exponential": ({"scale": 2, "start": 1}, stats.expon(1, 2)),
    "lognormal": ({"mean_log": 1, "sd_log": 0.9}, stats.lognorm(0.9, scale=np.exp(1))),
    "gamma": ({"shape": 0.7, "scale": 3}, stats.gamma(0.7, scale=3)),
    "beta": ({"a": 0.6, "b": 2}, stats.beta(0.6, 2)),
    "power_law": ({"exponent": 2.5, "start": 4}, stats.pareto(1.5, scale=4)),
    "uniform": ({"low": -1, "high": 4}, stats.uniform(-1, 5)),
    "quantiles": ({"probabilities": [0, 0.5, 1], "values": [0, 1, 5]}, None),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_continuous_marginal_follows_its_family(family):
    parameters, law = FAMILIES[family]
    table = draw({"x": Numeric()}, n=20_000, marginals={"x": {"family": family, **parameters}})
    cdf = law.cdf if law is not None else lambda v: np.interp(v, [0, 1, 5], [0, 0.5, 1])
    assert stats.kstest(table["x"], cdf).pvalue > 1e-3  # the seed is fixed: this is one draw, not a lottery


@pytest.mark.parametrize(
    ("family", "parameters", "law"),
    [
        ("poisson", {"mean": 3.5}, stats.poisson(3.5)),
        ("geometric", {"mean": 2.0}, stats.geom(1 / 3, loc=-1)),
        ("normal", {"mean": 4.2, "sd": 1.5}, None),
    ],
)
def test_a_count_follows_its_family(family, parameters, law):
    n = 20_000
    table = draw({"x": Numeric(dtype="int64", places=0)}, n=n, marginals={"x": {"family": family, **parameters}})
    values = np.arange(1, 8)
    rounded = stats.norm(4.2, 1.5)
    expected = law.pmf(values) if law is not None else rounded.cdf(values + 0.5) - rounded.cdf(values - 0.5)
    found = [(table["x"] == value).mean() for value in values]
    assert np.abs(found - expected).max() < 4 * np.sqrt(0.25 / n)


def test_a_family_is_cut_to_the_bounds_and_heaps_nothing_on_them():
    n = 20_000
    column = Numeric(low=0.0, high=2.0)
    table = draw({"x": column}, n=n, marginals={"x": {"family": "normal", "mean": 0, "sd": 1}})
    assert stats.kstest(table["x"], stats.truncnorm(0, 2).cdf).pvalue > 1e-3
    assert not table["x"].isin([0.0, 2.0]).any()


def test_weights_are_kept_and_a_category_that_is_left_out_is_never_drawn():
    table = draw({"x": ORDINAL}, marginals={"x": {"family": "weights", "weights": {"low": 3, "high": 1}}})
    assert set(table["x"]) == {"low", "high"}
    assert abs((table["x"] == "high").mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / N)


def test_the_code_of_a_category_counts_those_that_are_left_out():
    # low and high are 0 and 2: the correlation is that of a coin either way, so a third column with all three shows it.
    columns = {"x": ORDINAL, "y": ORDINAL}
    marginals = {"x": {"family": "weights", "weights": {"low": 1, "high": 1}}}
    table = draw(columns, marginals=marginals, correlations=[{"columns": ("x", "y"), "value": 0.6}])
    assert abs(np.corrcoef(numbers(table["x"]), numbers(table["y"]))[0, 1] - 0.6) < TOLERANCE


def test_every_step_of_an_undeclared_column_is_as_likely():
    table = draw({"x": Numeric(dtype="int64", low=-3, high=6, places=0), "day": COLUMNS["day"][0]})
    shares = table["x"].value_counts(normalize=True)
    assert sorted(shares.index) == list(range(-3, 7))
    assert np.abs(shares - 0.1).max() < 4 * np.sqrt(0.09 / N)
    days = table["day"].value_counts(normalize=True)
    assert len(days) == 366
    assert np.abs(days - 1 / 366).max() < 5 * np.sqrt(1 / 366 / N)  # the largest of 366 deviations: 5 sigma


def test_times_are_read_in_the_zone_of_their_column():
    column = Datetime(dtype="datetime64[us, Europe/Rome]", low="2020-01-01", high="2020-12-31", resolution="s")
    marginals = {"t": {"family": "uniform", "low": "2020-03-01T00:00", "high": "2020-03-01T01:00"}}
    drawn = draw({"t": column}, n=500, marginals=marginals)["t"]
    assert drawn.min() >= pd.Timestamp("2020-03-01T00:00", tz="Europe/Rome")
    assert drawn.max() <= pd.Timestamp("2020-03-01T01:00", tz="Europe/Rome")


def test_null_share_1_draws_nothing_else():
    column = Numeric(low=0, high=1, nullable=True)
    assert draw({"x": column}, n=50, null_shares={"x": 1.0})["x"].isna().all()


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({"x": Numeric()}, {}, "'x' has no low and high"),
        ({"x": Datetime()}, {}, "'x' has no low and high"),
        ({"x": Numeric(low=0, high=1)}, {"marginals": {"x": {"family": "normal", "mean": 99, "sd": 1}}}, "'x' .* mass"),
        ({"x": Numeric(low=0, high=1)}, {"marginals": {"x": {"family": "uniform", "high": 2}}}, "'x' .* outside"),
        ({"x": Numeric(low=0, high=1)}, {"marginals": {"x": {"family": "bernoulli", "p": 0.5}}}, "'x' is no category"),
        ({"x": Numeric(low=0, high=1)}, {"marginals": {"x": {"family": "poisson", "mean": 1}}}, "'x' counts"),
        ({"x": Boolean()}, {"marginals": {"x": {"family": "normal", "mean": 0, "sd": 1}}}, "'x' is a boolean"),
        ({"x": ORDINAL}, {"marginals": {"x": {"family": "weights", "weights": {"secret": 1}}}}, "'x' has 1 weights"),
        ({"x": ORDINAL}, {"marginals": {"y": {"family": "weights", "weights": {"low": 1}}}}, "'y', which"),
        ({"x": ORDINAL}, {"null_shares": {"x": 0.1}}, "'x' has a null share"),
        (
            {"x": Numeric(low=0, high=9)},
            {"marginals": {"x": {"family": "quantiles", "probabilities": [0, 1], "values": [5, 2]}}},
            "'x' has quantiles that fall",
        ),
        (
            {"x": Numeric(low=0, high=9)},
            {"marginals": {"x": {"family": "quantiles", "probabilities": [0, 1], "values": ["a", "b"]}}},
            "'x' .* another type",
        ),
    ],
)
def test_a_marginal_that_does_not_fit_is_refused_by_column_and_shows_no_value(columns, options, words):
    with pytest.raises(SchemaError, match=words) as caught:
        fit(columns, **options)
    assert caught.value.column in {"x", "y"}
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "marginal"),
    [
        (Numeric(dtype="int8", places=0), {"family": "normal", "mean": 100, "sd": 9}),
        (Numeric(dtype="uint16", places=0), {"family": "normal", "mean": 20, "sd": 9}),
        (Numeric(dtype="int64", places=0), {"family": "power_law", "exponent": 1.2, "start": 1}),
        (Numeric(), {"family": "power_law", "exponent": 1.01, "start": 1}),
    ],
)
def test_a_marginal_beyond_its_dtype_is_refused(column, marginal):
    with pytest.raises(SchemaError, match=r"'x' .* beyond dtype"):
        fit({"x": column}, marginals={"x": marginal})


def test_integers_beyond_2_to_the_53_are_refused():
    with pytest.raises(UnsupportedError, match="'x'"):
        fit({"x": Numeric(dtype="int64", low=-(2**62), high=2**62, places=0)})


def test_a_correlation_that_the_marginals_cannot_reach_is_refused_by_pair_and_limits():
    # Two coins of p = .5 and p = .02 correlate at most sqrt(.02 / .98) = .143.
    marginals = {"rare": {"family": "bernoulli", "p": 0.02}}
    with pytest.raises(SchemaError, match=r"'rare' and 'even' cannot be 0.3: .* -0.14\d to 0.14\d"):
        fit(
            {"rare": Boolean(), "even": Boolean()},
            marginals=marginals,
            correlations=[{"columns": ("rare", "even"), "value": 0.3}],
        )


NORMAL = {"family": "normal", "mean": 0, "sd": 1}


def normals(*pairs):
    names = sorted({name for first, second, _ in pairs for name in (first, second)})
    correlations = [{"columns": (first, second), "value": value} for first, second, value in pairs]
    return dict.fromkeys(names, Numeric()), {
        "marginals": dict.fromkeys(names, NORMAL),
        "correlations": correlations,
    }


@pytest.mark.parametrize("second", [0.9, -0.9])
def test_the_undeclared_pair_that_spoils_the_others_is_named_with_what_it_can_be(second):
    # Of normals: r_ab r_bc -+ sqrt((1 - r_ab^2) (1 - r_bc^2)) = +-.81 -+ .19.
    columns, options = normals(("a", "b", 0.9), ("b", "c", second))
    ends = "0.62\\d to 0.99\\d" if second > 0 else "-0.99\\d to -0.62\\d"
    with pytest.raises(SchemaError, match=rf"'a' and 'c' is not declared, which means 0; .* can be {ends}; declare"):
        fit(columns, **options)
    inside = 0.64 * np.sign(second)
    columns, options = normals(("a", "b", 0.9), ("b", "c", second), ("a", "c", inside))
    assert abs(draw(columns, **options).corr().loc["a", "c"] - inside) < TOLERANCE


def test_the_declared_pair_that_is_nearest_to_mending_all_is_named():
    columns, options = normals(("a", "b", 0.9), ("b", "c", 0.9), ("a", "c", 0.6))
    # Beside .9 and .6 a correlation can be at most .54 + sqrt(.19 * .64) = .889; beside .9 and .9 at least .62.
    with pytest.raises(SchemaError, match=r"'a' and 'b' is declared as 0.9; .* to 0.88\d"):
        fit(columns, **options)


def test_correlations_that_no_single_pair_would_mend_are_refused_by_a_pair_too():
    names = ("a", "b", "c", "d", "e")
    pairs = [(x, y, -0.9) for i, x in enumerate(names) for y in names[i + 1 :]]
    columns, options = normals(*pairs)
    with pytest.raises(SchemaError, match=r"'\w' and '\w' is declared as -0.9; weaken some of them"):
        fit(columns, **options)


def test_a_correlation_with_a_constant_is_refused():
    with pytest.raises(SchemaError, match="'c' has one value"):
        fit(
            {"c": Numeric(low=1, high=1), "x": Numeric(low=0, high=1)},
            correlations=[{"columns": ("c", "x"), "value": 0.1}],
        )


def test_a_pearson_correlation_without_a_variance_is_refused():
    columns = {"p": Numeric(), "x": Numeric(low=0, high=1)}
    marginals = {"p": {"family": "power_law", "exponent": 2.5, "start": 1}}
    pair = {"columns": ("p", "x"), "value": 0.3}
    with pytest.raises(SchemaError, match="'p' has no finite variance"):
        fit(columns, marginals=marginals, correlations=[pair])
    fit(columns, marginals=marginals, correlations=[{**pair, "measure": "spearman"}])


@pytest.mark.parametrize(
    "correlations",
    [
        [{"columns": ("a", "a"), "value": 0.5}],
        [{"columns": ("a", "b"), "value": 0.5}, {"columns": ("b", "a"), "value": 0.4}],
        [{"columns": ("a", "b"), "value": 1.5}],
        {"columns": ["a", "b"], "matrix": [[1, 0.5], [0.4, 1]]},
        {"columns": ["a", "b"], "matrix": [[1, 0.5]]},
        {"columns": ["a", "b"], "matrix": [[1, "x"], ["x", 1]]},
    ],
)
def test_a_list_of_correlations_that_contradicts_itself_is_refused(correlations):
    with pytest.raises(ConfigError, match="correlation"):
        Specified.parse({"correlations": correlations})


def test_a_matrix_is_the_list_of_its_pairs():
    matrix = {"columns": ["a", "b", "c"], "matrix": [[1, 0.5, 0], [0.5, 1, 0.2], [0, 0.2, 1]], "measure": "spearman"}
    pairs = [(("a", "b"), 0.5), (("a", "c"), 0.0), (("b", "c"), 0.2)]
    listed = [{"columns": names, "value": value, "measure": "spearman"} for names, value in pairs]
    assert Specified.parse({"correlations": matrix}) == Specified.parse({"correlations": listed})


class Sealed(dict):
    """Tables that nobody may read."""

    def __getitem__(self, name):
        raise AssertionError("a row was read")


def test_no_row_is_read_and_nothing_is_charged():
    toy = toy_table()
    ledger = Ledger(Budget(0.0))
    sealed = Dataset(Sealed(toy.tables), toy.schema)
    Specified().fit(sealed, rng=np.random.default_rng(0), ledger=ledger, run=Run())
    assert ledger.entries == ()


def test_hard_tables_are_drawn_or_refused():
    check_hard_tables(Case("tabular.specified", Specified()))


@pytest.mark.parametrize("reach", [1e4, 1e9])
@pytest.mark.parametrize(
    ("family", "places"),
    [
        ({"family": "normal", "mean": 0, "sd": 1}, None),
        ({"family": "laplace", "mean": 0, "scale": 1}, None),
        ({"family": "exponential", "scale": 1}, None),
        ({"family": "lognormal", "mean_log": 0, "sd_log": 0.5}, None),
        ({"family": "gamma", "shape": 2, "scale": 1}, None),
        ({"family": "beta", "a": 2, "b": 3}, None),
        ({"family": "power_law", "exponent": 8, "start": 1}, None),
        ({"family": "poisson", "mean": 3}, 0),
        ({"family": "geometric", "mean": 3}, 0),
    ],
    ids=lambda value: value["family"] if isinstance(value, dict) else None,
)
def test_bounds_far_beyond_a_law_leave_its_correlations(family, places, reach):
    low = -reach if family["family"] in {"normal", "laplace"} else 0
    column = {"type": "numeric", "low": low, "high": reach, "places": places}
    model = synth.specify(
        {
            "columns": {"a": column, "b": {"type": "numeric", "low": 0, "high": 1}},
            "marginals": {"a": family},
            "correlations": [{"columns": ["a", "b"], "value": 0.5}],
        }
    )
    rows = model.sample(20_000, seed=0)
    # The standard error of a correlation of .5 is (1 - .25) / sqrt(20000) = .005; .02 is four of them.
    assert rows["a"].corr(rows["b"]) == pytest.approx(0.5, abs=0.02)
