"""What the generators over tokens share: numpy draws what torch learnt, fits resume, and no torch is needed to draw."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.checkpoint import remove
from synth_components.encode import encode
from synth_components.errors import StoppedError
from synth_components.generators import make
from synth_components.generators.tabular import _forward
from synth_components.generators.tabular._grid import grids_of
from synth_components.generators.tabular._tokens import join_rows, scored, split_rows, tokens_of
from synth_components.generators.tabular.diffusion import Diffusion, DiffusionSampler
from synth_components.generators.tabular.latent_diffusion import LatentDiffusion
from synth_components.generators.tabular.transformer import Transformer
from synth_components.generators.tabular.vae import VAE
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Dataset, Run
from synth_components.schema import TABLE, Key, Numeric, Schema, Unit
from synth_components.toy import toy_table

SMALL = {"hidden": 16, "depth": 1, "epochs": 2, "batch_rows": 64}
RECIPES = {
    "tabular.diffusion": Diffusion(steps=12, **SMALL),
    "tabular.latent_diffusion": LatentDiffusion(
        latent=4, autoencoder_epochs=2, denoiser_hidden=16, denoiser_depth=1, steps=4, cells=4, **SMALL
    ),
    "tabular.transformer": Transformer(heads=2, cells=4, **SMALL),
    "tabular.vae": VAE(latent=4, cells=4, **SMALL),
}
WITHOUT_TORCH = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "torch" or name.startswith("torch."):
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, Absent())
import synth_components as synth, pandas as pd
model = synth.load(sys.argv[1])
print(pd.util.hash_pandas_object(model.sample(200, seed=5).astype(str)).sum())
"""


def tokens(cells=4, rows=400):
    data = toy_table(0, rows=rows)
    features = encode(data)
    return data, features.values, tokens_of(grids_of(features, knots=50, min_count=10), cells=cells)


@pytest.mark.parametrize("cells", [1, 4])
def test_tokens_and_scores_are_values_and_back(cells):
    data, values, features = tokens(cells)
    rng = np.random.default_rng(0)
    again = join_rows(features, *split_rows(features, values, rng=rng), rng=rng)
    for feature, (one, column) in enumerate(zip(features, data.schema.columns, strict=True)):
        held, made = values[:, feature], again[:, feature]
        assert (np.isnan(held) == np.isnan(made)).all(), column
        codes = one.grid.codes(held, rng=rng)
        low, high = (np.append(part, np.nan)[codes] for part in (one.grid.marginal.low, one.grid.marginal.high))
        kept = ~np.isnan(held) & (held >= low) & (held <= high)
        # A score is a float32, and kept 1e-5 from the ends: what it misses is a part of its piece.
        assert np.allclose(made[kept], held[kept], atol=1 + 0.01 * np.nanmax(high - low)), column


def test_scores_are_standard_normal():
    # 4 sigma of the mean of n standard normals is 4 / sqrt(n), of their variance 4 sqrt(2 / n).
    _, values, features = tokens(cells=1, rows=4_000)
    _, scores = split_rows(features, values, rng=np.random.default_rng(0))
    assert scores.shape[1] == len(scored(features)) > 0
    assert np.abs(scores.mean(axis=0)).max() < 4 / np.sqrt(4_000)
    assert np.abs(scores.var(axis=0) - 1).max() < 4 * np.sqrt(2 / 4_000)


def test_a_number_that_many_rows_share_is_a_token_of_its_own():
    _, _, features = tokens()
    visits = list(toy_table(0).schema.columns).index("visits")
    one = features[visits]
    zero = int(one.grid.share_of(np.array([0.0]))[0][0])
    assert (one.of_code == one.of_code[zero]).sum() == 1
    assert not one.is_scored[one.of_code[zero]]
    assert one.of_code[-1] == len(one.mass) - 1  # null


def test_layers_are_in_numpy_what_they_are_in_torch():
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    from synth_components.generators._torch.layers import Body, arrays, linear

    random = torch.Generator().manual_seed(0)
    network = torch.nn.Sequential(linear(5, 8, random))
    network.add_module("body", Body(8, 3, 0.0, random))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    values = torch.randn(20, 5, generator=random)
    with torch.no_grad():
        wanted = network.body(network[0](values), random).numpy()
    held = arrays(network)
    made = _forward.body(held, "body", _forward.linear(held, "0", values.numpy()))
    assert np.allclose(made, wanted, atol=1e-5)


