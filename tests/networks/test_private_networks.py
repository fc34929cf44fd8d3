"""Every network that DP-SGD trains: its batches, their noise, what one row changes, and what a fit looks at."""

from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.config import ConfigError
from synth_components.errors import BudgetExceededError, SchemaError, StoppedError
from synth_components.generators import make
from synth_components.privacy.accounting import rho_within, subsampled_gaussian, zero_concentrated
from synth_components.privacy.ledger import ORDERS, Ledger
from synth_components.protocols import Budget, Dataset, Run
from synth_components.schema import TABLE, Categorical, Schema
from synth_components.toy import toy_table

torch = pytest.importorskip("torch", reason="the extra torch is not installed")
pytest.importorskip("opendp", reason="the extra dp is not installed")
device = pytest.importorskip("synth_components.generators._torch.device", exc_type=ModuleNotFoundError)
private = pytest.importorskip("synth_components.generators._torch.private", exc_type=ModuleNotFoundError)

NETWORKS = {
    "tabular.autoregressive": {},
    "tabular.copula_gan": {"hidden": 4, "depth": 1, "latent": 2, "batch_rows": 20},
    "tabular.diffusion": {},
    "tabular.latent_diffusion": {"private_latent": 2},
    "tabular.table_gan": {"channels": 2, "latent": 2, "batch_rows": 20},
    "tabular.transformer": {"heads": 2},
    "tabular.vae": {"private_latent": 2},
}
SMALL = {"private_steps": 3, "private_hidden": 4, "private_bins": 4, "private_sample_rate": 0.2}
BUDGET = Budget(2.0, 1e-5)
CPU = torch.device("cpu")

of_each_network = pytest.mark.parametrize("name", NETWORKS)
TWO = {"tabular.latent_diffusion"}
"""Those whose noisy steps train one network after another."""
of_each_training = pytest.mark.parametrize(
    ("name", "stage"), [(name, stage) for name in NETWORKS for stage in range(1 + (name in TWO))]
)


def fitted(name, data, *, run=None, ledger=None, **options):
    recipe = make(name, {**SMALL, **NETWORKS[name], **options})
    return recipe.fit(
        data,
        rng=np.random.default_rng(0),
        ledger=Ledger(BUDGET) if ledger is None else ledger,
        run=run or Run(),
    )


