"""What is measured of the columns of a table, given their types; values of little support stay out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synth_components.bound import Ascending
from synth_components.encode import encoder
from synth_components.protocols import Floats
from synth_components.schema import AnyColumn, Boolean, Categorical, Datetime, Numeric, Text
from synth_components.statistics.distribution import distribution
from synth_components.statistics.missingness import groups, missingness
from synth_components.statistics.outlier import is_outlier, outlier_share
from synth_components.statistics.pattern import BY_NAME, Pattern, pattern_of
from synth_components.statistics.seasonality import Bins, bins_of, months_of, periods, trend
from synth_components.support import Owners, evened_out, mean_of_each, support, supports, supports_of, taken

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_MOST_ATOMS = 10
_MOST_FITTED = 5_000  # numbers that a family is fitted to
_MOST_SIZE, _LEAST_SIZE = 1e60, 1e-60  # of the largest number: beyond them, fourth powers are no floats
_MOST_TEXTS = 1_000  # distinct texts that patterns are tried on
_MOST_CAUSES = 60  # columns that nulls may depend on
_MOST_DATED = 3  # dated columns that are looked along, and
_MOST_SERIES = 30  # columns of numbers along the first


def column_facts(values: pd.Series[Any], column: AnyColumn, *, min_count: int, owners: Owners = None) -> dict[str, Any]:
    """Return what is measured of one column, as a JSON value.

    Args:
        min_count: Fewest rows behind what tells of values, or privacy units, where ``owners`` are given.
        owners: The privacy unit (n,) of each row.
    """
    nulls = int(values.isna().sum())
    counts = values.value_counts(sort=False)
    counts = counts[counts > 0]
    is_there = values.notna().to_numpy(dtype=bool)
    present = len(values) - nulls
    facts: dict[str, Any] = {
        "type": type(column).__name__.lower(),
        "count": present,
        "nulls": nulls,
        "null_share": nulls / len(values) if len(values) else 0.0,
        "distinct": len(counts),
        "cardinality_ratio": len(counts) / present if present else 0.0,
        "uniqueness_ratio": int((counts == 1).sum()) / present if present else 0.0,
    }
    if support(is_there, owners) < min_count:
        return facts
    if isinstance(column, Categorical | Boolean):
        behind = supports_of(values, counts, owners).to_numpy()
        facts |= _balance(np.asarray(counts, dtype=np.float64), int(behind[counts.to_numpy().argmax()]), min_count)
    if isinstance(column, Categorical | Text):
        facts |= _text_facts(values, counts, min_count, owners)
    if isinstance(column, Numeric | Datetime):
        facts |= _number_facts(values, column, min_count, owners)
    return facts


def _balance(counts: Floats, behind: int, min_count: int) -> dict[str, Any]:
    """Return the entropy over that of as many equal categories, and the share of the commonest."""
    shares = counts / counts.sum()
    facts: dict[str, Any] = {}
    if len(shares) > 1:
        facts["balance"] = float(-(shares * np.log(shares)).sum() / np.log(len(shares)))
    if behind >= min_count:
        facts["largest_share"] = float(shares.max())
    return facts


def _text_facts(values: pd.Series[Any], counts: pd.Series[Any], min_count: int, owners: Owners) -> dict[str, Any]:
    texts = [value.strip() for value in counts.index if isinstance(value, str)]
    if len(texts) < len(counts):
        return {}
    lengths = np.array([len(text) for text in texts], dtype=np.float64)
    facts: dict[str, Any] = {"mean_length": float(lengths @ np.asarray(counts, dtype=np.float64) / counts.sum())}
    found = pattern_of(list(dict.fromkeys(texts))[:: max(1, len(texts) // _MOST_TEXTS)])
    if found is not None and (owners is None or _is_form_of(BY_NAME[found[0]], values, min_count, owners)):
        facts["pattern"] = {"name": found[0], "share": found[1]}
    return facts


def _is_form_of(pattern: Pattern, values: pd.Series[Any], min_count: int, owners: NDArray[np.int64]) -> bool:
    """Return whether enough units have a text of a form: most texts may be one unit's."""
    seen: set[int] = set()
    first = pd.DataFrame({"text": values.to_numpy(dtype=object), "unit": owners}).dropna().drop_duplicates()
    for text, unit in zip(first["text"], first["unit"], strict=True):
        if unit not in seen and pattern.matches(text.strip()):
            seen.add(unit)
            if len(seen) == min_count:
                return True
    return False


