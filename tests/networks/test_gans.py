"""The GANs: what they play for, whom they are told of, that they learn pairs, and draw without torch."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.config import ConfigError
from synth_components.encode import encode
from synth_components.errors import StoppedError
from synth_components.generators.tabular import independent
from synth_components.generators.tabular._calibration import levels_of, ranks_of, shifts_of
from synth_components.generators.tabular._forward import softmax
from synth_components.generators.tabular._grid import grids_of
from synth_components.generators.tabular._tokens import Tokens, split_rows, tokens_of
from synth_components.generators.tabular.copula_gan import CopulaGAN
from synth_components.generators.tabular.table_gan import TableGAN, noise_of, side_of, squares_of, values_of, written
from synth_components.monitor import QualityMonitor
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Run
from synth_components.testing import _pair_distance
from synth_components.toy import toy_table

RECIPES = {
    "tabular.copula_gan": CopulaGAN(hidden=16, depth=1, latent=4, epochs=2, batch_rows=64, noise="uniform"),
    "tabular.table_gan": TableGAN(channels=2, latent=4, epochs=2, batch_rows=64, noise="normal"),
}
LONGER = {
    "tabular.copula_gan": CopulaGAN(
        hidden=64, depth=1, latent=16, epochs=250, batch_rows=50, pack=2, learning_rate=0.005, dropout=0.0
    ),
    "tabular.table_gan": TableGAN(channels=16, latent=16, epochs=250, batch_rows=50, learning_rate=0.004),
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


def fitted(recipe, run=None, rows=400):
    return recipe.fit(toy_table(0, rows=rows), rng=np.random.default_rng(0), ledger=Ledger(), run=run or Run())


def tokens_and_rows(rows=400):
    features = encode(toy_table(0, rows=rows))
    tokens = tokens_of(grids_of(features, knots=50, min_count=10), cells=1)
    return tokens, split_rows(tokens, features.values, rng=np.random.default_rng(0))


@pytest.mark.parametrize("name", LONGER)
def test_gans_learn_pairs_that_independent_columns_miss(name):
    pytest.importorskip("torch", reason="the extra torch is not installed")
    data = toy_table(0)
    baseline = independent.Independent(knots=50, min_category_count=1).fit(
        data, rng=np.random.default_rng(0), ledger=Ledger(), run=Run()
    )
    ours, theirs = (
        _pair_distance(data, sampler.sample(4_000, rng=np.random.default_rng(0)))
        for sampler in (fitted(LONGER[name]), baseline)
    )
    assert ours < theirs


def test_a_generator_that_would_never_take_a_step_is_refused():
    """Up to 500 rows are one step of the critic in each epoch: the fifth takes the first of the generator along."""
    pytest.importorskip("torch", reason="the extra torch is not installed")
    small = {"hidden": 8, "depth": 1, "latent": 4, "critic_steps": 5}
    for options, rows in (({"epochs": 4}, 300), ({"epochs": 1, "batch_rows": 60}, 299)):
        with pytest.raises(ConfigError, match=r"4 in all.*raise epochs, or lower batch_rows or critic_steps") as found:
            fitted(CopulaGAN(**small, **options), rows=rows)
        assert found.value.option == "critic_steps"
    weights = [
        fitted(CopulaGAN(**small, **options), rows=300).weights["write.weight"]
        for options in ({"epochs": 5}, {"epochs": 1, "batch_rows": 60}, {"epochs": 5, "learning_rate": 1e-12})
    ]
    assert all((one != weights[-1]).any() for one in weights[:-1])


def test_a_monitor_ends_no_training_before_the_generator_has_taken_a_step():
    """One step of the critic in each epoch: the rows of the first four are alike, which patience would end."""
    pytest.importorskip("torch", reason="the extra torch is not installed")
    told = []
    run = Run(
        monitor=QualityMonitor(toy_table(1, rows=100), patience=1),
        report=lambda done, total, /, **metrics: told.append("quality" in metrics) if metrics else None,
    )
    fitted(CopulaGAN(hidden=8, depth=1, latent=4, critic_steps=5, epochs=5), run, rows=300)
    assert told == [False] * 4 + [True]


@pytest.mark.parametrize("name", RECIPES)
def test_a_stopped_gan_goes_on_to_the_same_weights(tmp_path, name):
    pytest.importorskip("torch", reason="the extra torch is not installed")
    asked = iter(range(10_000))
    with pytest.raises(StoppedError, match="run the same again"):
        fitted(RECIPES[name], Run(checkpoint=tmp_path, should_stop=lambda: next(asked) > 8))
    resumed, whole = fitted(RECIPES[name], Run(checkpoint=tmp_path)), fitted(RECIPES[name])
    assert {key: held.tobytes() for key, held in resumed.weights.items()} == {
        key: held.tobytes() for key, held in whole.weights.items()
    }


@pytest.mark.parametrize("name", RECIPES)
def test_a_gan_draws_the_same_rows_where_there_is_no_torch(tmp_path, name):
    pytest.importorskip("torch", reason="the extra torch is not installed")
    model = synth.fit(toy_table(0).table, generator=RECIPES[name], seed=0)
    model.save(tmp_path / "model")
    command = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path / "model")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(pd.util.hash_pandas_object(model.sample(200, seed=5).astype(str)).sum())


def test_rows_of_a_copula_gan_fill_space_and_lie_on_no_curve():
    """With one step of the critic for each of the generator's, the two of nothing are -.67 and .63."""
    pytest.importorskip("torch", reason="the extra torch is not installed")
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((1_000, 3)) @ np.array([[1.0, 0.8, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, 1.0]])
    table = pd.DataFrame(mixed, columns=list("abc")).assign(side=np.where(mixed[:, 0] > 0, "left", "right"))
    recipe = CopulaGAN(hidden=32, latent=16, epochs=200, batch_rows=100, learning_rate=1e-3, pack=1, dropout=0.0)
    drawn = synth.fit(table, generator=recipe, seed=0).sample(2_000, seed=1)
    found = drawn[list("abc")].corr().to_numpy()
    assert found[0, 1] > 0.5
    assert abs(found[0, 2]) < 0.5
    assert abs(found[1, 2]) < 0.5