@cache
def watched(name):
    """Return what a fit on 200 rows did: its trainings' networks, rows and losses; samples, sums, noise, gradients."""
    seen = SimpleNamespace(trainings=[], samples=[], sums=[], noisy=[], gradients=[], ledger=Ledger(BUDGET))
    honest = private.train, private.poisson_sample, private.noisy_sums

    class Watched(private.AdamW):
        def step(self):
            weights = [weight for group in self.param_groups for weight in group["params"]]
            seen.gradients.append(torch.cat([weight.grad.flatten() for weight in weights]).numpy().copy())
            super().step()

    def train(module, rows, loss, schedule, **how):
        seen.trainings.append(SimpleNamespace(module=module, rows=rows, loss=loss, schedule=schedule))
        honest[0](module, rows, loss, schedule, **how)

    def sample(n, *, rate):
        seen.samples.append((n, rate))
        return honest[1](n, rate=rate)

    def noisy(sums, *, scale):
        seen.sums.append(sums)
        seen.noisy.append((honest[2](sums, scale=scale), scale))
        return seen.noisy[-1][0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(private, "AdamW", Watched)
        patch.setattr(private, "train", train)
        patch.setattr(private, "poisson_sample", sample)
        patch.setattr(private, "noisy_sums", noisy)
        seen.sampler = fitted(name, toy_table(0, rows=200), ledger=seen.ledger)
    return seen


@of_each_network
def test_each_step_is_a_poisson_sample_with_the_noise_that_was_charged(name):
    seen = watched(name)
    assert seen.samples == [(200, 0.2)] * 3
    [entry] = seen.ledger.entries
    assert entry.label == f"fit {name}"
    scales = {scale for _, scale in seen.noisy}
    assert len(scales) == 1
    multiplier = scales.pop() / private.UNITS
    sums = subsampled_gaussian(noise_multiplier=multiplier, sample_rate=0.2, steps=3)
    counts = zero_concentrated(0.1 * rho_within(BUDGET))
    np.testing.assert_allclose(entry.rdp, sums(ORDERS) + counts(ORDERS), rtol=1e-12)
    assert 0.99 * BUDGET.epsilon < seen.ledger.epsilon(BUDGET.delta) <= BUDGET.epsilon


@of_each_network
def test_the_gradient_of_a_step_is_the_noisy_sum_over_the_batch_to_be_expected(name):
    seen = watched(name)
    assert len(seen.gradients) == 3
    schedules = [one.schedule for one in seen.trainings for _ in range(one.schedule.steps)]
    for gradient, (noisy, _), schedule in zip(seen.gradients, seen.noisy, schedules, strict=True):
        unit = schedule.clip_norm / private.UNITS / (0.2 * schedule.num_rows)
        np.testing.assert_allclose(gradient, noisy * unit, rtol=1e-6)
    added = np.concatenate([noisy - sums for sums, (noisy, _) in zip(seen.sums, seen.noisy, strict=True)])
    # 6 standard errors of the deviation of as many normals.
    assert added.std() == pytest.approx(seen.noisy[0][1], rel=6 / np.sqrt(2 * len(added)))


def test_both_trainings_of_the_latent_diffusion_take_their_part_of_the_steps():
    first, second = watched("tabular.latent_diffusion").trainings
    assert (first.schedule.steps, second.schedule.steps) == (2, 1)
    assert first.module is not second.module
    weights = dict(watched("tabular.latent_diffusion").sampler.weights)
    assert not weights["latent.mean"].any()  # of no row
    assert (weights["latent.deviation"] == 1).all()


def one_at_a_time(seen, rows, key, *, clip_norm):
    """Return the sum of clipped gradients, a backward pass for each row, in units of ``clip_norm / UNITS``."""
    module, total = seen.module.train(), 0.0
    random = device.row_stream(CPU, *key)
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    for row in range(len(rows[0])):
        batch = [part[row : row + 1] for part in rows]
        random = device.row_stream(CPU, *key)
        random.place = private.places_of(batch, key)
        found = torch.autograd.grad(seen.loss(module, batch, random).sum(), weights, allow_unused=True)
        flat = torch.cat(
            [
                (torch.zeros_like(weight) if part is None else part).flatten()
                for weight, part in zip(weights, found, strict=True)
            ]
        ).double()
        total = total + flat * private.UNITS / max(float(flat.norm()), clip_norm)
    return total.numpy()


@of_each_training
@pytest.mark.parametrize("clip_norm", [1e-2, 1e3])
def test_the_sum_of_clipped_gradients_is_that_of_one_backward_pass_for_each_row(name, stage, clip_norm):
    seen = watched(name).trainings[stage]
    rows = [part[:12] for part in seen.rows]
    clipped = private.ClippedSum(seen.module.train(), seen.loss, clip_norm=clip_norm)
    expected = one_at_a_time(seen, rows, (0, 1), clip_norm=clip_norm)
    assert np.linalg.norm(expected) > (private.UNITS if clip_norm < 1 else 1)  # there is something to compare
    # Each of 12 rows is cut by less than a unit in each weight, and shortened by a part in 1e5.
    np.testing.assert_allclose(clipped.of(rows, (0, 1)), expected, atol=14)


def moves(seen, **how):
    """Return how far each of 12 rows moves the sum, in units: taken alone, and by which the others' sum differs."""
    rows = [part[:12] for part in seen.rows]
    clipped = private.ClippedSum(seen.module.train(), seen.loss, **how)
    whole, made = clipped.of(rows, (0, 2)), []
    for row in range(12):
        others = [torch.cat([part[:row], part[row + 1 :]]) for part in rows]
        alone = clipped.of([part[row : row + 1] for part in rows], (0, 2))
        made.append((np.linalg.norm(alone), np.abs(whole - clipped.of(others, (0, 2)) - alone).max()))
    return np.array(made)


@of_each_training
def test_one_row_more_moves_the_sum_by_its_own_gradient_and_no_further_than_the_bound(name, stage):
    found = moves(watched(name).trainings[stage], clip_norm=1e-2)
    assert (found[:, 0] < private.UNITS).all()
    assert found[:, 0].max() > 0.99 * private.UNITS  # the bound is reached, so that it was needed
    assert (found[:, 1] <= 12).all()  # a unit a row, where the rounding of float32 falls on the other side


@of_each_training
def test_gradients_that_are_not_clipped_would_be_caught(name, stage, monkeypatch):
    def unclipped(gradients, *, clip_norm):
        flat = torch.cat(list(gradients), dim=1) * (private.UNITS / clip_norm)
        return torch.trunc(flat).sum(dim=0).numpy().astype(np.int64)

    monkeypatch.setattr(private, "whole_sum", unclipped)
    assert moves(watched(name).trainings[stage], clip_norm=1e-2)[:, 0].max() > 2 * private.UNITS


@of_each_training
def test_sums_over_the_size_of_the_batch_would_be_caught(name, stage, monkeypatch):
    honest = private.ClippedSum.of
    monkeypatch.setattr(private.ClippedSum, "of", lambda self, rows, key: honest(self, rows, key) // len(rows[0]))
    assert moves(watched(name).trainings[stage], clip_norm=1e-2)[:, 1].max() > 100


class Sealed(Mapping):
    """Tables that nobody may read."""

    def __getitem__(self, name):
        pytest.fail("rows set apart were read")

    def __iter__(self):
        return iter([TABLE])

    def __len__(self):
        return 1


class Monitor:
    """A monitor that nobody may ask."""

    def __getattr__(self, name):
        pytest.fail("the monitor was asked")


@of_each_network
def test_rows_set_apart_monitors_and_folders_for_state_are_not_used(name, tmp_path):
    data, told = toy_table(0, rows=60), []
    run = Run(
        checkpoint=tmp_path,
        holdout=Dataset(Sealed(), data.schema),
        monitor=Monitor(),
        report=lambda done, total, /, **metrics: told.append((done, total, metrics)),
    )
    fitted(name, data, run=run)
    assert not list(tmp_path.iterdir())
    assert told == [(step, 3, {}) for step in range(1, 4)]  # whatever rows there are, and never a loss


@of_each_network
def test_no_table_at_all_is_fitted_like_any_other(name):
    # Whether there is a row must not be told either.
    empty = toy_table(0)
    empty = Dataset({TABLE: empty.table.iloc[:0]}, empty.schema)
    assert len(fitted(name, empty).sample(20, rng=np.random.default_rng(0)).table) == 20


@of_each_network
def test_a_budget_that_pays_for_nothing_and_a_schema_off_the_rows_are_refused_before_reading(name):
    data = toy_table(0)
    ledger = Ledger(Budget(1.0, 0.0))
    with pytest.raises(BudgetExceededError):
        fitted(name, Dataset(Sealed(), data.schema), ledger=ledger)
    unknown = {"a": Categorical(categories=("p",))}
    with pytest.raises(SchemaError, match="mark it public"):
        fitted(name, Dataset(Sealed(), Schema({TABLE: unknown})), ledger=ledger)
    assert not ledger.entries


@of_each_network
def test_a_private_fit_stops_when_asked(name):
    with pytest.raises(StoppedError, match="nothing was saved"):
        fitted(name, toy_table(0, rows=60), run=Run(should_stop=lambda: True))


@pytest.mark.parametrize("option", [{"group": "city"}, {"order_by": "joined"}, {"length": 3}])
def test_sequences_are_refused_before_anything_is_charged(option):
    ledger = Ledger(BUDGET)
    with pytest.raises(BudgetExceededError, match="sequences"):
        fitted("tabular.transformer", Dataset(Sealed(), toy_table(0).schema), ledger=ledger, **option)
    assert not ledger.entries


# That of `tabular.autoregressive` is in test_private.py, with conditions.
@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"tabular.autoregressive"}))
def test_a_budget_that_pays_for_them_teaches_pairs(name):
    a = np.random.default_rng(0).integers(0, 2, size=2_000)
    kind = Categorical(dtype="int64", categories=(0, 1), public=True)

    def agreement():
        model = synth.fit(
            pd.DataFrame({"a": a, "b": a}),
            generator=name,
            epsilon=10.0,
            delta=1e-5,
            schema=Schema({TABLE: {"a": kind, "b": kind}}),
            options={"private_steps": 100, "private_hidden": 8},
        )
        drawn = model.sample(2_000, seed=0)
        return (drawn["a"] == drawn["b"]).mean()

    # Half of them agree where nothing was learnt: .7 is 18 standard errors above.  One fit in 200 of the diffusion
    # learnt less, and one in 12 of the latent diffusion, as no seed fixes their noise and first weights; eight in a row
    # have a chance of about 1e-8.
    assert any(agreement() > 0.7 for _ in range(8))


