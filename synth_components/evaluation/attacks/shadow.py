"""The shadow-model audit: refit the generator with and without records, and see whether its rows tell which.

It attacks a generator, not a table of synthetic rows: it needs the real rows and the recipe, and takes as many fits as
the budget allows.  Each shadow is fitted on half of a pool; the records that lie farthest from all others are the
targets, and each is inside about half of the shadows.

Source: Carlini et al. 2022, "Membership inference attacks from first principles" (LiRA, arXiv:2112.03570), Section 5,
online, with one variance for all records; Houssiau et al. 2022, TAPAS (arXiv:2211.06550): generators as black boxes.
Differs: the statistic is the mean log distance to the three nearest synthetic rows instead of a loss; each shadow is
judged by the others (leave one out), so that one set of fits serves attack and trial.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy import random
from numpy.typing import NDArray

from synth_components.evaluation.attacks.ranking import Ranking, area, hits_at
from synth_components.evaluation.attacks.trial import left_out
from synth_components.evaluation.columns import coded
from synth_components.evaluation.floor import score
from synth_components.evaluation.neighbours import Located, nearest
from synth_components.privacy.budget_file import opened
from synth_components.privacy.ledger import not_private
from synth_components.protocols import Dataset, Evidence, Floats, PrivacyLedger, report_nothing
from synth_components.protocols import Report as Progress

NAME = "privacy.shadow"
FEWEST = 8
"""Fewest shadows from which scores follow: each record is judged by those that hold it and those that do not."""

_NEAREST = 3
_CLOSEST = 1e-3
_REPLICATES = 50


def shadow(
    data: Dataset,
    *,
    generator: str,
    options: Mapping[str, Any] | None = None,
    budget: float,
    state: Path,
    rows: int = 2_000,
    records: int = 100,
    most: int = 64,
    seed: int = 0,
    trust: tuple[str, ...] = (),
    ledger: PrivacyLedger | None = None,
    report: Progress = report_nothing,
    clock: Callable[[], float] = time.monotonic,
) -> Evidence:
    """Return how well shadow models tell whether an isolated record was trained on: AUC 0.5 is guessing.

    Args:
        data: Real rows; ``2 * rows`` of them are the pool.
        budget: Minutes after which no further shadow is fitted; those of earlier calls count besides.
        state: File that keeps one line per shadow: numbers by target, no row and no value.  The same call goes on.
        rows: Training rows of a shadow, and synthetic rows drawn from it.
        records: Targets.
        most: Shadows after which no further one is fitted.
        ledger: Charged for the rows, before they are read; ``None`` charges the budget file, if one is named.
        report: Told after every shadow how many there are.

    Raises:
        BudgetExceededError: under a finite budget, as an audit reads rows without noise; nothing was read.
    """
    from synth_components.fitting import fit

    opened(ledger).spend(f"shadow audit of {generator}", not_private)
    rng = random.default_rng([seed, 0])
    frame = data.table.iloc[np.sort(rng.permutation(len(data.table))[: 2 * rows])].reset_index(drop=True)
    pool = Dataset({data.schema.root: frame}, data.schema)
    view = coded(pool, pool, pool)
    if not view.names or len(frame) < 4 * FEWEST:
        return left_out(NAME, f"it needs a column and {4 * FEWEST} rows")
    place = Located.of(view, view.train)
    near = np.log(nearest(place, place, _NEAREST + 1)[:, 1:] + _CLOSEST).mean(axis=1)
    chosen = np.argsort(-near, kind="stable")[:records]
    asked = {"generator": generator, "options": dict(options or {}), "rows": rows, "records": records, "seed": seed}
    key = hashlib.sha256(json.dumps({**asked, "pool": near.tolist()}, sort_keys=True).encode()).hexdigest()[:16]
    kept = _kept(state, key)
    end = clock() + 60 * budget
    report(len(kept), most)
    while len(kept) < most and clock() < end:
        number = len(kept)
        inside = np.zeros(len(frame), dtype=np.bool_)
        inside[random.default_rng([seed, 1, number]).permutation(len(frame))[: len(frame) // 2]] = True
        model = fit(
            frame[inside].reset_index(drop=True),
            generator=generator,
            options=dict(options or {}),
            schema=data.schema,
            seed=int(random.default_rng([seed, 2, number]).integers(2**31)),
            trust=trust,
        )
        drawn = model.sample(int(inside.sum()), seed=number)
        found = coded(pool, pool, Dataset({data.schema.root: drawn}, data.schema))
        close = nearest(place.take(chosen), Located.of(found, found.synthetic), _NEAREST)
        line = {
            "key": key,
            "inside": inside[chosen].astype(int).tolist(),
            "close": (-np.log(close + _CLOSEST).mean(axis=1)).tolist(),
        }
        state.parent.mkdir(parents=True, exist_ok=True)
        with state.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        kept.append(line)
        report(len(kept), most)
    if len(kept) < FEWEST:
        return left_out(NAME, f"the budget allowed {len(kept)} shadow models, and it needs {FEWEST}; call it again")
    return _judged(
        np.array([line["inside"] for line in kept], dtype=np.bool_),
        np.array([line["close"] for line in kept], dtype=np.float64),
        rng=random.default_rng([seed, 3]),
    )


def likelihood_ratios(inside: NDArray[np.bool_], close: Floats) -> Floats:
    """Return how much likelier each statistic (k, r) is from a shadow that holds the record.

    A shadow is judged by the means of the others, and one variance for all; 0 where the others are all of one kind.
    """
    weights = inside.astype(np.float64), 1.0 - inside
    counts = [weight.sum(axis=0) - weight for weight in weights]
    means = [
        ((weight * close).sum(axis=0) - weight * close) / np.maximum(count, 1)
        for weight, count in zip(weights, counts, strict=True)
    ]
    own = np.where(inside, means[0], means[1])
    variance = max(float(((close - own) ** 2).mean()), 1e-12)
    made: Floats = ((close - means[1]) ** 2 - (close - means[0]) ** 2) / (2 * variance)
    return np.where((counts[0] > 0) & (counts[1] > 0), made, 0.0)


def _judged(inside: NDArray[np.bool_], close: Floats, *, rng: random.Generator) -> Evidence:
    shadows, records = close.shape
    ratios, labels = likelihood_ratios(inside, close).ravel(), inside.ravel()
    ranking = Ranking.of(ratios)
    roc = ranking.roc(labels)
    # Rows of one record are no independent tries: records are resampled whole.
    weights = [
        np.tile(np.bincount(rng.integers(records, size=records), minlength=records), shadows).astype(np.float64)
        for _ in range(_REPLICATES)
    ]
    drawn = [ranking.roc(labels, weight) for weight in weights]
    chance = []
    for _ in range(_REPLICATES):
        shuffled = inside[rng.permutation(shadows)]
        chance.append(Ranking.of(likelihood_ratios(shuffled, close).ravel()).roc(shuffled.ravel()))
    auc = score(
        f"{NAME}.auc",
        area(roc),
        draws=np.array([area(one) for one in drawn]),
        floor=float(np.mean([area(one) for one in chance])),
        ideal=0.5,
    )
    hits = score(
        f"{NAME}.tpr_at_1_in_100",
        hits_at(roc, 0.01),
        draws=np.array([hits_at(one, 0.01) for one in drawn]),
        floor=float(np.mean([hits_at(one, 0.01) for one in chance])),
        ideal=0.01,
    )
    return Evidence((auc, hits) if (~labels).sum() >= 100 else (auc,))


def _kept(state: Path, key: str) -> list[dict[str, Any]]:
    """Return the shadows of earlier calls that asked for the same; a line that was cut short ends them."""
    made: list[dict[str, Any]] = []
    if not state.exists():
        return made
    for text in state.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if line.get("key") == key:
            made.append(line)
    return made
