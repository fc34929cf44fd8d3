"""The only door to noise for differential privacy: OpenDP's samplers, paid from a grant that a ledger has charged.

Nothing here takes a random generator: the noise comes from the operating system's entropy, because whoever knows a
seed can take the noise away.  Counts are integers, and their noise is the discrete Gaussian or the discrete Laplace,
sampled exactly, so that no floating-point hole is open (Mironov 2012).  OpenDP marks these parts ``contrib``: they are
published with proofs, and not yet vetted by its board; that status is part of every claim that rests on them.

Unit and neighbours: one privacy unit of the schema, added or removed; ``sensitivity`` is how far one unit's rows,
bounded first, can move what is released.

Source: Canonne, Kamath & Steinke 2020 (arXiv:2004.00010) for the discrete Gaussian; McKenna & Sheldon 2020
    (arXiv:2010.12603) and Durfee & Rogers 2019 (arXiv:1905.04273) for the noisy maximum.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from synth_components.errors import BudgetExceededError, UnsupportedError
from synth_components.privacy.accounting import pure, rho_within, zero_concentrated
from synth_components.privacy.ledger import OwnLock, room_of
from synth_components.privacy.mechanism import Mechanism
from synth_components.privacy.unit import settle
from synth_components.protocols import Floats, PrivacyLedger
from synth_components.schema import Unit

Counts: TypeAlias = NDArray[np.int64]

_SLACK = 1e-9
"""A scale is this much larger than the closed form asks, so that OpenDP's own bound, rounded up, stays within."""
_EXTREME = 2.0**53
"""Largest scale of noise, in rows, and one over the least: beyond it are no whole numbers that a float holds."""
_LEAST_DELTA = 2.0**-52
"""Least delta that OpenDP's bound on a threshold can tell: it is computed as one minus a number next to one."""


@dataclass
class Grant:
    """What a ledger was charged at once, to be spent in parts: rho of zCDP, or epsilon of pure DP.

    Attributes:
        mechanism: ``gaussian`` counts in rho, ``laplace`` in epsilon.
        total: What was charged.
    """

    mechanism: Mechanism
    total: float
    _spent: float = field(default=0.0, init=False)
    _lock: OwnLock = field(init=False, repr=False, compare=False, default_factory=OwnLock)

    @property
    def left(self) -> float:
        """What is not spent yet."""
        return max(0.0, self.total - self._spent)

    def take(self, amount: float) -> None:
        """Spend a part.

        Raises:
            BudgetExceededError: if the parts would sum to more than the whole; nothing is spent then.
        """
        # One part in 1e9 of slack, as in the ledger: shares that sum to one may not in floating point.
        with self._lock:  # threads that share it must not pass the check together
            if not 0 < amount <= self.total * (1 + _SLACK) - self._spent:
                raise BudgetExceededError(
                    f"a mechanism asks for {amount:.4g} of a grant that has {self.left:.4g} left; nothing was released",
                    requested=amount,
                    available=self.left,
                )
            self._spent += amount


def granted(label: str, ledger: PrivacyLedger, *, unit: Unit | None, mechanism: Mechanism) -> Grant:
    """Charge all that a ledger has left, before any row is read, and return it as a grant.

    Args:
        unit: The privacy unit of the rows, as a generator gets them.

    Raises:
        UnitError: if the ledger is of another privacy unit.
        UnsupportedError: if the ledger has no budget, or one whose noise is too much or too little to be drawn, or
            OpenDP is not installed.
        BudgetExceededError: if nothing is left, or the Gaussian mechanism finds no delta.
    """
    _opendp()
    left, room = ledger.remaining(), room_of(ledger)
    if left is None or room is None:
        raise UnsupportedError(f"{label}: noise needs a budget; give epsilon (and delta), as in fit(..., epsilon=1.0)")
    # Pure epsilons add up, so that what is left is all; others compose to less.
    total = rho_within(room) if mechanism == "gaussian" else left.epsilon
    if total <= 0:
        remedy = "raise epsilon" if left.delta > 0 or mechanism == "laplace" else "give delta, or mechanism=laplace"
        raise BudgetExceededError(
            f"{label}: the budget has nothing left for the {mechanism} mechanism; {remedy}; nothing was read",
            requested=math.nextafter(left.epsilon, math.inf),
            available=left.epsilon,
        )
    _scale(mechanism, total, 1)  # what no part of it could pay for is refused before anything is charged
    settle(ledger, unit, is_prepared=True)
    ledger.spend(label, zero_concentrated(total) if mechanism == "gaussian" else pure(total))
    return Grant(mechanism, total)


