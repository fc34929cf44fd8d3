"""Networks go on from their own weights."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.config import ConfigError
from synth_components.encode import encode
from synth_components.errors import ArtifactError, StoppedError, UnsupportedError
from synth_components.generators import recipe_type
from synth_components.generators.tabular._grid import grids_of
from synth_components.generators.tabular._tokens import tokens_of
from synth_components.generators.tabular.vae import decoder_of
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Run
from synth_components.toy import toy_table

pytest.importorskip("torch", reason="the extra torch is not installed")

SMALL = {"hidden": 16, "epochs": 8, "batch_rows": 64, "learning_rate": 0.02, "holdout_share": 0.0}
GOING_ON = {
    "tabular.autoregressive": {},
    "tabular.copula_gan": {"depth": 1, "latent": 8, "pack": 2, "dropout": 0.0, "epochs": 40},
    "tabular.diffusion": {"depth": 1, "epochs": 30, "steps": 12},
    "tabular.latent_diffusion": {
        "depth": 1,
        "latent": 4,
        "cells": 8,
        "autoencoder_epochs": 15,
        "denoiser_hidden": 32,
        "denoiser_depth": 1,
        "epochs": 20,
        "steps": 10,
    },
    "tabular.table_gan": {"channels": 8, "latent": 8, "epochs": 40, "learning_rate": 0.01, "batch_rows": 100},
    "tabular.transformer": {"depth": 1, "heads": 2},
    "tabular.vae": {"depth": 1, "latent": 4, "cells": 8, "epochs": 40, "beta": 0.3},
}
SHIFTED = (0.15, 0.15, 0.7)


def options_of(name, **changes):
    """Return the options of a small fit, those that the generator has."""
    if "epochs" in changes:
        changes["autoencoder_epochs"] = changes["epochs"]
    known = recipe_type(name).model_fields
    return {key: value for key, value in (SMALL | GOING_ON[name] | changes).items() if key in known}


def rows(n, seed, places=(1 / 3, 1 / 3, 1 / 3)):
    rng = np.random.default_rng(seed)
    place = rng.choice(["a", "b", "c"], n, p=places)
    return pd.DataFrame({"place": place, "copy": np.where(rng.random(n) < 0.9, place, "a")})


def agreement(model):
    drawn = model.sample(2_000, seed=1)
    return float((drawn["place"] == drawn["copy"]).mean())


def distance(model):
    """Return the total variation between drawn rows and the law of the shifted ones."""
    drawn = model.sample(4_000, seed=1)
    total = 0.0
    for share, place in zip(SHIFTED, "abc", strict=True):
        for copy in "abc":
            wanted = share * (0.9 * (place == copy) + 0.1 * (copy == "a"))
            total += abs(wanted - ((drawn["place"] == place) & (drawn["copy"] == copy)).mean())
    return total / 2


@pytest.fixture(scope="module")
def learned():
    """Return the model of many rows by the generator's name; each is fitted once."""
    return cache(lambda name: synth.fit(rows(1_500, 0), generator=name, options=options_of(name), seed=0))


@pytest.mark.parametrize("name", GOING_ON)
def test_a_short_fit_that_goes_on_knows_what_the_long_one_learned(name, learned):
    brief = options_of(name, epochs=1, learning_rate=1e-4, critic_steps=1)
    after = synth.fit(rows(200, 1), generator=name, options=brief, seed=0, start=learned(name))
    alone = synth.fit(rows(200, 1), generator=name, options=brief, seed=0)
    # Of real rows .9 + .1/3 agree; of independent columns about .36.
    assert agreement(after) > 0.7 > 0.6 > agreement(alone)
    assert after.manifest.start["generator"] == name


@pytest.mark.parametrize("name", GOING_ON)
def test_shifted_rows_are_learned_in_fewer_passes_from_a_model_than_from_nothing(name, learned):
    new = rows(400, 1, SHIFTED)
    few = options_of(name, epochs=4, learning_rate=0.004)
    # What reads rows may be learned anew first, with a quarter of the passes: as many again are given to the other fit.
    as_many = options_of(name, epochs=5, learning_rate=0.004)
    after = synth.fit(new, generator=name, options=few, seed=0, start=learned(name))
    alone = synth.fit(new, generator=name, options=as_many, seed=0)
    assert distance(after) < 0.9 * distance(alone)