GANS = ("tabular.copula_gan", "tabular.table_gan")


@pytest.mark.parametrize("name", GANS)
def test_what_writes_rows_is_shown_none(name, monkeypatch):
    # Noisy sums that are nothing: whatever rows there are, the generator comes out the same, and has learnt.
    gan = pytest.importorskip("synth_components.generators._torch.private_gan")
    seen = []
    honest = gan.train_against

    def train_against(module, writer, *rest, **how):
        before = {key: value.clone() for key, value in module.state_dict().items()}
        honest(module, writer, *rest, **how)
        after = module.state_dict()
        seen.append({key: after[key].numpy().tobytes() for key in writer})
        assert any(not torch.equal(before[key], after[key]) for key in writer)

    monkeypatch.setattr(gan, "train_against", train_against)
    monkeypatch.setattr(private, "noisy_sums", lambda sums, *, scale: np.ones_like(sums))
    counts = pytest.importorskip("synth_components.generators.tabular._graphical")
    monkeypatch.setattr(counts, "noisy_counts", lambda cells, **_: np.full_like(cells, 9))
    for rows in (200, 50):
        fitted(name, toy_table(rows, rows=rows), private_critic_steps=1)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("name", GANS)
@pytest.mark.parametrize("every", [1, 2])
def test_the_generator_takes_its_turn_after_so_many_noisy_steps(name, every, monkeypatch):
    gan = pytest.importorskip("synth_components.generators._torch.private_gan")
    told = []

    class Watched(gan.Adam):
        def step(self):
            told.append("generator")
            super().step()

    honest = private.noisy_sums

    def noisy(sums, *, scale):
        told.append("noise")
        return honest(sums, scale=scale)

    monkeypatch.setattr(gan, "Adam", Watched)
    monkeypatch.setattr(private, "noisy_sums", noisy)
    fitted(name, toy_table(0, rows=60), private_critic_steps=every, private_steps=4)
    assert told == (["noise"] * every + ["generator"]) * (4 // every)


@pytest.mark.parametrize("name", GANS)
def test_a_generator_that_would_never_take_a_step_is_refused_before_a_row_is_paid_for(name):
    ledger = Ledger(Budget(1.0, 1e-6))
    recipe = make(name, {"private_critic_steps": 5, "private_steps": 4})
    with pytest.raises(ConfigError, match=r"4 in all.*raise private_steps") as found:
        recipe.fit(toy_table(0, rows=60), rng=np.random.default_rng(0), ledger=ledger, run=Run())
    assert (found.value.option, ledger.entries) == ("private_critic_steps", ())


def test_the_critic_judges_single_rows_whatever_the_pack(monkeypatch):
    gan = pytest.importorskip("synth_components.generators._torch.private_gan")
    seen, honest = [], gan.train_against
    monkeypatch.setattr(
        gan, "train_against", lambda module, *rest, **how: [seen.append(module), honest(module, *rest, **how)]
    )
    fitted("tabular.copula_gan", toy_table(0, rows=60), pack=10, dropout=0.5)
    [network] = seen
    assert network.critic[0].in_features == 2 * sum(network.segments.counts)
    row = [part[:1] for part in watched("tabular.copula_gan").trainings[0].rows]
    lost = [watched("tabular.copula_gan").trainings[0].loss(network, row, device.stream(CPU, 0)) for _ in range(2)]
    assert lost[0].shape == (1,)
    assert torch.equal(*lost)


def test_the_critics_loss_of_a_row_has_the_penalty_of_its_own_interpolate():
    """By formula, where the loss itself takes nested derivatives that the rows' gradients can go through."""
    gan = pytest.importorskip("synth_components.generators._torch.conditional_gan")
    seen = watched("tabular.copula_gan").trainings[0]
    network, row, key = seen.module, [part[:1] for part in seen.rows], (3, 1)

    def again(penalty):
        random = device.row_stream(CPU, *key)
        random.place = private.places_of(row, key)
        return gan.private_loss_of(penalty)(network, row, random)

    random = device.row_stream(CPU, *key)
    random.place = private.places_of(row, key)
    places = network.segments.places(row[0])
    named = int(device.uniform((1, 1), random, CPU) * row[0].shape[1])
    condition = places[:, named]
    with torch.no_grad():
        logits, scores = network.made(condition, random)
        fake = network.seen(network.drawn(logits, random), scores, condition)
    masses = torch.zeros_like(logits).scatter_(1, places, 1.0)
    real = network.seen(masses, row[1], condition)
    share = device.uniform((1, 1), random, CPU)
    between = (share * real + (1 - share) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(network.judged(between, random).sum(), between)
    torch.testing.assert_close(again(0.0), network.judged(fake, random) - network.judged(real, random))
    torch.testing.assert_close(again(10.0) - again(0.0), 10 * (slope.norm(dim=1) - 1) ** 2, rtol=1e-4, atol=1e-5)


def test_a_condition_is_a_rows_own_token_of_a_feature_drawn_evenly():
    gan = pytest.importorskip("synth_components.generators._torch.conditional_gan")
    network = watched("tabular.copula_gan").trainings[0].module
    named = []

    class Told(torch.nn.Module):
        segments, rates, made = network.segments, network.rates, network.made
        drawn, judged = network.drawn, network.judged

        def seen(self, masses, scores, conditions):
            named.append(conditions)
            return network.seen(masses, scores, conditions)

    n, features = 4_000, len(network.segments.counts)
    tokens = torch.zeros(n, features, dtype=torch.int64)
    gan.private_loss_of(1.0)(Told(), [tokens, torch.zeros(n, 0)], device.stream(CPU, 1))
    counts = torch.bincount(named[0], minlength=sum(network.segments.counts))
    several = network.segments._starts[torch.tensor(network.segments.counts) > 1]
    # 6 standard errors: all rows say the same, and still each feature with several tokens is named as often.
    expected = n / len(several)
    assert torch.equal(named[0], named[1])
    assert int(counts.sum()) == int(counts[several].sum()) == n
    assert abs(counts[several] - expected).max() < 6 * expected**0.5


def test_without_the_classification_loss_the_classifier_does_not_learn():
    gan = pytest.importorskip("synth_components.generators._torch.table_gan")
    seen = watched("tabular.table_gan").trainings[0]
    loss = gan.private_loss_of(fitted("tabular.table_gan", toy_table(0)).features, 4, classification=0.0)
    weights = [weight for name, weight in seen.module.named_parameters() if name.startswith("classifier.")]
    for one, is_taught in ((seen.loss, True), (loss, False)):
        lost = one(seen.module, [part[:5] for part in seen.rows], device.stream(CPU, 0)).sum()
        found = torch.autograd.grad(lost, weights, allow_unused=True)
        assert any(part is not None and part.any() for part in found) == is_taught