def noisy_counts(counts: Counts, *, amount: float, grant: Grant, sensitivity: int) -> Counts:
    """Return counts (cells,) with discrete noise, paid with ``amount`` of the grant.

    Args:
        sensitivity: Most rows of one unit: an L1 and L2 bound, as they may all fall into one cell.

    Raises:
        BudgetExceededError: if the grant does not hold ``amount``.
    """
    made = _count_noise(grant.mechanism, _scale(grant.mechanism, amount, sensitivity))
    grant.take(float(made.map(sensitivity)))
    return np.asarray(made(counts.tolist()), dtype=np.int64)


def noisy_best(scores: Floats, *, amount: float, grant: Grant, sensitivity: float) -> int:
    """Return the position of about the largest score (n,), paid with ``amount`` of the grant.

    Args:
        sensitivity: How far one unit moves any one score.

    Raises:
        BudgetExceededError: if the grant does not hold ``amount``.
    """
    scale = 2 * sensitivity / amount if grant.mechanism == "laplace" else sensitivity / math.sqrt(2 * amount)
    made = _best(grant.mechanism, scale * (1 + _SLACK))
    grant.take(float(made.map(float(sensitivity))))
    return int(made(scores.tolist()))


def charged_counts(counts: Counts, *, amount: float, mechanism: Mechanism) -> Counts:
    """Return counts (cells,) with discrete noise, for an amount that the caller has charged.

    One row moves one count by 1.

    Args:
        amount: Epsilon for ``laplace``, rho of zCDP for ``gaussian``.
    """
    return np.asarray(_count_noise(mechanism, _scale(mechanism, amount, 1))(counts.tolist()), dtype=np.int64)


def noisy_sums(sums: Counts, *, scale: float) -> Counts:
    """Return sums (d,) of whole numbers with discrete Gaussian noise.

    The caller has charged the curve, and bounded how long a vector one unit adds to them.
    """
    return np.asarray(_count_noise("gaussian", scale * (1 + _SLACK))(sums.tolist()), dtype=np.int64)


def poisson_sample(n: int, *, rate: float) -> NDArray[np.intp]:
    """Return which of ``n`` rows are in a sample, each by itself with a probability of ``rate``.

    It is never more than that: what cannot be drawn exactly is rounded down.
    Shuffled batches of one size are another mechanism: they do not have the curve of sampled sums.
    """
    drawn = np.frombuffer(os.urandom(8 * n), dtype=np.uint64) >> np.uint64(11)
    return np.flatnonzero(drawn < np.uint64(math.floor(rate * 2**53)))