@pytest.mark.parametrize("name", GOING_ON)
def test_a_network_goes_on_with_the_shape_it_has_and_no_other_is_asked_of_it(name):
    options = options_of(name, epochs=1, critic_steps=1)
    wide = {key: 2 * options[key] for key in ("hidden", "latent", "depth", "denoiser_hidden") if key in options}
    wide |= {"channels": 16} if "channels" in options else {}
    before = synth.fit(rows(300, 0), generator=name, options=options, seed=0)
    unsaid = {key: value for key, value in options.items() if key not in recipe_type(name).kept_warm}
    after = synth.fit(rows(300, 1), generator=name, options=unsaid, seed=0, start=before)
    shapes = [{key: held.shape for key, held in model.sampler.weights.items()} for model in (before, after)]
    assert shapes[0] == shapes[1]
    assert after.manifest.options == before.manifest.options
    for key, value in wide.items():
        with pytest.raises(ConfigError, match=f"option '{key}' is {options[key]} in the model to go on from"):
            synth.fit(rows(300, 1), generator=name, options=unsaid | {key: value}, seed=0, start=before)


@pytest.mark.parametrize("name", ["tabular.copula_gan", "tabular.table_gan"])
def test_a_gan_that_goes_on_has_the_marginals_of_the_new_rows(name, learned):
    brief = options_of(name, epochs=1, learning_rate=1e-4, critic_steps=1)
    after = synth.fit(rows(1_000, 1, SHIFTED), generator=name, options=brief, seed=0, start=learned(name))
    assert abs((after.sample(4_000, seed=1)["place"] == "c").mean() - SHIFTED[2]) < 0.1


def test_a_fit_that_goes_on_and_is_stopped_ends_with_the_same_weights(tmp_path, learned):
    name, asked = "tabular.vae", iter(range(1_000))
    brief = options_of(name, epochs=4)

    def fitted(**circumstances):
        return synth.fit(
            rows(300, 1), generator=name, options=brief, seed=0, start=learned(name), run=Run(**circumstances)
        )

    with pytest.raises(StoppedError, match="run the same again"):
        fitted(checkpoint=tmp_path, should_stop=lambda: next(asked) > 10)  # within the second of the trainings
    assert (tmp_path / "checkpoint.encoder.safetensors").exists()
    resumed, whole = fitted(checkpoint=tmp_path), fitted()
    assert {key: held.tobytes() for key, held in resumed.sampler.weights.items()} == {
        key: held.tobytes() for key, held in whole.sampler.weights.items()
    }


def test_what_writes_rows_is_held_still_while_what_reads_them_is_learned():
    from synth_components.generators._torch.layers import arrays
    from synth_components.generators._torch.loop import Schedule, train
    from synth_components.generators._torch.reader import held_still
    from synth_components.generators._torch.token_rows import token_rows
    from synth_components.generators._torch.vae import Autoencoder, loss_of

    features = encode(toy_table(0))
    tokens = tokens_of(grids_of(features, knots=50, min_count=10), cells=8)
    kept, _ = token_rows(tokens, features.values, None, rng=np.random.default_rng(0))
    network = Autoencoder(tokens, hidden=8, depth=1, latent=2, dropout=0.0, seed=0)
    before = {key: held.copy() for key, held in arrays(network).items()}
    schedule = Schedule(epochs=1, batch_rows=64, learning_rate=0.01)
    still = decoder_of(before)
    with held_still(network, still):
        train(network, kept, loss_of(1.0), schedule, seed=0, recipe="", run=Run(), ledger=Ledger())
    after = arrays(network)
    assert {key for key in before if not np.array_equal(before[key], after[key])} == set(before) - set(still)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_sequences_go_on_and_rows_without_them_do_not_go_on_as_sequences():
    options = SMALL | GOING_ON["tabular.transformer"] | {"epochs": 1, "order": 2}
    table = rows(300, 0).assign(at=np.arange(300) // 2)
    ordered = synth.fit(table, generator="tabular.transformer", options=options | {"order_by": "at"}, seed=0)
    wide = options | {"order_by": "at", "order": 5}
    unsaid = {key: value for key, value in wide.items() if key != "order"}
    after = synth.fit(table, generator="tabular.transformer", options=unsaid, seed=0, start=ordered)
    assert after.sampler.shape == ordered.sampler.shape
    assert after.manifest.options["order"] == 2
    with pytest.raises(ConfigError, match="option 'order' is 2"):
        synth.fit(table, generator="tabular.transformer", options=wide, seed=0, start=ordered)
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
