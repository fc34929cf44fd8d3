"""Training under a monitor: its scores are reported, its quality chooses the weights, and it ends the training."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest

import synth_components as synth
from synth_components.errors import ArtifactError, StoppedError, UnsupportedError
from synth_components.generators import make
from synth_components.generators.tabular.autoregressive import Autoregressive
from synth_components.generators.tabular.diffusion import Diffusion
from synth_components.generators.tabular.latent_diffusion import LatentDiffusion
from synth_components.generators.tabular.vae import VAE
from synth_components.monitor import SCORES, QualityMonitor
from synth_components.privacy.ledger import Ledger
from synth_components.progress import JsonLines, watching
from synth_components.protocols import Budget, Run
from synth_components.steps.train import TrainConfig, train
from synth_components.toy import toy_table

torch = pytest.importorskip("torch", reason="the extra torch is not installed")
loop = pytest.importorskip("synth_components.generators._torch.loop", exc_type=ModuleNotFoundError)

SMALL = {"hidden": 16, "epochs": 6, "batch_rows": 64, "learning_rate": 0.02}


def fitted(recipe, monitor):
    told = []
    run = Run(monitor=monitor, report=lambda done, total, /, **metrics: told.append(metrics))
    sampler = recipe.fit(toy_table(0), rng=np.random.default_rng(0), ledger=Ledger(), run=run)
    return sampler, told


@pytest.mark.parametrize(
    "recipe",
    [
        Autoregressive(**SMALL),
        Diffusion(depth=1, steps=12, **SMALL),
        LatentDiffusion(depth=1, latent=4, autoencoder_epochs=2, denoiser_hidden=16, denoiser_depth=1, **SMALL),
        VAE(**SMALL),
        make("tabular.copula_gan", {"epochs": 6, "batch_rows": 64}),
        make("tabular.table_gan", {"epochs": 6}),
        make("tabular.transformer", {"epochs": 6}),
    ],
    ids=["autoregressive", "diffusion", "latent_diffusion", "vae", "copula_gan", "table_gan", "transformer"],
)
def test_scores_are_reported_and_the_best_weights_kept(recipe):
    monitor = QualityMonitor(toy_table(1), every=2)
    sampler, told = fitted(recipe, monitor)
    judged = [metrics["quality"] for metrics in told if "quality" in metrics]
    assert len(judged) == 3
    again = QualityMonitor(toy_table(1)).judge(sampler, 1)
    assert again["quality"] == max(judged) == monitor.best


class Falling(QualityMonitor):
    """Finds every model worse than the one before."""

    def judge(self, sampler, epoch):
        made = super().judge(sampler, epoch) | {"quality": 1 / epoch}
        self.best, self.best_epoch = 1.0, 1
        return made


def test_training_ends_by_quality_although_the_loss_still_falls():
    _, told = fitted(Autoregressive(**SMALL), Falling(toy_table(1), patience=2))
    assert sum("quality" in metrics for metrics in told) == 3


class Scripted(QualityMonitor):
    """Finds the models of some epochs better than others."""

    def __post_init__(self):
        super().__post_init__()
        self.heard, self.script = [], {1: 0.6, 2: 0.9, 5: 0.8}

    def judge(self, sampler, epoch):
        self.heard.append(epoch)
        quality = self.script.get(epoch, 0.5)
        if quality > self.best:
            self.best, self.best_epoch = quality, epoch
        return {"quality": quality}


def trained(losses, monitor, *, patience=9):
    """Train in vain, with held-out losses by epoch; return how it went, and which epochs were judged."""
    module, told = torch.nn.Linear(1, 1), []

    def loss(module, rows, random):
        if module.training:
            return module(rows[0])[:, 0] * 0
        return torch.full((len(rows[0]),), losses[len(told)])

    class Counting:
        """A sampler that nothing is drawn from."""

    run = Run(monitor=monitor, report=lambda done, total, /, **metrics: told.append(metrics) if metrics else None)
    made = loop.train(
        module,
        (torch.zeros(8, 1),),
        loss,
        loop.Schedule(epochs=len(losses), batch_rows=8, learning_rate=0.1, patience=patience),
        seed=0,
        recipe="{}",
        run=run,
        ledger=Ledger(),
        held_out=(torch.zeros(4, 1),),
        sampler=None if monitor is None else Counting,
    )
    return made, ["quality" in metrics for metrics in told]


def test_the_last_epoch_is_judged_although_none_is_due():
    """Epoch 3 is judged, and with it epoch 2, which the held-out loss finds best; then epoch 5, the last one."""
    monitor = Scripted(toy_table(1), every=3)
    made, told = trained([3.0, 1.0, 2.0, 2.0, 2.0], monitor)
    assert (made.best_epoch, monitor.heard, told) == (2, [2, 3, 5], [False, False, True, False, True])
    made, _ = trained([3.0, 2.5, 2.0, 2.0, 2.0], Scripted(toy_table(1), every=3))
    assert made.best_epoch == 5  # 3 is found worse


def test_the_held_out_loss_ends_a_training_that_nobody_has_judged():
    losses = [3.0, 2.0, 2.5, 2.5, 2.5, 2.5]
    alone, _ = trained(losses, None, patience=2)
    made, told = trained(losses, monitor := Scripted(toy_table(1), every=100), patience=2)
    assert (made.epochs, made.best_epoch) == (alone.epochs, alone.best_epoch) == (4, 2)
    assert (monitor.heard, told) == ([2, 4], [False, False, False, True])
    made, _ = trained(losses, Scripted(toy_table(1)), patience=2)
    assert made.epochs == 6  # once it has judged, it alone says when to end


def test_under_a_monitor_settled_weights_do_not_take_the_place_of_those_the_loss_finds_best():
    """Its quality decides between them; the loss alone, which tells no weights apart at the end, takes the last."""
    losses = [3.0, 1.0, *6 * [2.0]]
    made, _ = trained(losses, monitor := Scripted(toy_table(1), every=100))
    assert (made.best_epoch, monitor.heard) == (2, [2, 8])
    assert trained(losses, None)[0].best_epoch == 8


def test_a_monitor_that_served_a_fit_serves_another_one_alike():
    """The first fit is found better than the second one ever is, which gets better until its end all the same."""
    monitor = Scripted(toy_table(1), patience=2)
    assert trained([1.0] * 6, monitor)[0].epochs == 4
    monitor.script = {epoch: epoch / 10 for epoch in range(1, 7)}
    made, _ = trained([1.0] * 6, monitor)
    assert (made.epochs, made.best_epoch, monitor.best) == (6, 6, 0.6)


def test_a_stopped_fit_goes_on_to_the_same_end_under_a_monitor(tmp_path):
    """The best quality of the first part counts in the second: training ends at the same epoch, with its weights."""
    asked, data = iter(range(1_000)), toy_table(0)

    def fitted(run):
        told = []
        run = replace(run, report=lambda done, total, /, **metrics: told.append(metrics))
        sampler = recipe.fit(data, rng=np.random.default_rng(0), ledger=Ledger(), run=run)
        return sampler, [metrics["quality"] for metrics in told if "quality" in metrics]

    class Rising(QualityMonitor):
        """Finds the third model the best one."""

        def judge(self, sampler, epoch):
            quality = 1.0 if epoch == 3 else 0.5
            if quality > self.best:
                self.best, self.best_epoch = quality, epoch
            return {"quality": quality}

    recipe = Autoregressive(**SMALL)
    steps = 6  # of an epoch, 400 rows in batches of 64; each asks once
    with pytest.raises(StoppedError):
        fitted(
            Run(
                checkpoint=tmp_path,
                monitor=Rising(toy_table(1), patience=2),
                should_stop=lambda: next(asked) > 3 * steps,
            )
        )
    resumed, later = fitted(Run(checkpoint=tmp_path, monitor=Rising(toy_table(1), patience=2)))
    whole, judged = fitted(Run(monitor=Rising(toy_table(1), patience=2)))
    assert judged == [0.5, 0.5, 1.0, 0.5, 0.5]  # the sixth epoch is not made
    assert judged[-len(later) :] == later
    assert len(later) < len(judged)
    assert {key: held.tobytes() for key, held in resumed.weights.items()} == {
        key: held.tobytes() for key, held in whole.weights.items()
    }


@pytest.mark.parametrize(
    "other",
    [
        None,
        QualityMonitor(toy_table(2)),
        QualityMonitor(toy_table(1), every=2),
        QualityMonitor(toy_table(1), patience=2),
        QualityMonitor(toy_table(1), max_rows=100),
        QualityMonitor(toy_table(1), seed=1),
        Falling(toy_table(1)),
    ],
    ids=["none", "rows", "every", "patience", "max_rows", "seed", "class"],
)
def test_a_fit_does_not_go_on_under_a_monitor_whose_qualities_are_others(tmp_path, other):
    asked = iter(range(1_000))
    begun = Run(checkpoint=tmp_path, monitor=QualityMonitor(toy_table(1)), should_stop=lambda: next(asked) > 7)
    recipe, data = Autoregressive(**SMALL), toy_table(0)
    with pytest.raises(StoppedError, match="go on"):
        recipe.fit(data, rng=np.random.default_rng(0), ledger=Ledger(), run=begun)
    with pytest.raises(ArtifactError, match=r"of another fit: .* monitor"):
        recipe.fit(data, rng=np.random.default_rng(0), ledger=Ledger(), run=Run(checkpoint=tmp_path, monitor=other))
    alike = QualityMonitor(toy_table(1), alert_below=0.5, alert=lambda epoch, scores: None)  # alerts decide nothing
    recipe.fit(data, rng=np.random.default_rng(0), ledger=Ledger(), run=Run(checkpoint=tmp_path, monitor=alike))


def test_the_step_sets_rows_apart_and_tells_quality(tmp_path):
    """120 of 600 rows are not learned from; every judgement is a line, however short ago the last one was."""
    toy_table(0, rows=600).table.to_parquet(tmp_path / "rows.parquet")
    log = io.StringIO()
    options = TrainConfig(
        generator="tabular.autoregressive",
        generator_options=SMALL | {"epochs": 3},
        monitor_every=1,
        monitor_share=0.2,
    )
    with watching([JsonLines(log)]):
        train(options, data=tmp_path / "rows.parquet", model=tmp_path / "model")
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [set(SCORES) <= set(line) for line in lines if line["done"] and "loss" in line] == [True] * 3
    assert synth.load(tmp_path / "model").manifest.rows == 480


def test_a_budget_refuses_a_monitor():
    module = torch.nn.Linear(1, 1)
    schedule = loop.Schedule(epochs=1, batch_rows=4, learning_rate=0.1)
    with pytest.raises(UnsupportedError, match="a monitor reads held-out rows"):
        loop.train(
            module,
            (torch.zeros(8, 1),),
            lambda module, rows, random: module(rows[0])[:, 0],
            schedule,
            seed=0,
            recipe="{}",
            run=Run(monitor=QualityMonitor(toy_table(1))),
            ledger=Ledger(Budget(1.0, 1e-6)),
        )