def test_the_loss_of_all_features_at_once_is_that_of_each():
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    from synth_components.generators._torch.layers import Segments

    _, values, features = tokens()
    held, _ = split_rows(features, values, rng=np.random.default_rng(0))
    segments = Segments(features)
    rows = torch.from_numpy(held)
    logits = 5 * torch.randn(len(rows), sum(segments.counts), generator=torch.Generator().manual_seed(0))
    each = [
        torch.nn.functional.cross_entropy(part, rows[:, feature], reduction="none")
        for feature, part in enumerate(logits.split(segments.counts, dim=1))
    ]
    assert torch.allclose(segments.cross_entropies(logits, rows), torch.stack(each, dim=1), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "asked_before"),
    # 400 rows, of which a tenth or a twentieth is set apart, are 5 batches an epoch; `fit` itself asks once.
    [("tabular.vae", 8), ("tabular.diffusion", 8), ("tabular.latent_diffusion", 8), ("tabular.latent_diffusion", 14)],
)
def test_a_stopped_fit_goes_on_to_the_same_weights(tmp_path, name, asked_before):
    pytest.importorskip("torch", reason="the extra torch is not installed")
    data, asked = toy_table(0), iter(range(10_000))

    def fitted(run):
        return RECIPES[name].fit(data, rng=np.random.default_rng(0), ledger=Ledger(), run=run)

    with pytest.raises(StoppedError, match="run the same again"):
        fitted(Run(checkpoint=tmp_path, should_stop=lambda: next(asked) > asked_before))
    told = []
    resumed = fitted(Run(checkpoint=tmp_path, report=lambda done, total, /, **metrics: told.append(done / total)))
    whole = fitted(Run())
    assert {key: held.tobytes() for key, held in resumed.weights.items()} == {
        key: held.tobytes() for key, held in whole.weights.items()
    }
    assert told == sorted(told)
    remove(tmp_path)
    assert not tmp_path.exists()  # the state of every stage is gone


@pytest.mark.parametrize("name", RECIPES)
def test_a_model_draws_the_same_rows_where_there_is_no_torch(tmp_path, name):
    pytest.importorskip("torch", reason="the extra torch is not installed")
    model = synth.fit(toy_table(0).table, generator=RECIPES[name], seed=0)
    model.save(tmp_path / "model")
    command = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path / "model")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(pd.util.hash_pandas_object(model.sample(200, seed=5).astype(str)).sum())


@pytest.mark.parametrize("name", RECIPES)
def test_the_holdout_of_the_run_judges_the_fit(name):
    pytest.importorskip("torch", reason="the extra torch is not installed")
    seen = []
    run = Run(holdout=toy_table(1), report=lambda done, total, /, **metrics: seen.append(metrics))
    RECIPES[name].fit(toy_table(0), rng=np.random.default_rng(0), ledger=Ledger(), run=run)
    assert all("holdout_loss" in metrics for metrics in seen if metrics)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")  # what Opacus' hooks make torch say
def test_opacus_can_clip_every_layer():
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    opacus = pytest.importorskip("opacus", reason="the extra dp-sgd is not installed")
    from synth_components.generators._torch.denoiser import LatentDenoiser, RowDenoiser, latent_loss, row_loss
    from synth_components.generators._torch.vae import Autoencoder, loss_of

    _, values, features = tokens()
    rows = [torch.from_numpy(part)[:8] for part in split_rows(features, values, rng=np.random.default_rng(0))]
    size = {"hidden": 8, "depth": 1, "dropout": 0.1, "seed": 0}
    for network, held, loss in (
        (Autoencoder(features, latent=2, **size), rows, loss_of(1.0)),
        (RowDenoiser(features, **size), rows, row_loss),
        (LatentDenoiser(5, **size), [torch.ones(8, 5), torch.ones(8, 5)], latent_loss),
    ):
        clipped = opacus.GradSampleModule(network)
        loss(clipped, held, torch.Generator().manual_seed(0)).mean().backward()
        assert all(parameter.grad_sample.shape == (8, *parameter.shape) for parameter in clipped.parameters())


