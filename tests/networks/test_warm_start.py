"""Networks go on from their own weights."""

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.errors import ArtifactError, StoppedError, UnsupportedError
from synth_components.protocols import Run

pytest.importorskip("torch", reason="the extra torch is not installed")

SMALL = {"hidden": 16, "epochs": 8, "batch_rows": 64, "learning_rate": 0.02, "holdout_share": 0.0}
GOING_ON = {
    "tabular.autoregressive": {},
    "tabular.diffusion": {"depth": 1, "epochs": 30, "steps": 12},
    "tabular.transformer": {"depth": 1, "heads": 2},
}


def rows(n, seed):
    rng = np.random.default_rng(seed)
    place = rng.choice(["a", "b", "c"], n)
    return pd.DataFrame({"place": place, "copy": np.where(rng.random(n) < 0.9, place, "a")})


def agreement(model):
    drawn = model.sample(2_000, seed=1)
    return float((drawn["place"] == drawn["copy"]).mean())


@pytest.mark.parametrize("name", GOING_ON)
def test_a_short_fit_that_goes_on_knows_what_the_long_one_learned(name):
    options = SMALL | GOING_ON[name]
    before = synth.fit(rows(1_500, 0), generator=name, options=options, seed=0)
    brief = options | {"epochs": 1, "learning_rate": 1e-4}
    after = synth.fit(rows(200, 1), generator=name, options=brief, seed=0, start=before)
    alone = synth.fit(rows(200, 1), generator=name, options=brief, seed=0)
    # Of real rows .9 + .1/3 agree; of independent columns about .36.
    assert agreement(after) > 0.85 > 0.6 > agreement(alone)
    assert after.manifest.start["generator"] == name


@pytest.mark.parametrize("name", GOING_ON)
def test_a_wider_network_goes_on_with_the_width_it_has(name):
    options = SMALL | GOING_ON[name]
    before = synth.fit(rows(300, 0), generator=name, options=options, seed=0)
    wide = options | {"hidden": 64, "epochs": 1}
    after = synth.fit(rows(300, 1), generator=name, options=wide, seed=0, start=before)
    shapes = [{key: held.shape for key, held in model.sampler.weights.items()} for model in (before, after)]
    assert shapes[0] == shapes[1]


def test_sequences_go_on_and_rows_without_them_do_not_go_on_as_sequences():
    options = SMALL | GOING_ON["tabular.transformer"] | {"epochs": 1, "order": 2}
    table = rows(300, 0).assign(at=np.arange(300) // 2)
    ordered = synth.fit(table, generator="tabular.transformer", options=options | {"order_by": "at"}, seed=0)
    wide = options | {"order_by": "at", "order": 5}
    after = synth.fit(table, generator="tabular.transformer", options=wide, seed=0, start=ordered)
    assert after.sampler.shape == ordered.sampler.shape
    with pytest.raises(UnsupportedError, match="number sequences"):
        synth.fit(table, generator="tabular.transformer", options=options, seed=0, start=ordered)


def test_the_model_of_another_generator_is_refused():
    before = synth.fit(rows(300, 0), generator="tabular.independent", seed=0)
    with pytest.raises(UnsupportedError, match="goes on from its own models"):
        synth.fit(rows(300, 1), generator="tabular.autoregressive", options=SMALL, start=before)


def test_the_state_of_a_fit_that_went_on_from_another_model_is_refused(tmp_path):
    asked = iter(range(100))
    brief = SMALL | {"epochs": 2}
    starts = [synth.fit(rows(300, seed), generator="tabular.autoregressive", options=brief, seed=0) for seed in (0, 1)]

    def fitted(start, should_stop):
        run = Run(checkpoint=tmp_path, should_stop=should_stop)
        synth.fit(rows(300, 2), generator="tabular.autoregressive", options=brief, seed=0, start=start, run=run)

    with pytest.raises(StoppedError):
        fitted(starts[0], lambda: next(asked) > 4)
    with pytest.raises(ArtifactError, match="is of another fit"):
        fitted(starts[1], lambda: False)
    fitted(starts[0], lambda: False)
