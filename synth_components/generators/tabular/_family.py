"""Distributions that a person declares for a column, by the names that a profile gives them.

A declared law is cut to the bounds of its column and becomes pieces, exact at every edge: a step of the column's
resolution each, or 600 pieces of equal width on the normal scale where there are more steps than that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal, TypeAlias, assert_never

import numpy as np
import pandas as pd
from pydantic import Field, model_validator
from scipy.special import ndtr

from synth_components.conditions import ends_of, typed
from synth_components.config import Config
from synth_components.encode import encoder, localized, zone_of
from synth_components.errors import SchemaError, UnsupportedError
from synth_components.marginal import Marginal
from synth_components.protocols import Floats, Interval
from synth_components.schema import AnyColumn, Boolean, Categorical, Datetime, Numeric, dtype_of, outside_of

LEAST_MASS = 1e-4
"""Least probability that a law must leave between the bounds of its column."""

_GRID = np.linspace(-6.0, 6.0, 601)  # beyond lie two draws in a billion
_MOST_STEPS = 1_024

Bound: TypeAlias = int | float | str
Positive = Annotated[float, Field(gt=0)]


class Uniform(Config):
    """Every value equally often: what a column without a declared marginal follows."""

    family: Literal["uniform"] = "uniform"
    low: Bound | None = Field(None, description="Smallest value, ISO text for times; null for the column's own.")
    high: Bound | None = Field(None, description="Largest value, likewise.")


class Normal(Config):
    """The normal distribution."""

    family: Literal["normal"] = "normal"
    mean: float = Field(description="Mean.")
    sd: Positive = Field(description="Standard deviation.")


class Laplace(Config):
    """The double exponential distribution."""

    family: Literal["laplace"] = "laplace"
    mean: float = Field(description="Mean, which is the median, too.")
    scale: Positive = Field(description="Mean distance from the mean.")


class Exponential(Config):
    """The exponential distribution."""

    family: Literal["exponential"] = "exponential"
    scale: Positive = Field(description="Mean distance from the start.")
    start: float = Field(0.0, description="Smallest value.")


class Lognormal(Config):
    """The distribution whose logarithm is normal."""

    family: Literal["lognormal"] = "lognormal"
    mean_log: float = Field(description="Mean of the natural logarithm.")
    sd_log: Positive = Field(description="Standard deviation of the natural logarithm.")


class Gamma(Config):
    """The gamma distribution."""

    family: Literal["gamma"] = "gamma"
    shape: Positive = Field(description="Shape; 1 is exponential.")
    scale: Positive = Field(description="Mean divided by the shape.")


class Beta(Config):
    """The beta distribution on [0, 1]."""

    family: Literal["beta"] = "beta"
    a: Positive = Field(description="First shape.")
    b: Positive = Field(description="Second shape.")


class PowerLaw(Config):
    """The Pareto distribution."""

    family: Literal["power_law"] = "power_law"
    exponent: float = Field(gt=1, description="Exponent of the density; above 3 the variance is finite.")
    start: Positive = Field(description="Smallest value.")


class Poisson(Config):
    """The Poisson distribution of counts."""

    family: Literal["poisson"] = "poisson"
    mean: Positive = Field(description="Mean.")


class Geometric(Config):
    """The geometric distribution of counts from 0."""

    family: Literal["geometric"] = "geometric"
    mean: Positive = Field(description="Mean.")


class Quantiles(Config):
    """Numbers or times, evenly spread between quantiles; a value given twice is an atom."""

    family: Literal["quantiles"] = "quantiles"
    probabilities: tuple[float, ...] = Field(min_length=2, description="From 0 to 1, rising.")
    values: tuple[Bound, ...] = Field(min_length=2, description="The value at each, never falling; times as ISO text.")

    @model_validator(mode="after")
    def _is_a_distribution(self) -> Quantiles:
        shares = self.probabilities
        if len(shares) != len(self.values) or shares[0] != 0 or shares[-1] != 1:
            raise ValueError("give one value per probability, the first probability 0 and the last 1")
        if any(later <= earlier for earlier, later in pairwise(shares)):
            raise ValueError("probabilities must rise")
        return self


class Weights(Config):
    """Categories in given proportions."""

    family: Literal["weights"] = "weights"
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        min_length=1, description="Weight by category, written as text; a category that is left out is never drawn."
    )

    @model_validator(mode="after")
    def _some_mass(self) -> Weights:
        if not sum(self.weights.values()) > 0:
            raise ValueError("at least one weight must be above 0")
        return self


class Bernoulli(Config):
    """True or false."""

    family: Literal["bernoulli"] = "bernoulli"
    p: float = Field(ge=0, le=1, description="Probability of true.")


Family: TypeAlias = Annotated[
    Uniform
    | Normal
    | Laplace
    | Exponential
    | Lognormal
    | Gamma
    | Beta
    | PowerLaw
    | Poisson
    | Geometric
    | Quantiles
    | Weights
    | Bernoulli,
    Field(discriminator="family"),
]


@dataclass(frozen=True)
class _Law:
    """A distribution function and its inverse."""

    cdf: Callable[[Any], Any]
    quantile: Callable[[Floats], Floats]


def marginal_of(family: Family | None, column: AnyColumn, name: str) -> Marginal:
    """Return a column's marginal: over codes for categories and booleans, else over encoded values.

    Args:
        family: What was declared; ``None`` for the uniform on what the column may hold.

    Raises:
        SchemaError: if the family does not fit the column, or nothing says how far the column reaches.
        UnsupportedError: for integers beyond 2^53.
    """
    match column:
        case Categorical():
            return _atoms(_weights(family, column, name))
        case Boolean():
            if not isinstance(family, Bernoulli | None):
                raise _refuse(name, f"is a boolean, which takes 'bernoulli', not '{family.family}'")
            p = 0.5 if family is None else family.p
            return _atoms(np.array([1.0 - p, p]))
        case Numeric() | Datetime():
            if encoder(column, name).width > 1:
                raise UnsupportedError(f"column '{name}' has integers beyond 2^53; declare narrower bounds")
            made = _spread(family, column, name)
            _require_reach(made, column, name)
            return made
        case _:
            raise _refuse(name, "is made anew, and takes no marginal")


def _spread(family: Family | None, column: Numeric | Datetime, name: str) -> Marginal:
    match family:
        case None | Uniform():
            return _uniform(family or Uniform(), column, name)
        case Quantiles():
            return _between(family, column, name)
        case Weights() | Bernoulli():
            raise _refuse(name, f"is no category or boolean, and '{family.family}' is for those")
        case _ if isinstance(column, Datetime):
            raise _refuse(name, f"is a time, which takes 'uniform' or 'quantiles', not '{family.family}'")
        case _:
            return _parametric(family, column, name)


def _require_reach(marginal: Marginal, column: Numeric | Datetime, name: str) -> None:
    """Raise unless the dtype of the column holds every value of a marginal."""
    low, high = float(marginal.low[0]), float(marginal.high[-1])
    fits = np.isfinite(low) and np.isfinite(high) and (not _is_stepped(column) or max(abs(low), abs(high)) <= 2**53)
    if fits and isinstance(column, Numeric) and column.dtype != "decimal":
        parsed: Any = dtype_of(column.dtype)
        dtype = np.dtype(getattr(parsed, "numpy_dtype", parsed))
        if dtype.kind in "iu":
            origin, scale = _origin(column)
            ends = np.rint(low), np.rint(high)
            limits = np.iinfo(dtype)
            fits = (ends[0] + origin) / scale >= limits.min and (ends[1] + origin) / scale <= limits.max
    if not fits:
        raise SchemaError(
            f"column '{name}' has a marginal that reaches beyond dtype {column.dtype}; declare low and high",
            column=name,
        )


def _refuse(name: str, what: str) -> SchemaError:
    return SchemaError(f"column '{name}' {what}; mend its marginal in the specification", column=name)


def _atoms(mass: Floats) -> Marginal:
    positions = np.arange(len(mass), dtype=np.float64)
    return Marginal(positions, positions, mass / mass.sum(), 0.0)


def _weights(family: Family | None, column: Categorical, name: str) -> Floats:
    """Return the weight of each category (k,)."""
    if not column.categories:
        raise _refuse(name, "lists no category")
    if family is None:
        return np.ones(len(column.categories))
    if not isinstance(family, Weights):
        raise _refuse(name, f"is a category, which takes 'weights', not '{family.family}'")
    texts = [str(category) for category in column.categories]
    if len(set(texts)) < len(texts):
        raise UnsupportedError(f"two categories of column '{name}' are written alike, so that weights cannot tell them")
    if unknown := len(set(family.weights) - set(texts)):
        raise _refuse(name, f"has {unknown} weights for what is no category of its")
    return np.array([family.weights.get(text, 0.0) for text in texts])


def _encoded(values: tuple[Bound, ...], column: Numeric | Datetime, name: str) -> Floats:
    """Return declared values (k,) in encoded units."""
    try:
        held = _times(values, column) if isinstance(column, Datetime) else pd.Series(list(values), dtype=object)
        held = typed(held.rename(name), column)
        if outside_of(held, column)[0].any():
            raise _refuse(name, "has a declared value outside its bounds")
        return encoder(column, name).encode(held)[:, 0]
    except (TypeError, ValueError):
        raise _refuse(name, "has a declared value of another type") from None


def _times(values: tuple[Bound, ...], column: Datetime) -> pd.Series[Any]:
    """Return ISO texts as times, those without a zone in the column's own."""
    if not all(isinstance(value, str) for value in values):
        raise TypeError("a time is ISO text")
    zone = zone_of(column)
    stamps = [pd.Timestamp(value) for value in values]
    if zone is not None:
        stamps = [localized(pd.Series([s]), zone).iloc[0] if s.tzinfo is None else s for s in stamps]
    return pd.Series(stamps, dtype=object)


