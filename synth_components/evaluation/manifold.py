"""Are synthetic rows where real ones are (alpha-precision), and everywhere they are (beta-recall)?

Source: Alaa, van Breugel, Saveliev & van der Schaar 2022 (arXiv:2102.08921), Section 3, embedded as in
synthcity's naive variant.
Differs: numbers are scaled by their 5 % to 95 % range and clipped, so that no column rules by its unit; bounded samples
of equal size.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy import random

from synth_components.evaluation.columns import coded, design
from synth_components.evaluation.floor import score
from synth_components.evaluation.options import FidelityConfig
from synth_components.protocols import Context, Dataset, Evidence, Floats

_LEVELS = np.linspace(0, 1, 30)
_INDICATORS = 20
_SUBSAMPLES = 10
_LEAST = 10


def manifold(
    train: Dataset,
    holdout: Dataset,
    synthetic: Dataset,
    *,
    context: Context,
    rng: random.Generator,
    config: FidelityConfig = FidelityConfig(),  # noqa: B008 - frozen
) -> Evidence:
    """Score alpha-precision and beta-recall: 1 minus the scaled area between curve and diagonal."""
    whole = coded(train, holdout, synthetic)
    size = min(config.manifold_rows, len(whole.train), len(whole.holdout), len(whole.synthetic))
    if not whole.names or size < _LEAST:
        reason = f"it needs a column and {_LEAST} rows of each table"
        rows = [{"score": "fidelity.alpha_precision", "subject": "", "reason": reason}]
        return Evidence(tables={"left_out": pd.DataFrame(rows)})
    view = whole.capped(train=size, holdout=size, synthetic=size, rng=rng)
    real, held, drawn = (
        design(view, side, max_categories=_INDICATORS) for side in (view.train, view.holdout, view.synthetic)
    )
    values, floors = _areas(real, drawn), _areas(real, held)
    # Rows are drawn without replacement: ties with oneself would change what a nearest neighbour is.
    half = max(_LEAST, size // 2)
    draws = np.array(
        [_areas(real[rng.permutation(size)[:half]], drawn[rng.permutation(size)[:half]]) for _ in range(_SUBSAMPLES)]
    )
    spread = draws.std(axis=0, ddof=1) * np.sqrt(half / size)
    names = ("fidelity.alpha_precision", "fidelity.beta_recall")
    return Evidence(
        tuple(
            score(name, value, deviation=float(deviation), floor=floor, ideal=1.0)
            for name, value, deviation, floor in zip(names, values, spread, floors, strict=True)
        )
    )


def _areas(real: Floats, drawn: Floats) -> tuple[float, float]:
    from sklearn.neighbors import NearestNeighbors

    centre, drawn_centre = real.mean(axis=0), drawn.mean(axis=0)
    radii = np.quantile(np.linalg.norm(real - centre, axis=1), _LEVELS)
    reach = np.linalg.norm(drawn - centre, axis=1)
    precision = (reach[:, None] <= radii).mean(axis=0)
    own = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(real).kneighbors(real)[0][:, 1]
    distance, nearest = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(drawn).kneighbors(real)
    closest = np.linalg.norm(drawn[nearest[:, 0]] - drawn_centre, axis=1)
    drawn_radii = np.quantile(closest, _LEVELS)
    recall = ((distance[:, 0] <= own)[:, None] & (closest[:, None] <= drawn_radii)).mean(axis=0)
    total = _LEVELS.sum()
    return (
        max(0.0, float(1 - np.abs(_LEVELS - precision).sum() / total)),
        max(0.0, float(1 - np.abs(_LEVELS - recall).sum() / total)),
    )