def test_latents_are_drawn_anew_from_their_laws():
    """Of a network that says nothing a latent of variance 1 costs 1 at all times; means alone would cost less."""
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    from synth_components.generators._torch.denoiser import LatentDenoiser, latent_loss

    network = LatentDenoiser(5, hidden=8, depth=1, dropout=0.0, seed=0)
    torch.nn.init.zeros_(network.write.weight)
    means = torch.zeros(20_000, 5)

    def cost(deviation: float) -> float:
        rows = [means, torch.full_like(means, deviation)]
        with torch.no_grad():
            return float(latent_loss(network, rows, torch.Generator().manual_seed(0)).mean()) / 5

    assert abs(cost(1.0) - 1) < 0.03  # 6 sigma
    assert cost(0.0) < 0.9


def test_a_denoiser_is_in_numpy_what_it_is_in_torch():
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    from synth_components.generators._torch.denoiser import RowDenoiser
    from synth_components.generators._torch.layers import arrays

    data, values, features = tokens(cells=1)
    held, scores = split_rows(features, values[:30], rng=np.random.default_rng(0))
    network = RowDenoiser(features, hidden=16, depth=2, dropout=0.0, seed=0)
    places = network.segments.places(torch.from_numpy(held))
    with torch.no_grad():
        wanted = network(places, torch.from_numpy(scores), torch.full((30,), 0.3), torch.Generator()).numpy()
    sampler = DiffusionSampler(data.schema, features, 12, arrays(network))
    context = sampler.weights["read.table.weight"][places.numpy()].sum(axis=1)
    made = _forward.linear(sampler.weights, "write", sampler._hidden(context, scores, 0.3))
    assert np.allclose(made, wanted, atol=1e-4)


def test_a_denoiser_that_knows_nothing_draws_the_marginals():
    """An output of nothing is exact for independent standard normal scores, and its bias for independent tokens."""
    pytest.importorskip("torch", reason="the extra torch is not installed")
    from synth_components.generators._torch.denoiser import RowDenoiser
    from synth_components.generators._torch.layers import arrays

    data, _, features = tokens(cells=1)
    weights = arrays(RowDenoiser(features, hidden=8, depth=1, dropout=0.0, seed=0))
    weights["write.weight"] = np.zeros_like(weights["write.weight"])
    n = 4_000
    held, scores = DiffusionSampler(data.schema, features, 40, weights)._denoised(n, rng=np.random.default_rng(0))
    # 4 sigma, and half a hundredth for what 40 steps of second order leave of the deviation (of first order .04).
    assert np.abs(scores.mean(axis=0)).max() < 4 / np.sqrt(n)
    assert np.abs(scores.std(axis=0) - 1).max() < 4 / np.sqrt(2 * n) + 0.005
    for feature, one in enumerate(features):
        share = np.bincount(held[:, feature], minlength=len(one.mass)) / n
        assert (np.abs(share - one.mass) < 4 * np.sqrt(np.maximum(one.mass * (1 - one.mass), 0) / n) + 1e-9).all()


def test_the_share_of_a_rows_features_that_is_masked_is_the_time():
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    from synth_components.generators._torch.denoiser import RowDenoiser, row_loss

    _, values, features = tokens(cells=1)
    rows = [torch.from_numpy(part) for part in split_rows(features, values, rng=np.random.default_rng(0))]
    network = RowDenoiser(features, hidden=8, depth=1, dropout=0.0, seed=0)
    seen = []
    network.register_forward_pre_hook(lambda _, told: seen.append(told))
    row_loss(network, rows, torch.Generator().manual_seed(0))
    places, _, time, _ = seen[0]
    masked = (places >= sum(network.segments.counts)).sum(dim=1)
    assert ((masked - len(features) * time).abs() < 1).all()
    # One time in each of n strata: their mean is within 1 / n of a half.
    assert abs(float(time.mean()) - 0.5) < 1 / len(time)
    of_features = (places >= sum(network.segments.counts)).float().mean(dim=0)
    assert (of_features - 0.5).abs().max() < 4 * 0.5 / np.sqrt(len(time))


