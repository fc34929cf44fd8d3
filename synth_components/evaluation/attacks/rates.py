"""How often an attack succeeds on training rows, on holdout rows, and without the synthetic table.

Source: Giomi, Boenisch, Wehmeyer & Tasnadi 2022, "A unified framework for quantifying privacy risk in synthetic data"
(Anonymeter, arXiv:2211.10459), Section 4: attack, control and baseline; the risk is what attack exceeds control by, as
a share of what control leaves.
Differs: rates are the plain shares, with Clopper and Pearson's intervals; Wilson's serve the propagation to the risk.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy import random

from synth_components.errors import SchemaError
from synth_components.evaluation.columns import Coded, some_rows, spread
from synth_components.evaluation.floor import score
from synth_components.evaluation.options import PrivacyConfig
from synth_components.protocols import Floats, Score

TRIES = "privacy.tries"
"""Table of how often an attack was tried and succeeded, from which intervals that hold jointly are made."""

_TWO_SIDED = 1.959964  # 97.5 % quantile of the normal distribution
_TOLERANCE = 0.05  # of a number's range


def rates(name: str, attack: Floats, control: Floats, baseline: Floats) -> tuple[Score, ...]:
    """Return ``.attack``, ``.control``, ``.baseline`` and ``.risk`` of an attack.

    Args:
        attack: Success in [0, 1] on each training row, (a,).
        control: Success on each holdout row, (c,).
        baseline: Success on each training row of who has no synthetic table, (b,).
    """
    sides = {"attack": attack, "control": control, "baseline": baseline}
    held = float(control.mean())
    made = [
        score(f"{name}.{side}", float(found.mean()), hits=(float(found.sum()), len(found)), floor=floor, ideal=floor)
        for side, found in sides.items()
        for floor in (held if side != "baseline" else float(found.mean()),)
    ]
    return (*made, risk(f"{name}.risk", attack, control))


def risk(name: str, attack: Floats, control: Floats, *, subject: tuple[str, ...] = ()) -> Score:
    """Return ``(attack - control) / (1 - control)``, at least 0; 0 where control always succeeds.

    A row's success may be a share, over secrets, say: the error then is that of means of shares.
    """
    hit, held = float(attack.mean()), float(control.mean())
    if held >= 1:
        return score(name, 0.0, floor=0.0, ideal=0.0, subject=subject)
    slope = 1 / (1 - held), (1 - hit) / (1 - held) ** 2
    value = (hit - held) / (1 - held)
    error = math.hypot(slope[0] * _error(attack), slope[1] * _error(control))
    reach = max(0.0, value - error), min(1.0, max(0.0, value + error))
    return Score(name, min(1.0, max(0.0, value)), reach, error / _TWO_SIDED, 0.0, 0.0, subject)


def tries(
    *attacks: tuple[str, tuple[str, ...], Floats, Floats],
) -> pd.DataFrame:
    """Return hits and tries of attacks, a row for each (name of its risk, subject, attack, control).

    A row's success may be a share, over secrets, say: the hits are then their sum.
    """
    return pd.DataFrame(
        [
            {
                "score": name,
                "subject": ", ".join(subject),
                "attack_hits": round(float(attack.sum()), 6),
                "attack_tries": len(attack),
                "control_hits": round(float(control.sum()), 6),
                "control_tries": len(control),
            }
            for name, subject, attack, control in attacks
        ]
    )


def _error(found: Floats) -> float:
    """Return half of Wilson's interval, in shares of it where a row's success is one of several tries."""
    n, z = len(found), _TWO_SIDED
    return z / (n + z * z) * math.sqrt(n * float(found.var()) + z * z / 4)


def right(view: Coded, place: int, guess: Floats, truth: Floats) -> Floats:
    """Return whether guesses (n,) of a column are right, 1 or 0: equal, or within 5 % of a number's range."""
    is_null = np.isnan(guess), np.isnan(truth)
    if view.is_category(view.names[place]):
        same = guess == truth
    else:
        known = view.train[:, place][~np.isnan(view.train[:, place])]
        low, high = np.quantile(known, [0.05, 0.95]) if len(known) else (0.0, 0.0)
        same = np.abs(guess - truth) <= _TOLERANCE * (high - low)
    made: Floats = np.where(is_null[0] | is_null[1], is_null[0] & is_null[1], same).astype(np.float64)
    return made


def places(view: Coded, names: tuple[str, ...], option: str) -> list[int]:
    """Return the places of columns.

    Raises:
        SchemaError: for a column that is not there, or not judged.
    """
    for name in names:
        if name not in view.names:
            raise SchemaError(
                f"{option} names column '{name}', which is no column that attacks can compare; those are: "
                f"{', '.join(view.names)}",
                column=name,
            )
    return [view.names.index(name) for name in names]


def secrets(view: Coded, config: PrivacyConfig) -> list[int]:
    """Return the places of the columns that an adversary wants to learn: those named, or some of all."""
    if config.secrets:
        return places(view, config.secrets, "secrets")
    hidden = [k for k, name in enumerate(view.names) if name not in config.quasi_identifiers]
    return [hidden[k] for k in spread(len(hidden), config.attack_columns)] if hidden else []


def known(view: Coded, secret: int, config: PrivacyConfig) -> list[int]:
    """Return the places that an adversary knows of a target: the quasi-identifiers, or all but the secret."""
    given = places(view, config.quasi_identifiers, "quasi_identifiers") or list(range(len(view.names)))
    return [place for place in given if place != secret]


def targets(rows: Floats, config: PrivacyConfig, rng: random.Generator) -> Floats:
    """Return the records that an attack aims at."""
    return some_rows(rows, config.attack_targets, rng)


def table(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Return a table of rates, rounded."""
    return pd.DataFrame(
        [{name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()} for row in rows]
    )