def _number_facts(values: pd.Series[Any], column: Numeric | Datetime, min_count: int, owners: Owners) -> dict[str, Any]:
    made = encoder(column, str(values.name))
    if made.width != 1:
        return {}
    encoded = made.encode(values)[:, 0]
    is_there = ~np.isnan(encoded)
    encoded, whose = encoded[is_there], taken(owners, is_there)
    ascending = Ascending.of(encoded, whose)
    quantiles = {str(q): _supported_quantile(ascending, q, min_count) for q in _QUANTILES}
    if isinstance(column, Datetime):
        stamps = made.decode(np.array(list(quantiles.values()))[:, None])
        return {"quantiles": {q: _iso(stamp) for q, stamp in zip(quantiles, stamps, strict=True)}}
    unit, origin = _unit(column)
    atoms = inflated(encoded, min_count=min_count, owners=whose)
    numbers = encoded * unit + origin
    largest = float(np.abs(encoded).max()) or 1.0
    mean = _mean(encoded) * unit + origin
    sd = float((encoded / largest).std() * largest * unit)
    is_other = ~np.isin(encoded, [value for value, _ in atoms]) if atoms else np.ones(len(numbers), dtype=bool)
    rest, theirs = numbers[is_other], taken(whose, is_other)
    is_zero = numbers == 0
    facts: dict[str, Any] = {
        "mean": mean,
        "sd": sd,
        "quantiles": {q: float(value * unit + origin) for q, value in quantiles.items()},
        "inflated": [{"value": float(value * unit + origin), "share": share} for value, share in atoms],
        "is_integer": column.places is not None and column.places <= 0,
        "zero_share": float(is_zero.mean()) if support(is_zero, whose) >= min_count else 0.0,
        "negative_share": float((numbers < 0).mean()),
    }
    if not _LEAST_SIZE < largest < _MOST_SIZE:
        return facts
    if theirs is not None:
        # A family's parameters would tell the numbers of whoever has most of the rows.
        rest = rest[evened_out(theirs, least=min_count)]
    is_told = theirs is None or len(np.unique(theirs)) >= min_count
    if is_told:
        facts["outlier_share"] = outlier_share(rest)
    if sd > 0:
        standard = (numbers - mean) / sd
        facts["skewness"] = float((standard**3).mean())
        facts["kurtosis"] = float((standard**4).mean() - 3)
    fitted = distribution(rest[:: max(1, -(-len(rest) // _MOST_FITTED))], step=_step(column)) if is_told else None
    if fitted is not None:
        shown = {name: float(f"{value:.6g}") for name, value in fitted.parameters.items()}
        facts["family"] = {"name": fitted.family, "parameters": shown, "distance": round(fitted.distance, 4)}
    return facts


def _mean(numbers: Floats) -> float:
    """Return the mean of numbers (n,), divided by the largest on the way, so that their sum stays finite."""
    largest = float(np.abs(numbers).max()) or 1.0
    return float((numbers / largest).mean() * largest)


def _unit(column: Numeric) -> tuple[float, float]:
    """Return the size and the origin of the steps that an encoded number counts."""
    return (1.0, 0.0) if column.places is None else (10.0**-column.places, float(column.low or 0))


def _step(column: Numeric) -> float:
    return 0.0 if column.places is None else 10.0**-column.places


def gap_facts(
    table: pd.DataFrame, columns: Mapping[str, AnyColumn], *, min_count: int, max_rows: int, owners: Owners = None
) -> dict[str, dict[str, Any]]:
    """Return how the nulls of each column come about, by its name.

    Columns of few nulls or few values, or of those of few privacy units, stay out.  Read off ``max_rows`` evenly spaced
    rows, and off the first 60 columns that may be a cause.
    """
    step = max(1, -(-len(table) // max_rows))
    some, whose = table.iloc[::step], taken(owners, slice(None, None, step))
    nulls = {name: some[name].isna().to_numpy() for name in columns}
    gaps = [name for name, held in nulls.items() if min(support(held, whose), support(~held, whose)) >= min_count]
    if not gaps:
        return {}
    numbers = {name: made for name in columns if (made := _numbers(some[name], columns[name])) is not None}
    causes: dict[str, NDArray[np.int64]] = {}
    for name, column in columns.items():
        if len(causes) == _MOST_CAUSES:
            break
        if name in numbers:
            causes[name] = groups(numbers[name])
        elif isinstance(column, Categorical | Boolean):
            causes[name] = pd.factorize(some[name])[0].astype(np.int64)
    found = {}
    for name in gaps:
        column = columns[name]
        is_number = isinstance(column, Numeric) and name in numbers
        told = missingness(
            nulls[name],
            {cause: codes for cause, codes in causes.items() if cause != name},
            present=numbers[name][~nulls[name]] if is_number and _is_sized(numbers[name]) else None,
            step=_step(column) if isinstance(column, Numeric) else 0.0,
        )
        found[name] = {
            "mechanism": told.mechanism,
            "depends_on": [{"column": cause, "strength": strength} for cause, strength in told.depends_on],
            "cut": told.cut,
        }
    return found


def _is_sized(numbers: Floats) -> bool:
    """Return whether the powers of numbers, NaN for null, are floats."""
    largest = float(np.nanmax(np.abs(numbers), initial=0.0))
    return largest == 0 or _LEAST_SIZE < largest < _MOST_SIZE


def _numbers(values: pd.Series[Any], column: AnyColumn) -> Floats | None:
    """Return the numbers (n,) of a column in its own units, NaN where null; ``None`` if it has none."""
    if not isinstance(column, Numeric | Datetime):
        return None
    made = encoder(column, str(values.name))
    if made.width != 1:
        return None
    unit, origin = _unit(column) if isinstance(column, Numeric) else (1.0, 0.0)
    return np.asarray(made.encode(values)[:, 0] * unit + origin)


def time_facts(table: pd.DataFrame, columns: Mapping[str, AnyColumn]) -> list[dict[str, Any]]:
    """Return periods and trends along dated columns.

    Those of the number of rows along each dated column, and of the means of numbers along the first of them.
    In the finest intervals that suit, and in months if these show a period.  Moments far from the others are left out,
    and so are the intervals at both ends, which may not be whole.
    """
    found: list[dict[str, Any]] = []
    is_first = True
    for name in [name for name, column in columns.items() if isinstance(column, Datetime)][:_MOST_DATED]:
        moments, kept = _moments(table[name])
        months = months_of(moments)
        # Not by month: months of unequal length would look like a period of rows.
        found += _at_two_scales(name, None, bins_of(moments), None, np.ones(len(moments)))
        filled = bins_of(moments, least_rows=1.0)
        if filled is None or not is_first:
            continue
        is_first = False
        measured = [other for other, column in columns.items() if isinstance(column, Numeric)]
        for other in measured[:_MOST_SERIES]:
            numbers = _numbers(table[other], columns[other])
            if numbers is not None and _is_sized(numbers):
                found += _at_two_scales(name, other, filled, months, numbers[kept])
    return found


def _at_two_scales(
    by: str, of: str | None, fine: Bins | None, months: Bins | None, numbers: Floats
) -> list[dict[str, Any]]:
    """Return what is found in the finest intervals, and in months if there is a period: noise hides slow ones."""
    made = [_series_facts(by, of, bins, numbers) for bins in (fine, months) if bins is not None]
    if fine is None or len(made) < 2 or fine.unit == "month":
        return made[:1]
    return made if made[1]["periods"] else made[:1]


def _moments(values: pd.Series[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the moments (m,) in microseconds of local time, and which rows (n,) they come from."""
    held = values.notna()
    stamps = values[held]
    if stamps.dtype == object:
        local = stamps.to_numpy().astype("datetime64[D]")
    elif getattr(stamps.dt, "tz", None) is not None:
        local = stamps.dt.tz_localize(None).to_numpy()
    else:
        local = stamps.to_numpy()
    moments = local.astype("datetime64[us]").astype(np.int64)
    kept = held.to_numpy(dtype=bool, copy=True)
    near = ~is_outlier(moments.astype(np.float64)) if len(moments) else np.zeros(0, dtype=bool)
    kept[kept] = near
    return moments[near], kept


def _series_facts(by: str, of: str | None, bins: Bins, numbers: Floats) -> dict[str, Any]:
    """Return periods and trend of means by interval, or of the number of rows if ``of`` is none."""
    held = ~np.isnan(numbers)
    counts = np.bincount(bins.index[held], minlength=bins.count).astype(np.float64)
    sums = np.bincount(bins.index[held], weights=numbers[held], minlength=bins.count)
    series = counts if of is None else np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    whole = series[1:-1]
    seasons = periods(whole)
    line = trend(whole, known=seasons)
    return {
        "by": by,
        "of": of,
        "interval": {"every": bins.every, "unit": bins.unit},
        "periods": [{"length": period.length, "strength": period.strength} for period in seasons],
        "trend": {"direction": line.direction, "strength": line.strength},
    }


def distinct_rows(table: pd.DataFrame, codes: Mapping[str, NDArray[np.int64]]) -> int:
    """Return the number of different rows, told by 64-bit sums: one table in a million is off by one.

    Args:
        codes: Codes of some of the columns, which are not made again.
    """
    sums = np.zeros(len(table), dtype=np.uint64)
    for name in table.columns:
        held = codes[name] if name in codes else pd.factorize(table[name])[0]
        # Fowler-Noll-Vo, with the bits stirred, so that columns of small codes do not cancel.
        sums = (sums ^ held.astype(np.int64).view(np.uint64)) * np.uint64(0x100000001B3)
        sums ^= sums >> np.uint64(29)
        sums *= np.uint64(0xBF58476D1CE4E5B9)
    return len(np.unique(sums))


def _iso(stamp: Any) -> str:  # noqa: ANN401 - a Timestamp or a date
    return str(stamp.isoformat())


def _supported_quantile(ascending: Ascending, probability: float, min_count: int) -> float:
    """Return the mean of the ``min_count`` numbers around a quantile.

    Where it is known whose they are, it is that of so many units' means, or of more: among how many numbers around the
    quantile so many have some, is told to a factor of two.
    """
    numbers, owners = ascending.numbers, ascending.owners
    middle, most = probability * (len(numbers) - 1), min_count
    while True:
        start = int(np.clip(round(middle - most / 2), 0, len(numbers) - most))
        near = slice(start, start + most)
        if owners is None:
            return _mean(numbers[near])
        if len(np.unique(owners[near])) >= min_count:
            largest = float(np.abs(numbers[near]).max()) or 1.0
            return float(mean_of_each(numbers[near] / largest, owners[near]).mean() * largest)
        most = min(2 * most, len(numbers))


def inflated(numbers: Floats, *, min_count: int, owners: Owners = None) -> list[tuple[float, float]]:
    """Return (value, share of rows) of at most 10 values that stand out, largest share first.

    A value stands out if at least 2 % of the rows and ``min_count`` rows hold it, and 5 times as many as the mean of
    the ten values around it.  Columns of fewer than 12 values have no inflated ones.

    Args:
        min_count: Fewest rows that hold a value, or privacy units, where ``owners`` are given.
        owners: The privacy unit (n,) of each row.
    """
    distinct, place, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    if len(distinct) < 12:
        return []
    behind = supports(place, owners, len(distinct))
    around = np.convolve(counts, np.ones(11), mode="same") - counts
    near = np.convolve(np.ones(len(counts)), np.ones(11), mode="same") - 1
    out = (behind >= min_count) & (counts >= 0.02 * len(numbers)) & (counts >= 5 * around / near)
    order = np.argsort(-counts[out], kind="stable")[:_MOST_ATOMS]
    return [(float(distinct[out][i]), float(counts[out][i] / len(numbers))) for i in order]