def test_a_vae_without_divergence_knows_its_rows_and_with_much_of_it_forgets_them():
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    from synth_components.generators._torch.loop import Schedule, train
    from synth_components.generators._torch.vae import Autoencoder, loss_of

    _, values, features = tokens()
    rows = [torch.from_numpy(part) for part in split_rows(features, values, rng=np.random.default_rng(0))]
    spread = {}
    for beta in (0.0, 100.0):
        network = Autoencoder(features, hidden=32, depth=1, latent=4, dropout=0.0, seed=0)
        schedule = Schedule(epochs=8, batch_rows=40, learning_rate=0.01, holdout_share=0.0)
        train(network, rows, loss_of(beta), schedule, seed=0, recipe="", run=Run(), ledger=Ledger())
        with torch.no_grad():
            mean, log_variance = network.encode(*rows, torch.Generator())
        spread[beta] = float(mean.var() / log_variance.exp().mean())
    # At beta 100 the latents are the prior's: their means do not vary; at 0 nothing keeps the rows apart from knowing.
    assert spread[100.0] < 0.05
    assert spread[0.0] > 1


def test_equal_seeds_give_equal_weights_and_others_do_not():
    pytest.importorskip("torch", reason="the extra torch is not installed")
    first, second, third = (
        RECIPES["tabular.vae"].fit(toy_table(0), rng=np.random.default_rng(seed), ledger=Ledger(), run=Run())
        for seed in (0, 0, 1)
    )
    digests = [b"".join(held.tobytes() for held in made.weights.values()) for made in (first, second, third)]
    assert digests[0] == digests[1] != digests[2]


class Seen(Exception):
    """Ends a fit whose training was asked for."""


@pytest.mark.parametrize(
    ("name", "sequences"),
    [*((name, {}) for name in [*RECIPES, "tabular.autoregressive"]), ("tabular.transformer", {"group": "session"})],
)
def test_rows_of_a_privacy_unit_are_set_apart_together(monkeypatch, name, sequences):
    loop = pytest.importorskip("synth_components.generators._torch.loop")
    asked = {}

    def spy(module, rows, *_, **options):
        asked.update(options, rows=len(rows[0]))
        raise Seen

    monkeypatch.setattr(loop, "train", spy)
    table = pd.DataFrame({"x": np.arange(600) % 7, "person": np.arange(600) % 30, "session": np.arange(600) % 60})
    whole = Numeric(low=0, high=99, places=0)

    def units_of_fit(unit):
        data = Dataset({TABLE: table}, Schema({TABLE: dict.fromkeys(table, whole)}, unit=unit))
        with pytest.raises(Seen):
            make(name, sequences).fit(data, rng=np.random.default_rng(0), ledger=Ledger(), run=Run())
        return asked["units"]

    order = np.argsort(table["session"], kind="stable") if sequences else np.arange(600)
    assert np.array_equal(units_of_fit(Unit(TABLE, ("person",), max_rows=20)), table["person"].to_numpy()[order])
    assert asked["rows"] == 600
    assert asked["held_out"] is None
    assert units_of_fit(None) is None


@pytest.mark.parametrize("name", ["tabular.autoregressive", "tabular.vae", "tabular.transformer"])
def test_rows_of_a_person_named_by_a_key_are_set_apart_together(monkeypatch, name):
    loop = pytest.importorskip("synth_components.generators._torch.loop")
    asked = {}

    def spy(module, rows, *_, **options):
        asked.update(options)
        raise Seen

    monkeypatch.setattr(loop, "train", spy)
    person = np.arange(600) % 30
    table = pd.DataFrame({"x": np.arange(600) % 7, "person": [f"p{one:02d}" for one in person]})
    columns = {
        "x": Numeric(dtype="int64", low=0, high=6, places=0),
        "person": Key(dtype=str(table["person"].dtype), public=True),
    }
    schema = Schema({TABLE: columns}, unit=Unit(TABLE, ("person",), max_rows=20))
    options = {"group": "person"} if name == "tabular.transformer" else {}
    with pytest.raises(Seen):
        synth.fit(table, generator=name, schema=schema, options=options, seed=0)
    assert np.array_equal(asked["units"], np.sort(person) if options else person)
