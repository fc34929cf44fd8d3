"""What a report recommends is tried on a network's own options."""

import numpy as np
import pandas as pd
import pytest

from synth_components.evaluation.options import EvaluateConfig
from synth_components.selection.optimizing import OptimizeConfig, auto_optimize

pytest.importorskip("torch", reason="the extra torch is not installed")


def test_a_network_that_has_not_learned_what_goes_together_is_given_more_passes_and_width():
    rng = np.random.default_rng(0)
    place = rng.choice(["a", "b", "c"], 600)
    copies = {f"copy{k}": np.where(rng.random(600) < 0.95, place, "a") for k in range(4)}
    table = pd.DataFrame({"place": place, **copies})
    model, found = auto_optimize(
        table,
        generator="tabular.autoregressive",
        options={"epochs": 1, "hidden": 4, "dropout": 0.0, "batch_rows": 64},
        config=OptimizeConfig(rounds=2),
        evaluate=EvaluateConfig(
            replicates=10,
            detector_rows=200,
            detector_folds=2,
            manifold_rows=100,
            global_utility=False,
            attacks=(),
            min_quality=0.8,
        ),
    )
    first, second = found.rounds
    assert first.quality < 0.8 <= second.quality
    assert {"epochs 1 -> 14", "hidden 4 -> 128"} <= set(second.changed)
    assert model.manifest.options["epochs"] == 14