def test_rows_and_conditions_are_drawn_as_training_by_sampling_draws_them():
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    from synth_components.generators._torch.conditional_gan import rates_of

    features, (tokens, _) = tokens_and_rows()
    rates, chances = rates_of(features, tokens, logarithmic=True)
    # The chance of a token as the condition, summed over the rows that have it, is the paper's: even over the features
    # of several tokens, then the logarithm of the count of each token.
    starts = np.cumsum([0, *(len(one.mass) for one in features)])
    several = sum(len(one.mass) > 1 for one in features)
    for feature, one in enumerate(features):
        count = np.bincount(tokens[:, feature], minlength=len(one.mass))
        got = rates.numpy()[starts[feature] : starts[feature + 1]] * count
        assert np.allclose(got, np.log1p(count) / np.log1p(count).sum() * (len(one.mass) > 1), atol=1e-6)
    assert torch.isclose(chances.sum(), torch.tensor(float(several), dtype=torch.float64))


def test_the_generator_climbs_where_the_critic_descends():
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    from synth_components.generators._torch.conditional_gan import _Reversed

    values = torch.ones(3, requires_grad=True)
    (2 * _Reversed.apply(values)).sum().backward()
    assert values.grad.tolist() == [-2.0, -2.0, -2.0]


def test_drawn_tokens_are_one_of_each_feature_and_as_often_as_their_logits_say():
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    from synth_components.generators._torch.conditional_gan import ConditionalGAN, rates_of

    features, (tokens, _) = tokens_and_rows()
    options = {"hidden": 4, "depth": 1, "latent": 2, "noise": "normal", "pack": 2, "dropout": 0.0, "seed": 0}
    network = ConditionalGAN(features, rates_of(features, tokens, logarithmic=True)[0], **options)
    masses = network.drawn(network.segments.log_mass.expand(4_000, -1), torch.Generator().manual_seed(0))
    assert torch.allclose(masses @ network.segments.member, torch.ones(()), atol=1e-4)
    for part, one in zip(masses.split(network.segments.counts, dim=1), features, strict=True):
        share = np.bincount(part.argmax(dim=1).numpy(), minlength=len(one.mass)) / 4_000
        assert np.abs(share - one.mass).max() < 4 * 0.5 / np.sqrt(4_000)  # 4 sigma of a share is at most that


def test_numpy_writes_the_squares_that_torch_writes():
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    from synth_components.generators._torch.layers import arrays
    from synth_components.generators._torch.table_gan import Writer

    random = torch.Generator().manual_seed(0)
    network = Writer(8, 3, 5, random)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
        weights = {f"writer.{name}": held for name, held in arrays(network).items()}
        noise = noise_of(weights, 6, "normal", rng=np.random.default_rng(0))
        wanted = network(torch.from_numpy(noise)).numpy()
    assert np.allclose(written(weights, noise), wanted, atol=1e-5)


