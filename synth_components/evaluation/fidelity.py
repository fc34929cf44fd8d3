"""Each column on its own: shape, coverage, range and missing values.

Source: KSComplement and TVComplement as in sdmetrics; each is 1 minus a distance between two distributions.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.evaluation.columns import Coded, coded, edges
from synth_components.evaluation.floor import resamples, scaled, score
from synth_components.evaluation.options import FidelityConfig
from synth_components.protocols import Context, Dataset, Evidence, Floats, Score

_FINE_BINS = 256  # the bootstrap's grid; a KS distance read off it is low by at most 1/256
_COVERAGE_BINS = 20


def marginal(
    train: Dataset,
    holdout: Dataset,
    synthetic: Dataset,
    *,
    context: Context,
    rng: random.Generator,
    config: FidelityConfig = FidelityConfig(),  # noqa: B008 - frozen
) -> Evidence:
    """Score each column's distribution: KS complement of numbers and times, TV of categories.

    Missing values are left to ``missing``.
    """
    view = _view(train, holdout, synthetic, config, rng)
    scores: list[Score] = []
    rows: list[dict[str, object]] = []
    left_out: list[dict[str, str]] = []
    errors, floors, draws = [], [], []
    weights = list(
        zip(
            resamples(len(view.train), config.replicates, rng),
            resamples(len(view.synthetic), config.replicates, rng),
            strict=True,
        )
    )
    for place, name in enumerate(view.names):
        real, held, drawn = (side[:, place] for side in (view.train, view.holdout, view.synthetic))
        kind = "tv" if view.is_category(name) else "ks"
        if np.isnan(real).all() or np.isnan(held).all():
            left_out.append(_left_out(f"fidelity.marginal.{kind}", name, "the real column has no value"))
            continue
        error, statistic, p_value = _distance(real, drawn, is_category=view.is_category(name))
        held_error, _, _ = _distance(real, held, is_category=view.is_category(name))
        present = [int((~np.isnan(side)).sum()) for side in (real, held, drawn)]
        floor = scaled(held_error, train=present[0], holdout=present[1], synthetic=max(present[2], 1))
        spread = _resampled(real, drawn, weights, is_category=view.is_category(name))
        scores.append(
            score(f"fidelity.marginal.{kind}", 1 - error, draws=1 - spread, floor=1 - floor, ideal=1.0, subject=(name,))
        )
        rows.append(
            {
                "column": name,
                "test": "chi-square" if kind == "tv" else "Kolmogorov-Smirnov",
                "score": 1 - error,
                "floor": 1 - floor,
                "statistic": statistic,
                "p_value": p_value,
            }
        )
        errors.append(error)
        floors.append(floor)
        draws.append(spread)
    if errors:
        mean = 1 - float(np.mean(errors))
        scores.insert(
            0,
            score(
                "fidelity.shape", mean, draws=1 - np.mean(draws, axis=0), floor=1 - float(np.mean(floors)), ideal=1.0
            ),
        )
    rows.sort(key=lambda row: float(str(row["score"])) - float(str(row["floor"])))
    tables = {
        "fidelity.marginal": pd.DataFrame(rows, columns=["column", "test", "score", "floor", "statistic", "p_value"])
    }
    return Evidence(tuple(scores), tables=tables | _noted(left_out))


def coverage(
    train: Dataset,
    holdout: Dataset,
    synthetic: Dataset,
    *,
    context: Context,
    rng: random.Generator,
    config: FidelityConfig = FidelityConfig(),  # noqa: B008 - frozen
) -> Evidence:
    """Score how much of each real column is reached, and how much stays within the real range.

    Coverage is the share of the common categories (at least ``min_category_count`` real rows), or of twenty quantile
    bins of a number, that occur; reproducing the single largest value earns nothing.  Range is the share of synthetic
    values between the smallest and largest real one, or among the real categories.
    """
    view = _view(train, holdout, synthetic, config, rng)
    scores: list[Score] = []
    for place, name in enumerate(view.names):
        real, held, drawn = (_present(side[:, place]) for side in (view.train, view.holdout, view.synthetic))
        if len(real) == 0 or len(held) == 0 or len(drawn) == 0:
            continue  # ``marginal`` notes the column
        is_category = view.is_category(name)
        equal = min(len(held), len(drawn))
        sample = rng.choice(drawn, size=equal, replace=False)
        fellow = rng.choice(held, size=equal, replace=False)
        value = _reach(real, sample, is_category=is_category, min_count=config.min_category_count)
        floor = _reach(real, fellow, is_category=is_category, min_count=config.min_category_count)
        scores.append(score("fidelity.coverage", value, floor=floor, ideal=1.0, subject=(name,)))
        inside, held_inside = (_within(real, side, is_category=is_category) for side in (drawn, held))
        hits = round(inside * len(drawn)), len(drawn)
        scores.append(score("fidelity.range", inside, hits=hits, floor=held_inside, ideal=1.0, subject=(name,)))
    return Evidence(tuple(scores))


def missing(
    train: Dataset,
    holdout: Dataset,
    synthetic: Dataset,
    *,
    context: Context,
    rng: random.Generator,
    config: FidelityConfig = FidelityConfig(),  # noqa: B008 - frozen
) -> Evidence:
    """Score missing values: 1 minus the difference of null shares, and of joint null patterns."""
    view = _view(train, holdout, synthetic, config, rng)
    nulls = [np.isnan(side) for side in (view.train, view.holdout, view.synthetic)]
    holed = np.flatnonzero(np.any([side.any(axis=0) for side in nulls], axis=0))
    scores: list[Score] = []
    for place in holed:
        shares = [float(side[:, place].mean()) if len(side) else 0.0 for side in nulls]
        spread = _spread_of_difference(nulls[0][:, place], nulls[2][:, place])
        floor = scaled(abs(shares[0] - shares[1]), train=len(nulls[0]), holdout=len(nulls[1]), synthetic=len(nulls[2]))
        scores.append(
            score(
                "fidelity.missing",
                1 - abs(shares[0] - shares[2]),
                deviation=spread,
                floor=1 - floor,
                ideal=1.0,
                subject=(view.names[place],),
            )
        )
    if len(holed) > 1:
        _, codes = np.unique(np.concatenate([side[:, holed] for side in nulls]), axis=0, return_inverse=True)
        patterns = np.split(codes.ravel(), np.cumsum([len(side) for side in nulls])[:-1])
        real, held, drawn = (p.astype(np.float64) for p in patterns)
        error, _, _ = _distance(real, drawn, is_category=True)
        held_error, _, _ = _distance(real, held, is_category=True)
        floor = scaled(held_error, train=len(real), holdout=len(held), synthetic=len(drawn))
        weights = zip(
            resamples(len(real), config.replicates, rng), resamples(len(drawn), config.replicates, rng), strict=True
        )
        draws = _resampled(real, drawn, list(weights), is_category=True)
        scores.append(score("fidelity.missing.patterns", 1 - error, draws=1 - draws, floor=1 - floor, ideal=1.0))
    return Evidence(tuple(scores))


def curves(
    train: Dataset,
    holdout: Dataset,
    synthetic: Dataset,
    *,
    context: Context,
    rng: random.Generator,
    config: FidelityConfig = FidelityConfig(),  # noqa: B008 - frozen
) -> Evidence:
    """Return the marginals to draw: no bin stands for fewer real rows than ``min_category_count``."""
    view = _view(train, holdout, synthetic, config, rng)
    drawn: dict[str, pd.DataFrame] = {}
    for place, name in enumerate(view.names):
        real, synth = view.train[:, place], view.synthetic[:, place]
        if view.is_category(name):
            bars = _bars(real, synth, view.labels[name], min_count=config.min_category_count)
        else:
            bars = _histogram(real, synth, min_count=config.min_category_count, is_time=view.kinds[name] == "time")
        if len(bars):
            drawn[f"marginal/{name}"] = bars
    return Evidence(curves=drawn)


def _view(train: Dataset, holdout: Dataset, synthetic: Dataset, config: FidelityConfig, rng: random.Generator) -> Coded:
    limit = config.max_rows
    return coded(train, holdout, synthetic).capped(train=limit, holdout=limit, synthetic=limit, rng=rng)


def _spread_of_difference(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the standard deviation of the difference of two shares, never 0.

    Source: Agresti & Caffo 2000, "Simple and effective confidence intervals for proportions": one hit and one miss more
    on each side.
    """
    shares = [((side.sum() + 1) / (len(side) + 2), len(side) + 2) for side in (first, second)]
    return float(np.sqrt(sum(share * (1 - share) / n for share, n in shares)))