def _uniform(family: Uniform, column: Numeric | Datetime, name: str) -> Marginal:
    low = column.low if family.low is None else family.low
    high = column.high if family.high is None else family.high
    if low is None or high is None:
        raise SchemaError(
            f"column '{name}' has no low and high, and no marginal; declare either in the specification", column=name
        )
    first, last = _encoded((low, high), column, name)
    if first > last:
        raise _refuse(name, "has a marginal whose low lies above its high")
    if first == last:
        return Marginal(np.array([first]), np.array([last]), np.ones(1), 0.0)
    reach = 0.5 if _is_stepped(column) else 0.0
    start, width = first - reach, last - first + 2 * reach
    law = _Law(lambda v: np.clip((v - start) / width, 0.0, 1.0), lambda u: start + u * width)
    return _pieces(law, first, last, name, is_stepped=_is_stepped(column))


def _between(family: Quantiles, column: Numeric | Datetime, name: str) -> Marginal:
    edges = _encoded(family.values, column, name)
    if (np.diff(edges) < 0).any():
        raise _refuse(name, "has quantiles that fall")
    return Marginal(edges[:-1], edges[1:], np.diff(np.array(family.probabilities)), 0.0)


def _parametric(
    family: Normal | Laplace | Exponential | Lognormal | Gamma | Beta | PowerLaw | Poisson | Geometric,
    column: Numeric,
    name: str,
) -> Marginal:
    from scipy import stats

    made: Any
    match family:
        case Normal():
            made = stats.norm(family.mean, family.sd)
        case Laplace():
            made = stats.laplace(family.mean, family.scale)
        case Exponential():
            made = stats.expon(family.start, family.scale)
        case Lognormal():
            made = stats.lognorm(family.sd_log, scale=np.exp(family.mean_log))
        case Gamma():
            made = stats.gamma(family.shape, scale=family.scale)
        case Beta():
            made = stats.beta(family.a, family.b)
        case PowerLaw():
            made = stats.pareto(family.exponent - 1, scale=family.start)
        case Poisson():
            made = stats.poisson(family.mean)
        case Geometric():
            made = stats.geom(1 / (1 + family.mean), loc=-1)
        case _:
            assert_never(family)
    if isinstance(family, Poisson | Geometric) and column.places != 0:
        raise _refuse(name, f"counts by '{family.family}', and its places are not 0")
    low, high = ends_of(Interval(column.low, column.high), column, name)
    origin, scale = _origin(column)
    law = _Law(lambda v: made.cdf((v + origin) / scale), lambda u: made.ppf(u) * scale - origin)
    return _pieces(law, low, high, name, is_stepped=_is_stepped(column))


