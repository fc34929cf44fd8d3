"""One number for what the attacks found: the privacy risk, in [0, 1].

It is the largest of many gains, so their intervals must hold together: the chance that any of them lies above what the
attack really gains is at most 2.5 %, however many attacks and secrets were tried, and so for the upper ends.

Source: Bonferroni, as in Dunn 1961, "Multiple comparisons among means" (J Am Stat Assoc 56), for the joint level;
    Clopper & Pearson 1934 for the rates of attack and control.
Differs: the error allowed to a gain is split once more between the ends of attack and control, of which its own follow,
    as it rises with the one and falls with the other.  Where a record's success is a share, over secrets, the sum of
    the shares stands for the hits: it spreads at most as a binomial does (Hoeffding 1963, Section 5).  Gains without
    hits to count (areas under a curve, hits at few false alarms, singling out) have the normal interval at the joint
    level, of the deviation over resamples or pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import pandas as pd

from synth_components.evaluation.attacks.rates import TRIES
from synth_components.evaluation.floor import lower_bound, upper_bound
from synth_components.protocols import Score

NAME = "privacy.risk"
MOST = 0.3
"""The largest risk that card and gate let pass by default."""

FORMULA = (
    "The privacy risk is the largest gain of any attack. The gain of a membership score (AUC, hits at few false "
    "alarms; of all and of the isolated records) is (score - floor) / (1 - floor), that of any other attack its risk, "
    "(attack - control) / (1 - control). Of each the lower end of its interval counts, so that chance is no risk; "
    "the interval of the risk ends at the largest upper end, which is what the rows cannot rule out. The intervals "
    "hold together with 95 % (Bonferroni, over as many as there are): each is wider than the one shown with its score."
)

_ERROR = 0.025
"""Chance that any lower end is too high; and that any upper end is too low."""

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
}


@dataclass(frozen=True)
class Gain:
    """What an attack gains over one without the synthetic rows, in [0, 1].

    Attributes:
        label: What the attack is called.
        score: What it was read off.
        value: The gain.
        low: What chance does not explain: the lower end of its interval, the value itself without one.  The intervals
            of all gains hold together with 95 %.
        high: The upper end.
    """

    label: str
    score: Score
    value: float
    low: float
    high: float


def gains(scores: Sequence[Score], tables: Mapping[str, pd.DataFrame] | None = None) -> Iterator[Gain]:
    """Yield the gain of each attack that was scored, with intervals that hold together.

    Args:
        tables: Those of the evidence: hits and tries (``rates.TRIES``) are there of attacks that have them.
    """
    found = [one for one in scores if _is_gain(one)]
    counted = _counted(tables)
    share = _ERROR / max(len(found), 1)
    for one in found:
        head, _, _ = one.name.rpartition(".")
        floor = one.floor if _is_above_chance(one) else 0.0
        tally = counted.get((one.name, ", ".join(one.subject)))
        low, high = _apart(one, share) if tally is None else _excess(tally, share)
        made = [min(1.0, max(0.0, (end - floor) / (1 - floor))) if floor < 1 else 0.0 for end in (one.value, low, high)]
        yield Gain(_LABELS[head] if head in _LABELS else _LABELS[one.name], one, *made)


def _is_above_chance(one: Score) -> bool:
    head, _, measure = one.name.rpartition(".")
    return head in _LABELS and (measure == "auc" or measure.startswith("tpr_at_")) and not one.subject


def _is_gain(one: Score) -> bool:
    head, _, measure = one.name.rpartition(".")
    return _is_above_chance(one) or (measure == "risk" and head in _LABELS) or one.name in _LABELS


def _counted(tables: Mapping[str, pd.DataFrame] | None) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Return hits and tries by name and subject of the score."""
    held = (tables or {}).get(TRIES)
    if held is None:
        return {}
    rows: list[dict[str, Any]] = [dict(zip(held.columns, row, strict=True)) for row in held.to_numpy()]
    return {(str(row["score"]), str(row["subject"])): row for row in rows}


def _apart(one: Score, share: float) -> tuple[float, float]:
    """Return the normal interval that leaves out ``share`` at either end."""
    if one.interval is None:
        return one.value, one.value
    reach = NormalDist().inv_cdf(1 - share) * one.deviation
    return one.value - reach, one.value + reach


def _excess(tally: Mapping[str, Any], share: float) -> tuple[float, float]:
    """Return the interval of ``(attack - control) / (1 - control)`` that leaves out ``share`` at either end."""
    half = share / 2
    hits = [(float(tally[f"{side}_hits"]), int(tally[f"{side}_tries"])) for side in ("attack", "control")]
    attack, control = ((lower_bound(*one, error=half), upper_bound(*one, error=half)) for one in hits)

    def excess(hit: float, held: float) -> float:
        return (hit - held) / (1 - held) if held < 1 else 0.0

    return excess(attack[0], control[1]), excess(attack[1], control[0])


def risk(scores: Sequence[Score], tables: Mapping[str, pd.DataFrame] | None = None) -> tuple[Score, ...]:
    """Return the privacy risk with its interval; none without attacks.

    It is ``max(low)`` over the gains, and the interval reaches to ``max(high)``: see ``FORMULA``.  Card, gate and guard
    judge by it, and let pass what is at most 0.3.
    """
    found = list(gains(scores, tables))
    if not found:
        return ()
    value, bound = max(one.low for one in found), max(one.high for one in found)
    reach = (value, bound) if bound > value else None
    return (Score(NAME, value, reach, 0.0, 0.0, 0.0),)


def exposure(scores: Sequence[Score], tables: Mapping[str, pd.DataFrame] | None = None, *, records: int) -> str:
    """Return in a sentence how strong an attack could be for all that the records tell; empty without.

    Args:
        records: About how many records were attacked, where an attack does not tell itself.
    """
    found = list(gains(scores, tables))
    if not found:
        return ""
    one = max(found, key=lambda gain: gain.high)
    tally = _counted(tables).get((one.score.name, ", ".join(one.score.subject)))
    count = records // 10 if "isolated" in one.score.name else records  # the tenth that stand most alone
    count = count if tally is None else int(tally["attack_tries"])
    about = f"'{', '.join(one.score.subject)}'" if one.score.subject else "the whole table"
    return (
        f"{count:,} attacked records: the attack could be as strong as {one.high:.3f} ({one.label}, {about}); what was "
        f"found beyond chance is {max(gain.low for gain in found):.3f}. Fewer records rule out less, so that a small "
        "table passes more easily; hold the upper end with max_risk_upper."
    )
