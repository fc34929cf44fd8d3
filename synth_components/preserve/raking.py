"""Categories: iterative proportional fitting of joint counts, and its realisation by reassigning rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy import random
from numpy.typing import NDArray

from synth_components.evaluation.association import cramer
from synth_components.evaluation.columns import Codes
from synth_components.preserve.frame import Aim, Frame, Order
from synth_components.protocols import Floats

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_SWEEPS = 60
_POWERS = 14  # halvings in the search for the power that gives an association
_MOST_POWER = 16.0
_DRAFT_ROWS = 4_096
_DRAFT_ROUNDS = 40
_ROUNDS = 12
_DAMPING = 0.7
_MARGIN_COST = 0.2  # points of association that a share of rows of the wrong category costs
_CLOSE = 0.4  # share of the tolerance to come within: the exact margins cost a little at the end


def fit(joint: Floats, rows: Floats, columns: Floats) -> Floats:
    """Return the counts (r, c) with these margins and the odds ratios of ``joint``.

    Source: Deming & Stephan 1940, "On a least squares adjustment of a sampled frequency table".
    Differs: a thousandth of independence is mixed in, so that a category without real rows has a solution.
    """
    total = max(float(rows.sum()), 1.0)
    independent = np.outer(rows, columns) / total
    made = joint / max(float(joint.sum()), 1e-300) * total * 0.999 + independent * 0.001
    for _ in range(_SWEEPS):
        by_row = made.sum(axis=1)
        made = made * np.divide(rows, by_row, out=np.zeros_like(by_row), where=by_row > 0)[:, None]
        by_column = made.sum(axis=0)
        made = made * np.divide(columns, by_column, out=np.zeros_like(by_column), where=by_column > 0)
        if np.abs(made.sum(axis=1) - rows).max(initial=0.0) < 1e-6 * total:
            break
    return made


def fit_to(joint: Floats, rows: Floats, columns: Floats, *, strength: float, tolerance: float) -> Floats:
    """Return the counts (r, c) with these margins, the shape of ``joint`` and an association near ``strength``.

    The odds ratios are raised to a power that is found by bisection: 1 keeps them, 0 is independence.
    """
    made = fit(joint, rows, columns)
    if abs(association(made) - strength) <= tolerance:
        return made
    shape = fit(joint, rows, columns) / np.maximum(np.outer(rows, columns), 1e-300)
    logs = np.log(np.maximum(shape, 1e-300))
    inside = np.outer(rows > 0, columns > 0)
    low, high = 0.0, _MOST_POWER
    for _ in range(_POWERS):
        power = (low + high) / 2
        raised = np.where(inside, power * logs, -np.inf)
        start = np.outer(rows, columns) * np.exp(raised - raised[inside].max())
        made = fit(start, rows, columns)
        low, high = (power, high) if association(made) < strength else (low, power)
    return made


def association(counts: Floats) -> float:
    """Return Cramer's V of joint counts, as the judge of fidelity measures it."""
    shares = counts / max(float(counts.sum()), 1e-300)
    return float(cramer(shares, shares.sum(axis=1), [shares.sum(axis=0)], np.zeros(1, dtype=np.int64))[0])


def reorder(column: int, placed: list[int], frame: Frame, aim: Aim, *, rng: random.Generator) -> Order:
    """Return the order of a categorical column that gives it its joint counts with each of the ``placed`` columns.

    Row by row, the category with the largest utility is taken.  Utilities are drawn such that every row keeps its
    category while no weight is set; the weights of the placed columns' categories are then multiplied by wanted over
    held counts, round after round, as proportional fitting does with expected counts.  Rows thus move only where
    counts are wrong.  Margins are made exact at the end by the rows that lose least.

    Source: Deming & Stephan 1940; Oberst & Sontag 2019, "Counterfactual off-policy evaluation with Gumbel-max
        structural causal models", Sec. 3, for utilities that agree with what is held.
    Differs: the fitting is of realised counts, so that chance does not add to the association of small tables.
    """
    held, size = frame.codes[:, column], frame.sizes[column]
    n = len(held)
    margin = np.bincount(held, minlength=size).astype(np.float64)
    wanted = []
    for other in placed:
        rows = np.bincount(frame.codes[:, other], minlength=frame.sizes[other]).astype(np.float64)
        joint = aim.joint(other, column)
        if frame.numbers[other]:
            wanted.append(fit(joint, rows, margin))
        else:
            strength = float(aim.strength[other, column])
            wanted.append(fit_to(joint, rows, margin, strength=strength, tolerance=aim.tolerance * _CLOSE / 2))
    sizes = [frame.sizes[other] for other in placed]
    others = frame.codes[:, placed]
    aims = np.array([association(counts) for counts in wanted])
    importance = aim.weights(column, placed)
    limit = aim.tolerance * _CLOSE
    if not placed or _excess(_counts(others, sizes, held, size), sizes, aims, importance, limit) == 0:
        return np.arange(n)
    utilities = _utilities(held, margin / n, rng)
    target = np.concatenate(wanted)
    weights = np.zeros(target.shape, dtype=np.float32)
    if n > 2 * _DRAFT_ROWS:
        some = rng.choice(n, size=_DRAFT_ROWS, replace=False)
        draft = (others[some], utilities[some], target * (_DRAFT_ROWS / n))
        weights, _ = _settle(*draft, sizes, aims, importance, weights, rounds=_DRAFT_ROUNDS, limit=limit)
    weights, chosen = _settle(others, utilities, target, sizes, aims, importance, weights, rounds=_ROUNDS, limit=limit)
    utilities = utilities + _scores(others, sizes, weights)
    return _order(held, _exact(chosen, utilities, margin.astype(np.int64)), rng)


