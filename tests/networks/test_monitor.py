"""Training under a monitor: its scores are reported, its quality chooses the weights, and it ends the training."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest

import synth_components as synth
from synth_components.errors import StoppedError, UnsupportedError
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
        make("tabular.copula_gan", {"epochs": 6}),
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