def kept_keys(
    counts: Mapping[str, int], *, amount: float, delta: float, mechanism: Mechanism = "laplace"
) -> frozenset[str]:
    """Return the keys whose noisy counts pass a threshold, for a budget that the caller has charged.

    A key that one row alone has is kept with probability at most ``delta``.  OpenDP is handed a number for each key: of
    texts it reads what comes before a zero byte, so that one row could take the place of all rows of another key, and
    it refuses some that are no UTF-8, which told of such a row.

    Args:
        amount: Epsilon for ``laplace``, rho of zCDP for ``gaussian``.
    """
    dp = _opendp()
    scale = _scale(mechanism, amount, 1)
    domain = dp.domains.map_domain(dp.domains.atom_domain(T="i64"), dp.domains.atom_domain(T="i64"))
    far = dp.metrics.absolute_distance(T="i64")
    if mechanism == "laplace":
        metric, measure = dp.metrics.l01inf_distance(far), dp.measures.max_divergence()
        reach = -math.log(delta) * scale
    else:
        metric, measure = dp.metrics.l02inf_distance(far), dp.measures.zero_concentrated_divergence()
        reach = math.sqrt(-2 * math.log(delta)) * scale

    def made(threshold: int) -> Any:  # noqa: ANN401
        return dp.measurements.make_noise_threshold(
            domain, metric, dp.measures.approximate(measure), scale=scale, threshold=threshold
        )

    # P(1 + noise >= threshold) <= delta: the discrete Laplace law has a tail of at most exp(-t / scale), the discrete
    # Gaussian, which is subgaussian, of exp(-t^2 / (2 scale^2)).  Rounded up until OpenDP's own bound agrees.
    threshold = 1 + math.ceil(reach)
    while made(threshold).map((1, 1, 1))[1] > max(delta, _LEAST_DELTA):
        threshold += 1
    names = list(counts)
    return frozenset(names[number] for number in made(threshold)(dict(enumerate(counts.values()))))


def deviation(amount: float, *, mechanism: Mechanism, sensitivity: int) -> float:
    """Return the standard deviation of the noise that ``noisy_counts`` adds to each cell, in rows."""
    return _scale(mechanism, amount, sensitivity) * (math.sqrt(2) if mechanism == "laplace" else 1.0)


def _scale(mechanism: Mechanism, amount: float, sensitivity: int) -> float:
    """Return the scale of noise on counts, in rows.

    Raises:
        UnsupportedError: if no such noise can be drawn.
    """
    exact = 0.0
    if amount > 0:
        exact = sensitivity / amount if mechanism == "laplace" else sensitivity / math.sqrt(2 * amount)
    if not 1 / _EXTREME <= exact <= _EXTREME:
        much = "little" if exact < 1 and amount > 0 else "much"
        raise UnsupportedError(
            f"the {mechanism} mechanism would add too {much} noise for whole numbers; give an epsilon nearer to 1"
        )
    return exact * (1 + _SLACK)


def _count_noise(mechanism: Mechanism, scale: float) -> Any:  # noqa: ANN401 - opendp has no types
    dp = _opendp()
    domain = dp.domains.vector_domain(dp.domains.atom_domain(T="i64"))
    if mechanism == "laplace":
        return dp.measurements.make_noise(
            domain, dp.metrics.l1_distance(T="i64"), dp.measures.max_divergence(), scale=scale
        )
    return dp.measurements.make_noise(
        domain, dp.metrics.l2_distance(T="i64"), dp.measures.zero_concentrated_divergence(), scale=scale
    )


def _best(mechanism: Mechanism, scale: float) -> Any:  # noqa: ANN401
    dp = _opendp()
    space = dp.domains.vector_domain(dp.domains.atom_domain(T="f64", nan=False)), dp.metrics.linf_distance(T="f64")
    measure = dp.measures.max_divergence() if mechanism == "laplace" else dp.measures.zero_concentrated_divergence()
    return dp.measurements.make_noisy_max(*space, measure, scale=scale)


def require_opendp() -> None:
    """Raise before long work where OpenDP is missing.

    Raises:
        UnsupportedError: naming the extra to install.
    """
    _opendp()


@cache
def _opendp() -> Any:  # noqa: ANN401
    """Return the parts of OpenDP that are used; its prelude would import every extra that happens to be installed."""
    try:
        from opendp import domains, measurements, measures, metrics
        from opendp.mod import enable_features
    except ModuleNotFoundError:
        raise UnsupportedError(
            "differential privacy needs OpenDP, which is not installed; pip install 'synth-components[dp]'"
        ) from None
    enable_features("contrib")
    return SimpleNamespace(domains=domains, measurements=measurements, measures=measures, metrics=metrics)