def _origin(column: Numeric) -> tuple[float, float]:
    """Return origin and scale of encoded numbers: offsets from the lower bound in steps of the resolution."""
    if column.places is None:
        return 0.0, 1.0
    scale = 10.0**column.places
    return float(np.rint(float(column.low or 0) * scale)), scale


def _is_stepped(column: Numeric | Datetime) -> bool:
    return isinstance(column, Datetime) or column.places is not None


def _pieces(law: _Law, low: float, high: float, name: str, *, is_stepped: bool) -> Marginal:
    """Return a law cut to encoded values from ``low`` to ``high``, both included; single steps are atoms."""
    reach = 0.5 if is_stepped else 0.0
    first, last = float(law.cdf(low - reach)), float(law.cdf(high + reach))
    if not last - first >= LEAST_MASS:
        raise SchemaError(
            f"column '{name}' has a marginal with less than {LEAST_MASS:.2%} of its mass between the column's bounds; "
            "mend either in the specification",
            column=name,
        )
    with np.errstate(over="ignore", invalid="ignore"):  # what is infinite is refused by _require_reach
        edges = np.asarray(law.quantile(first + ndtr(_GRID) * (last - first)), dtype=np.float64)
        ends = law.quantile(np.array([0.0, 1.0]))
        start, stop = max(low - reach, float(ends[0])), min(high + reach, float(ends[1]))
        # A far bound is not drawn: a piece that reached it would carry nearly no mass, and most of the variance.
        span = edges[-1] - edges[0]
        edges[0] = start if edges[0] - start <= span else edges[0]
        edges[-1] = stop if stop - edges[-1] <= span else edges[-1]
    if is_stepped:
        steps = np.floor(edges[0] + 0.5), np.ceil(edges[-1] - 0.5)
        # An edge lies between two steps, so that rounding moves no mass.
        all_of_them = steps[1] - steps[0] < _MOST_STEPS
        edges = np.arange(steps[0], steps[1] + 2) - 0.5 if all_of_them else np.unique(np.round(edges - 0.5) + 0.5)
    else:
        edges = np.unique(edges)
    mass = np.diff(law.cdf(edges))
    lows, highs = edges[:-1], edges[1:]
    is_step = np.full(len(mass), is_stepped) & (highs - lows == 1.0)
    middle = (lows + highs) / 2
    kept = mass > 0
    return Marginal(
        np.where(is_step, middle, lows)[kept], np.where(is_step, middle, highs)[kept], mass[kept] / mass.sum(), 0.0
    )
