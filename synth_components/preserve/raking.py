"""Categories: iterative proportional fitting of joint counts, and its realisation by reassigning rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    """Return counts (r, c) with these margins, the shape of ``joint``, and an association.

    The association is near ``strength``: the odds ratios are raised to a power that bisection finds, 1 to keep them and
    0 for independence.
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
    """Return the order that gives a category its joint counts with the ``placed`` columns.

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
    identity = np.arange(n)
    if not placed:
        return identity
    margin = np.bincount(held, minlength=size)
    task = _task(column, placed, frame, aim, margin)
    if task.excess(held, limit=aim.tolerance) == 0:
        return identity
    before = task.excess(held, limit=task.limit)
    utilities = _utilities(held, margin / n, rng)
    weights = np.zeros(task.target.shape, dtype=np.float32)
    if n > 2 * _DRAFT_ROWS:
        some = rng.choice(n, size=_DRAFT_ROWS, replace=False)
        weights, _ = _settle(task.some(some), utilities[some], weights, rounds=_DRAFT_ROUNDS)
    weights, chosen = _settle(task, utilities, weights, rounds=_ROUNDS)
    chosen = _exact(chosen, utilities + task.hot @ weights, margin)
    return _order(held, chosen, rng) if task.excess(chosen, limit=task.limit) < before else identity


@dataclass(frozen=True)
class _Task:
    """What the categories of one column are to fit, given m other columns (n rows).

    Attributes:
        others: (n, m) bins of the other columns.
        sizes: Number of their bins.
        hot: (n, sum of sizes) indicators of their bins.
        ranks: (n, m) centred ranks of those that are numbers; 0 for the others.
        target: (sum of sizes, size) wanted joint counts with each.
        aims: (m,) wanted associations.
        importance: (m,) how much each counts.
        limit: Distance from an aim to come within.
    """

    others: Codes
    sizes: list[int]
    hot: csr_array
    ranks: Floats
    target: Floats
    aims: Floats
    importance: Floats
    limit: float

    def some(self, rows: Order) -> _Task:
        """Return the task of some of the rows."""
        share = len(rows) / len(self.others)
        return replace(
            self,
            others=self.others[rows],
            hot=self.hot[rows],
            ranks=self.ranks[rows],
            target=self.target * share,
        )

    def counts(self, chosen: Codes) -> Floats:
        """Return the joint counts (sum of sizes, size) that a choice of categories gives."""
        size = self.target.shape[1]
        parts = [
            np.bincount(self.others[:, place] * size + chosen, minlength=width * size).reshape(width, size)
            for place, width in enumerate(self.sizes)
        ]
        return np.concatenate(parts).astype(np.float64)

    def excess(self, chosen: Codes, *, limit: float, counts: Floats | None = None) -> float:
        """Return by how much the associations miss their aims beyond a limit, weighed and summed."""
        counts = self.counts(chosen) if counts is None else counts
        starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)
        shares = counts.T / len(chosen)
        margin = shares[:, : self.sizes[0]].sum(axis=1)
        held = cramer(shares, margin, np.split(shares.sum(axis=0), starts[1:]), starts)
        for place in np.flatnonzero(self.ranks.any(axis=0)):
            sums = np.bincount(chosen, weights=self.ranks[:, place], minlength=len(margin))
            between = float((sums[margin > 0] ** 2 / margin[margin > 0]).sum()) / len(chosen)
            held[place] = np.sqrt(min(1.0, between / float((self.ranks[:, place] ** 2).sum())))
        return float(self.importance @ np.maximum(np.abs(held - self.aims) - limit, 0.0))


def _task(column: int, placed: list[int], frame: Frame, aim: Aim, margin: Codes) -> _Task:
    limit = aim.tolerance * _CLOSE
    wanted = []
    for other in placed:
        rows = np.bincount(frame.codes[:, other], minlength=frame.sizes[other]).astype(np.float64)
        joint, strength = aim.joint(other, column), float(aim.strength[other, column])
        if frame.numbers[other]:
            wanted.append(fit(joint, rows, margin.astype(np.float64)))
        else:
            wanted.append(fit_to(joint, rows, margin.astype(np.float64), strength=strength, tolerance=limit / 2))
    sizes = [frame.sizes[other] for other in placed]
    others = frame.codes[:, placed]
    hot = one_hot(others, sizes).astype(np.float32)
    importance = aim.weights(column, placed)
    aims = aim.strength[placed, column]
    return _Task(others, sizes, hot, frame.ranks[:, placed], np.concatenate(wanted), aims, importance, limit)


def _utilities(held: Codes, shares: Floats, rng: random.Generator) -> NDArray[np.float32]:
    """Return Gumbel utilities (n, size) of categories with these shares, given that the held one is the largest."""
    with np.errstate(divide="ignore"):
        rates = (1 / shares).astype(np.float32)
    waits = rng.standard_exponential((len(held), len(shares)), dtype=np.float32) * rates
    first = rng.standard_exponential(len(held), dtype=np.float32)
    waits[np.arange(len(held)), held] = 0.0
    made: NDArray[np.float32] = -np.log(waits + np.maximum(first, 1e-12)[:, None])
    return made


def one_hot(codes: Codes, sizes: list[int]) -> csr_array:
    """Return indicators (n, sum of sizes) of the categories of several columns."""
    from scipy.sparse import csr_array

    n, width = codes.shape
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    places = (codes + starts).ravel()
    return csr_array((np.ones(n * width), places, np.arange(n + 1) * width), shape=(n, int(sum(sizes))))


def joint_counts(codes: Codes, sizes: list[int]) -> Floats:
    """Return how often each category of several columns meets each other, (sum of sizes, sum of sizes)."""
    starts = np.cumsum([0, *sizes])
    made = np.zeros((starts[-1], starts[-1]))
    columns = np.asfortranarray(codes)
    for at, size in enumerate(sizes):
        for to in range(at, len(sizes)):
            cells = np.bincount(columns[:, at] * sizes[to] + columns[:, to], minlength=size * sizes[to])
            block = cells.reshape(size, sizes[to])
            made[starts[at] : starts[at + 1], starts[to] : starts[to + 1]] = block
            made[starts[to] : starts[to + 1], starts[at] : starts[at + 1]] = block.T
    return made


def _settle(
    task: _Task, utilities: NDArray[np.float32], weights: NDArray[np.float32], *, rounds: int
) -> tuple[NDArray[np.float32], Codes]:
    """Return the weights whose choices come closest to the task, and the choices (n,)."""
    n = len(utilities)
    margin = task.target[: task.sizes[0]].sum(axis=0)
    # What a person declared is approached fastest, and so holds where not all can be had.
    pace = np.repeat(task.importance / task.importance.max(), task.sizes)[:, None] ** 0.5
    pace = pace * (_DAMPING / np.sqrt(len(task.sizes)))
    best = (np.inf, weights, np.empty(0, dtype=np.int64))
    for _ in range(rounds):
        chosen = np.asarray(np.argmax(utilities + task.hot @ weights, axis=1), dtype=np.int64)
        counts = task.counts(chosen)
        # A choice with other margins is mended at the end, which costs a little closeness.
        missed = _MARGIN_COST * float(np.abs(counts[: task.sizes[0]].sum(axis=0) - margin).sum()) / n
        excess = task.excess(chosen, limit=task.limit, counts=counts) + missed
        if excess < best[0]:
            best = (excess, weights, chosen)
        if excess <= _MARGIN_COST * task.limit:
            break
        # Half a row on both sides: an empty cell must not send a weight to infinity.
        weights = weights + (pace * np.log((task.target + 0.5) / (counts + 0.5))).astype(np.float32)
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