def _utilities(held: Codes, shares: Floats, rng: random.Generator) -> NDArray[np.float32]:
    """Return Gumbel utilities (n, size) of categories with these shares, given that the held one is the largest."""
    with np.errstate(divide="ignore"):
        rates = (1 / shares).astype(np.float32)
    waits = rng.exponential(size=(len(held), len(shares))).astype(np.float32) * rates
    rows = np.arange(len(held))
    first = rng.exponential(size=len(held)).astype(np.float32)
    waits[rows, held] = 0.0
    made: NDArray[np.float32] = -np.log(waits + np.maximum(first, 1e-12)[:, None])
    return made


def _scores(others: Codes, sizes: list[int], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sum of the weights of a row's categories, (n, size)."""
    made: NDArray[np.float32] = one_hot(others, sizes).astype(np.float32) @ weights
    return made


def one_hot(codes: Codes, sizes: list[int]) -> csr_array:
    """Return indicators (n, sum of sizes) of the categories of several columns."""
    from scipy.sparse import csr_array

    n, width = codes.shape
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    places = (codes + starts).ravel()
    return csr_array((np.ones(n * width), places, np.arange(n + 1) * width), shape=(n, int(sum(sizes))))


def _counts(others: Codes, sizes: list[int], chosen: Codes, size: int) -> Floats:
    """Return the joint counts of each other column with one, stacked (sum of sizes, size)."""
    return np.concatenate(
        [
            np.bincount(others[:, place] * size + chosen, minlength=width * size).reshape(width, size)
            for place, width in enumerate(sizes)
        ]
    ).astype(np.float64)


def _excess(counts: Floats, sizes: list[int], aims: Floats, importance: Floats, limit: float) -> float:
    """Return by how much the associations miss their aims beyond ``limit``, weighed and summed."""
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    shares = counts.T / counts[: sizes[0]].sum()
    margins = np.split(shares.sum(axis=0), starts[1:])
    gaps = np.abs(cramer(shares, shares[:, : sizes[0]].sum(axis=1), margins, starts) - aims)
    return float(importance @ np.maximum(gaps - limit, 0.0))


def _settle(
    others: Codes,
    utilities: NDArray[np.float32],
    target: Floats,
    sizes: list[int],
    aims: Floats,
    importance: Floats,
    weights: NDArray[np.float32],
    *,
    rounds: int,
    limit: float,
) -> tuple[NDArray[np.float32], Codes]:
    """Return the weights whose choices come closest to the target counts, and the choices (n,)."""
    hot = one_hot(others, sizes).astype(np.float32)
    size = target.shape[1]
    margins = target[: sizes[0]].sum(axis=0)
    best = (np.inf, weights, np.empty(0, dtype=np.int64))
    for _ in range(rounds):
        chosen = np.asarray(np.argmax(utilities + hot @ weights, axis=1), dtype=np.int64)
        counts = _counts(others, sizes, chosen, size)
        # A choice with other margins is mended at the end, which costs a little closeness.
        missed = _MARGIN_COST * float(np.abs(counts[: sizes[0]].sum(axis=0) - margins).sum()) / max(len(others), 1)
        excess = _excess(counts, sizes, aims, importance, limit) + missed
        if excess < best[0]:
            best = (excess, weights, chosen)
        if excess <= _MARGIN_COST * limit:
            break
        # Half a row on both sides: an empty cell must not send a weight to infinity.
        step = np.log((target + 0.5) / (counts + 0.5)) * _DAMPING
        weights = weights + (step / np.sqrt(len(sizes))).astype(np.float32)
    return best[1], best[2]


def _exact(chosen: Codes, utilities: NDArray[np.float32], margin: Codes) -> Codes:
    """Return the choices with every category taken exactly as often as ``margin`` says, at little loss."""
    made = chosen.copy()
    surplus = np.bincount(made, minlength=len(margin)) - margin
    for short in np.argsort(surplus, kind="stable"):
        missing = int(-surplus[short])
        if missing <= 0:
            break
        rows = np.flatnonzero(surplus[made] > 0)
        rows = rows[np.argsort(utilities[rows, made[rows]] - utilities[rows, short], kind="stable")]
        # Take the cheapest, but from no category more than it has too many.
        place = np.empty(len(rows), dtype=np.int64)
        by_code = np.argsort(made[rows], kind="stable")
        ordered = made[rows][by_code]
        place[by_code] = np.arange(len(rows)) - np.searchsorted(ordered, ordered)
        taken = rows[place < surplus[made[rows]]][:missing]
        surplus -= np.bincount(made[taken], minlength=len(margin))
        made[taken] = short
        surplus[short] = 0
    return made


def _order(held: Codes, chosen: Codes, rng: random.Generator) -> Order:
    """Return an order that gives each row its chosen code; rows that keep theirs stay where they are."""
    order = np.arange(len(held))
    moving = rng.permutation(np.flatnonzero(held != chosen))
    order[moving[np.argsort(chosen[moving], kind="stable")]] = moving[np.argsort(held[moving], kind="stable")]
    return order