@pytest.mark.parametrize("side", [4, 8, 16])
def test_convolutions_of_small_squares_are_those_of_torch(side):
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    from synth_components.generators._torch.table_gan import Convolution, TransposedConvolution

    random = torch.Generator().manual_seed(side)

    def drawn(*shape):
        return torch.randn(shape, generator=random, dtype=torch.float64).requires_grad_()

    state = torch.get_rng_state()
    narrow, wide = Convolution(3, 5, side), TransposedConvolution(5, 3, side)
    assert torch.equal(torch.get_rng_state(), state)
    assert [narrow.taps is None, wide.taps is None] == [side > 8] * 2
    squares, small = drawn(7, 3, side, side), drawn(7, 5, side // 2, side // 2)
    of_narrow, of_wide = {"weight": drawn(5, 3, 4, 4)}, {"weight": drawn(5, 3, 4, 4), "bias": drawn(3)}
    for layer, held, weights, wanted in (
        (narrow, squares, of_narrow, torch.nn.functional.conv2d(squares, **of_narrow, stride=2, padding=1)),
        (wide, small, of_wide, torch.nn.functional.conv_transpose2d(small, **of_wide, stride=2, padding=1)),
    ):
        made = torch.func.functional_call(layer.double(), weights, (held,))
        assert torch.allclose(made, wanted)
        inputs = [held, *weights.values()]
        back = drawn(*made.shape).detach()
        for ours, theirs in zip(
            torch.autograd.grad(made, inputs, back), torch.autograd.grad(wanted, inputs, back), strict=True
        ):
            assert torch.allclose(ours, theirs)


def test_the_losses_of_table_gan_reach_the_networks_that_they_are_of():
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    from synth_components.generators._torch.table_gan import TableNetworks, loss_of

    real = 2 * torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(0)) - 1

    def gradients(**weights):
        network = TableNetworks(16, 4, target=3, channels=2, latent=3, noise="normal", seed=0)
        loss = loss_of(**{"information": 0.0, "classification": 0.0, "delta_mean": 0.0, "delta_sd": 0.0, **weights})
        loss(network, [real], torch.Generator().manual_seed(1)).mean().backward()
        return [
            torch.cat([parameter.grad.reshape(-1) for parameter in part.parameters() if parameter.grad is not None])
            for part in (network.writer, network.discriminator, network.classifier)
        ]

    plain = gradients()
    for weights in ({"information": 1.0}, {"classification": 1.0}):
        writer, *others = gradients(**weights)
        assert not torch.allclose(writer, plain[0]), weights
        assert all(torch.equal(*pair) for pair in zip(others, plain[1:], strict=True)), weights
    lenient = gradients(information=1.0, delta_mean=1e3, delta_sd=1e3)
    assert torch.equal(lenient[0], plain[0])


def test_squares_are_values_and_back():
    features = encode(toy_table(0))
    tokens = tuple(Tokens(grid, np.arange(grid.size)) for grid in grids_of(features, knots=50, min_count=1))
    side = side_of(len(tokens))
    rng = np.random.default_rng(0)
    squares = squares_of(tokens, features.values, side, rng=rng)
    assert squares.shape == (400, 1, side, side)
    assert np.abs(squares).max() <= 1
    ranks = (squares.reshape(400, -1)[:, : len(tokens)].astype(float) + 1) / 2
    again = values_of(tokens, ranks, rng=rng)
    for feature, one in enumerate(tokens):
        held, made = features.values[:, feature], again[:, feature]
        # A float32 near the end of a piece may name the next one: one value in a hundred, and no more.
        assert (np.isnan(held) == np.isnan(made)).mean() > 0.99
        wide = np.nanmax(one.grid.marginal.high - one.grid.marginal.low)
        assert (np.isnan(held) | np.isnan(made) | (np.abs(held - made) <= 1 + 0.01 * wide)).mean() > 0.98


def test_made_values_are_uniform_among_their_own_kind_ties_too():
    rng = np.random.default_rng(0)
    made = np.clip(rng.standard_normal((8_000, 1)), -0.5, 0.5).astype(np.float32)  # many are .5
    ranks = ranks_of(made[4_000:], levels_of(made[:4_000]), rng=rng)[:, 0]
    steps = np.abs(np.sort(ranks) - (np.arange(4_000) + 0.5) / 4_000)
    assert steps.max() < 2 * 1.63 / np.sqrt(4_000) * np.sqrt(2)  # twice Kolmogorov's 1 % bound for two samples


def test_shifted_logits_draw_tokens_as_often_as_they_occur():
    features, _ = tokens_and_rows()
    size = sum(len(one.mass) for one in features)
    logits = np.random.default_rng(0).standard_normal((500, size)).astype(np.float32)
    shifted, start = logits + shifts_of(features, logits), 0
    for one in features:
        share = softmax(shifted[:, start : start + len(one.mass)]).mean(axis=0)
        assert np.allclose(share, one.mass, atol=1e-3)
        start += len(one.mass)


def test_a_target_that_is_no_column_is_refused():
    pytest.importorskip("torch", reason="the extra torch is not installed")
    with pytest.raises(ConfigError, match="no column 'nothing'"):
        fitted(TableGAN(target="nothing"), rows=50)
