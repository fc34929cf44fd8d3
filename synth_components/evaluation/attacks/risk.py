"""One number for what the attacks found: the privacy risk, in [0, 1]."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from synth_components.protocols import Score

NAME = "privacy.risk"
MOST = 0.3
"""The largest risk that card and gate let pass by default."""

FORMULA = (
    "The privacy risk is the largest gain of any attack. The gain of a membership score (AUC, hits at few false "
    "alarms; of all and of the isolated records) is (score - floor) / (1 - floor), that of any other attack its risk, "
    "(attack - control) / (1 - control). Of each the lower end of its 95 % interval counts, so that chance is no risk; "
    "the interval of the risk ends at the largest upper end, which is what the rows cannot rule out."
)

_LABELS = {
    "privacy.membership": "membership inference",
    "privacy.membership.isolated": "membership inference on isolated records",
    "privacy.attribute": "attribute inference",
    "privacy.attribute.column": "attribute inference",
    "privacy.singling_out.univariate": "singling out by one column",
    "privacy.singling_out.multivariate": "singling out by several columns",
    "privacy.linkability": "linking two halves of a record",
    "privacy.reidentification": "re-identification",
    "privacy.inversion": "model inversion",
    "privacy.shadow": "the shadow-model audit",
    "privacy.shadow.record": "the shadow-model audit, of its worst record",
}


@dataclass(frozen=True)
class Gain:
    """What an attack gains over one without the synthetic rows, in [0, 1].

    Attributes:
        label: What the attack is called.
        score: What it was read off.
        value: The gain.
        low: What chance does not explain: the lower end of its 95 % interval, the value itself without one.
        high: The upper end.
    """

    label: str
    score: Score
    value: float
    low: float
    high: float


def gains(scores: Sequence[Score]) -> Iterator[Gain]:
    """Yield the gain of each attack that was scored."""
    for one in scores:
        head, _, measure = one.name.rpartition(".")
        if head in _LABELS and (measure == "auc" or measure.startswith("tpr_at_")) and not one.subject:
            floor = one.floor
        elif (measure == "risk" and head in _LABELS) or one.name in _LABELS:
            floor = 0.0
        else:
            continue
        low, high = (one.value, one.value) if one.interval is None else one.interval
        made = [min(1.0, max(0.0, (end - floor) / (1 - floor))) if floor < 1 else 0.0 for end in (one.value, low, high)]
        yield Gain(_LABELS[head] if head in _LABELS else _LABELS[one.name], one, *made)


def risk(scores: Sequence[Score]) -> tuple[Score, ...]:
    """Return the privacy risk with its interval; none without attacks.

    It is ``max(low)`` over the gains, and the interval reaches to ``max(high)``: see ``FORMULA``.  Card and gate let
    pass what is at most 0.3.
    """
    found = list(gains(scores))
    if not found:
        return ()
    value, bound = max(one.low for one in found), max(one.high for one in found)
    reach = (value, bound) if bound > value else None
    return (Score(NAME, value, reach, 0.0, 0.0, 0.0),)