def _present(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def _distance(real: Floats, drawn: Floats, *, is_category: bool) -> tuple[float, float, float]:
    """Return distance, test statistic and p-value; the largest distance where nothing was drawn."""
    from scipy.stats import chi2_contingency, ks_2samp

    real, drawn = _present(real), _present(drawn)
    if len(drawn) == 0:
        return 1.0, float(len(real)), 0.0
    if not is_category:
        test = ks_2samp(real, drawn, method="asymp")
        return float(test.statistic), float(test.statistic), float(test.pvalue)
    size = int(max(real.max(), drawn.max())) + 1
    counts = np.stack([np.bincount(side.astype(np.int64), minlength=size) for side in (real, drawn)])
    distance = float(np.abs(counts[0] / len(real) - counts[1] / len(drawn)).sum() / 2)
    counts = counts[:, counts.sum(axis=0) > 0]
    if counts.shape[1] < 2:
        return distance, 0.0, 1.0
    statistic, p_value, _, _ = chi2_contingency(counts, correction=False)
    return distance, float(statistic), float(p_value)


def _resampled(real: Floats, drawn: Floats, weights: list[tuple[Floats, Floats]], *, is_category: bool) -> Floats:
    """Return the distance (r,) in each bootstrap sample; numbers on a grid of pooled quantiles."""
    if is_category:
        codes = [np.where(np.isnan(side), -1, side).astype(np.int64) + 1 for side in (real, drawn)]
    else:
        grid = edges(np.concatenate([real, drawn]), _FINE_BINS)
        codes = [
            np.where(np.isnan(s), 0, np.searchsorted(grid, np.nan_to_num(s), side="left") + 1) for s in (real, drawn)
        ]
    size = int(max(side.max(initial=0) for side in codes)) + 1
    distances = np.empty(len(weights))
    for i, (real_weights, drawn_weights) in enumerate(weights):
        first = np.bincount(codes[0], weights=real_weights, minlength=size)[1:]
        second = np.bincount(codes[1], weights=drawn_weights, minlength=size)[1:]
        gap = first / max(first.sum(), 1.0) - second / max(second.sum(), 1.0)
        distances[i] = np.abs(gap).sum() / 2 if is_category else np.abs(np.cumsum(gap)).max(initial=0.0)
    return distances


def _reach(real: Floats, drawn: Floats, *, is_category: bool, min_count: int) -> float:
    if is_category:
        counts = np.bincount(real.astype(np.int64))
        common = np.flatnonzero(counts >= min(min_count, counts.max()))
        return float(np.isin(common, drawn.astype(np.int64)).mean())
    inner = edges(real, _COVERAGE_BINS)
    occupied = np.unique(np.searchsorted(inner, real, side="left"))
    return float(np.isin(occupied, np.searchsorted(inner, drawn, side="left")).mean())


def _within(real: Floats, drawn: Floats, *, is_category: bool) -> float:
    if is_category:
        return float(np.isin(drawn, np.unique(real)).mean())
    return float(((drawn >= real.min()) & (drawn <= real.max())).mean())


def _bars(real: Floats, drawn: Floats, labels: tuple[str, ...], *, min_count: int, most: int = 15) -> pd.DataFrame:
    """Return shares by category, the common ones by name and everything rarer as one."""
    counts = [np.bincount(_present(side).astype(np.int64), minlength=len(labels)) for side in (real, drawn)]
    # Codes are ordered by frequency in the whole of train, so the named ones come first.
    named = int(min((counts[0] >= min_count).sum(), most))
    order = np.argsort(-counts[0], kind="stable")
    rows = [(labels[code], counts[0][code], counts[1][code]) for code in order[:named]]
    rest = [int(side[order[named:]].sum()) for side in counts]
    if sum(rest):
        rows.append(("(all others)", rest[0], rest[1]))
    rows.extend(_missing_bar(real, drawn))
    return _shares(pd.DataFrame(rows, columns=["label", "real", "synthetic"]), len(real), len(drawn))


def _histogram(real: Floats, drawn: Floats, *, min_count: int, is_time: bool, bins: int = 32) -> pd.DataFrame:
    """Return shares by bin of equal width between supported quantiles; tails and thin bins are merged."""
    held, made = _present(real), _present(drawn)
    rows: list[tuple[float, float, int, int]] = []
    if len(held) >= min_count:
        cuts = _round_edges(held, bins, min_count)
        counts = [np.histogram(np.clip(side, cuts[0], cuts[-1]), cuts)[0] for side in (held, made)]
        starts = _supported(counts[0], min_count)
        stops = [*starts[1:], len(cuts) - 1]
        rows = [
            (float(cuts[a]), float(cuts[b]), int(counts[0][a:b].sum()), int(counts[1][a:b].sum()))
            for a, b in zip(starts, stops, strict=True)
        ]
    frame = pd.DataFrame(rows, columns=["low", "high", "real", "synthetic"])
    frame["label"] = [_span(low, high, is_time=is_time) for low, high in zip(frame["low"], frame["high"], strict=True)]
    empty = pd.DataFrame(_missing_bar(real, drawn), columns=["label", "real", "synthetic"])
    frame = pd.concat([frame, empty.reindex(columns=frame.columns)], ignore_index=True) if len(empty) else frame
    return _shares(frame, len(real), len(drawn))


def _supported(counts: NDArray[np.int64], min_count: int) -> list[int]:
    """Return where the bins start once neighbours are merged until each holds ``min_count`` real rows."""
    starts, held = [0], 0
    for place, count in enumerate(counts):
        if held >= min_count and int(counts[place:].sum()) >= min_count:
            starts.append(place)
            held = 0
        held += int(count)
    return starts


def _round_edges(held: Floats, bins: int, min_count: int) -> Floats:
    """Return edges between quantiles that at least ``min_count`` rows lie beyond, rounded outward."""
    tail = min(0.25, max(0.01, min_count / len(held)))
    low, high = np.quantile(held, [tail, 1 - tail])
    if high <= low:
        return np.array([low - 0.5, low + 0.5])
    whole = bool(np.all(held == np.rint(held)))
    if whole and high - low <= 2 * bins:
        return np.arange(np.floor(low) - 0.5, np.ceil(high) + 1.0, max(1.0, np.ceil((high - low) / bins)))
    step = 10.0 ** np.floor(np.log10((high - low) / bins))
    start = np.floor(low / step) * step
    width = np.ceil((high - start) / bins / step) * step
    cuts: Floats = start + width * np.arange(bins + 1)
    return cuts


def _span(low: float, high: float, *, is_time: bool) -> str:
    if is_time:
        return f"{pd.Timestamp(int(low), unit='s'):%Y-%m-%d} to {pd.Timestamp(int(high), unit='s'):%Y-%m-%d}"
    if high - low == 1 and low % 1:
        return f"{(low + high) / 2:.6g}"
    if low % 1 == 0.5 and high % 1 == 0.5:  # whole numbers: the edges lie between them
        return f"{low + 0.5:.6g} to {high - 0.5:.6g}"
    return f"{low:.6g} to {high:.6g}"


def _missing_bar(real: Floats, drawn: Floats) -> list[tuple[str, int, int]]:
    nulls = int(np.isnan(real).sum()), int(np.isnan(drawn).sum())
    return [("(missing)", *nulls)] if sum(nulls) else []


def _shares(frame: pd.DataFrame, n_real: int, n_drawn: int) -> pd.DataFrame:
    # Four places: a share must not tell the count of one row.
    return frame.assign(
        real=(frame["real"].astype(float) / max(n_real, 1)).round(4),
        synthetic=(frame["synthetic"].astype(float) / max(n_drawn, 1)).round(4),
    )


def _left_out(name: str, subject: str, reason: str) -> dict[str, str]:
    return {"score": name, "subject": subject, "reason": reason}


def _noted(rows: list[dict[str, str]]) -> dict[str, pd.DataFrame]:
    return {"left_out": pd.DataFrame(rows, columns=["score", "subject", "reason"])} if rows else {}
