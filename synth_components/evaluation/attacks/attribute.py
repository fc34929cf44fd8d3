"""Attribute inference: does the synthetic table give away what somebody wants kept secret?

The adversary knows a target's other columns, finds the synthetic row that is closest in them, and takes its value of
the secret.  The baseline does the same with real rows of the holdout: what it finds is true of the population.

Source: Giomi et al. 2022 (arXiv:2211.10459), Section 4.4, for the attack by the nearest neighbour and its control.
Differs: the baseline is an attacker who has a holdout, instead of one who guesses; a number is right within 5 % of its
5 % to 95 % range, instead of 5 % of its value.
"""

from __future__ import annotations

import numpy as np
from numpy import random

from synth_components.evaluation.attacks.rates import TRIES, known, rates, right, risk, secrets, table, targets, tries
from synth_components.evaluation.attacks.trial import NEEDS, left_out, parts
from synth_components.evaluation.columns import Coded
from synth_components.evaluation.floor import score
from synth_components.evaluation.neighbours import Located, distances
from synth_components.evaluation.options import PrivacyConfig
from synth_components.protocols import Context, Dataset, Evidence, Floats, Score

NAME = "privacy.attribute"


def attribute(
    train: Dataset,
    holdout: Dataset,
    synthetic: Dataset,
    *,
    context: Context,
    rng: random.Generator,
    config: PrivacyConfig = PrivacyConfig(),  # noqa: B008 - frozen
) -> Evidence:
    """Score how much better secrets of training rows are guessed than without the synthetic table.

    Each rate is the mean over the secrets.  ``privacy.attribute.advantage`` is attack less baseline, on the same
    training rows, ``privacy.attribute.risk`` what attack exceeds control by, and ``privacy.attribute.column`` the same
    for one secret.
    """
    found = parts(train, holdout, synthetic, context=context, rng=rng, config=config)
    if found is None:
        return left_out(NAME, NEEDS)
    hidden = [place for place in secrets(found.view, config) if known(found.view, place, config)]
    if not hidden:
        return left_out(NAME, "there is no secret column beside a known one")
    members, others = (targets(side, config, rng) for side in (found.members, found.others))
    made: list[dict[str, object]] = []
    scores: list[Score] = []
    success: list[list[Floats]] = [[], [], []]
    for place in hidden:
        given = known(found.view, place, config)
        guesses = [
            right(found.view, place, guessed(found.view, side, source, place, given), side[:, place])
            for side, source in ((members, found.drawn), (others, found.drawn), (members, found.reference))
        ]
        for kept, one in zip(success, guesses, strict=True):
            kept.append(one)
        scores.append(risk(f"{NAME}.column", guesses[0], guesses[1], subject=(found.view.names[place],)))
        attack, control, baseline = (float(one.mean()) for one in guesses)
        row = {"attack": attack, "control": control, "baseline": baseline, "advantage": attack - baseline}
        made.append({"column": found.view.names[place], **row, "risk": scores[-1].value})
    attack_on, control_on, baseline_on = (np.mean(kept, axis=0) for kept in success)
    gain = attack_on - baseline_on
    error = float(gain.std() / np.sqrt(len(gain)))
    advantage = score(f"{NAME}.advantage", float(gain.mean()), deviation=error, floor=0.0, ideal=0.0, low=-1.0)
    whole = rates(NAME, attack_on, control_on, baseline_on)
    each = zip(hidden, success[0], success[1], strict=True)
    counted = tries(
        (f"{NAME}.risk", (), attack_on, control_on),
        *((f"{NAME}.column", (found.view.names[place],), hit, held) for place, hit, held in each),
    )
    return Evidence((*whole, advantage, *scores), tables={NAME: table(made), TRIES: counted})


def guessed(view: Coded, rows: Floats, source: Floats, secret: int, given: list[int]) -> Floats:
    """Return the secret (n,) of the source row that is closest to each row in the columns given."""
    part = view.only(np.array(given))
    queries, references = (Located.of(part, side[:, given]) for side in (rows, source))
    made = np.empty(len(rows))
    for some, distance in distances(queries, references):
        made[some] = source[distance.argmin(axis=1), secret]
    return made
