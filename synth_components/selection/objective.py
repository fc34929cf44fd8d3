"""What a choice is judged by: scores in [0, 1], larger is better, all on rows that the generator has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from synth_components.errors import DataError
from synth_components.protocols import Context, Dataset
from synth_components.split import together

Aim: TypeAlias = Literal["detection", "utility", "privacy"]
AIMS: tuple[Aim, ...] = ("detection", "utility", "privacy")

ATTACKED_ROWS = 1_000


def scores(
    train: Dataset, held_out: Dataset, drawn: Dataset, *, aims: Sequence[Aim], target: str = "", seed: int = 0
) -> dict[str, float]:
    """Return the scores of drawn rows by aim.

    ``detection`` is the C2ST of a boosted detector against the held-out rows; ``utility`` the score on them of a model
    of ``target`` trained on drawn rows over that of one trained on real rows, at most 1; ``privacy`` 1 where the
    strongest membership attack guesses, and 0 where it is never wrong.

    Raises:
        DataError: if a score cannot be had: too few rows, or no target for utility.
    """
    made: dict[str, float] = {}
    import sklearn.ensemble  # noqa: F401 - only what is loaded can be kept to one thread
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):  # on a busy machine threads wait for each other far longer than they work
        for aim in aims:
            made[aim] = _score(train, held_out, drawn, aim, target=target, seed=seed)
    return made


def _score(train: Dataset, held_out: Dataset, drawn: Dataset, aim: Aim, *, target: str, seed: int) -> float:
    rng = np.random.default_rng(seed)  # one stream per aim and fold: trials differ by their options alone
    if aim == "detection":
        from synth_components.evaluation.detection import c2st

        return c2st(held_out, drawn, rng=rng)
    if aim == "utility":
        from synth_components.evaluation.card import task_ratio
        from synth_components.evaluation.options import UtilityConfig
        from synth_components.evaluation.utility import utility

        config = UtilityConfig(target=target, global_utility=False)
        found = utility(train, held_out, drawn, context=Context(target=target), rng=rng, config=config)
        ratio = task_ratio(found.scores, target)
        if ratio is None:
            raise DataError("the utility of a fold could not be scored; name a target that real rows predict")
        return float(np.clip(ratio.value, 0.0, 1.0))
    from synth_components.evaluation.attacks.membership import membership
    from synth_components.evaluation.options import PrivacyConfig

    options = PrivacyConfig(attack_rows=ATTACKED_ROWS)
    context = Context(unit=together(held_out.schema))
    found = membership(train, held_out, drawn, context=context, rng=rng, config=options)
    areas = [one.value for one in found.scores if one.name == "privacy.membership.auc"]
    if not areas:
        raise DataError("the membership attack found too few rows; give more, or fewer folds")
    return 1 - 2 * max(0.0, areas[0] - 0.5)
