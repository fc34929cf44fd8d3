"""CTGAN by its library: our own code draws what the library would, and its fits are seeded, watched and stopped."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.encode import encode
from synth_components.errors import LimitError, StoppedError, UnsupportedError
from synth_components.generators.tabular._codebook import Codebook
from synth_components.generators.tabular.ctgan import CTGAN, CTGANSampler, _unit, _Watch, is_number, table_of, written
from synth_components.limits import metered
from synth_components.monitor import QualityMonitor
from synth_components.privacy.ledger import Ledger
from synth_components.progress import stage
from synth_components.protocols import Run
from synth_components.testing import _random_states
from synth_components.toy import toy_table

SMALL = {"generator_widths": (16,), "critic_widths": (16,), "latent": 4, "batch_rows": 50, "epochs": 2}
WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "ctgan", "rdt"):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
sys.meta_path.insert(0, Absent())
import synth_components as synth, pandas as pd
model = synth.load(sys.argv[1])
print(pd.util.hash_pandas_object(model.sample(200, seed=5).astype(str)).sum())
"""

with_library = pytest.mark.skipif(find_spec("ctgan") is None, reason="the extra ctgan is not installed")


def fitted(run=None, *, seed=0, rows=200, **options):
    recipe = CTGAN(**{**SMALL, **options})
    return recipe.fit(toy_table(0, rows=rows), rng=np.random.default_rng(seed), ledger=Ledger(), run=run or Run())


@pytest.mark.skipif(find_spec("ctgan") is not None, reason="the extra ctgan is installed")
def test_without_the_library_a_fit_names_its_licence_and_reads_nothing():
    ledger = Ledger()
    with pytest.raises(UnsupportedError, match=r"BUSL-1\.1.*synth-components\[ctgan\]"):
        CTGAN().fit(toy_table(0), rng=np.random.default_rng(0), ledger=ledger, run=Run())
    assert not ledger.entries


@pytest.mark.parametrize(("rows", "pack", "whole"), [(500, 10, 500), (64, 10, 60), (15, 5, 10), (1, 7, 14)])
def test_a_batch_is_an_even_number_of_whole_packs(rows, pack, whole):
    assert CTGAN(batch_rows=rows, pack=pack).whole_batch == whole


@with_library
def test_numpy_writes_what_the_generator_of_the_library_writes():
    import torch
    from ctgan.synthesizers.ctgan import Generator

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Generator(7, (5, 6), 9)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn(parameter.shape))
    seen = np.random.default_rng(0).standard_normal((20, 7), dtype=np.float32)
    with torch.no_grad():
        wanted = network(torch.from_numpy(seen)).numpy()
    assert np.allclose(
        written({name: held.numpy() for name, held in network.state_dict().items()}, seen), wanted, atol=1e-4
    )


@with_library
def test_what_the_transformer_of_the_library_makes_of_rows_falls_back_into_their_codes():
    from ctgan.data_transformer import DataTransformer

    sampler = fitted(rows=400)
    features, rng = encode(toy_table(0)), np.random.default_rng(0)
    codebook = Codebook.of(features, knots=50, min_count=10)
    codes = codebook.codes(features.values, rng=rng)
    table = table_of(codebook.grids, codes, rng=rng)
    transformer = DataTransformer()
    transformer.fit(table, [name for name in table if not name.startswith("number")])
    made = transformer.transform(table)
    values = {}
    for column, info in zip(transformer._column_transform_info_list, transformer.output_info_list, strict=True):
        if len(info) == 1:
            values[column.column_name] = np.array(column.transform.dummies)
            continue
        mixture, kept = column.transform._bgm_transformer, column.transform.valid_component_indicator
        values[column.column_name] = np.stack([mixture.means_.ravel(), np.sqrt(mixture.covariances_).ravel()])[:, kept]
    assert list(values) == list(sampler.values)
    start, logits = 0, made.copy()
    for name, held in values.items():
        if name.startswith("number"):
            logits[:, start] = np.arctanh(made[:, start])
            start += 1
        logits[:, start : start + held.shape[-1]] *= 1e3  # a draw takes the code that is 1
        start += held.shape[-1]
    again = CTGANSampler(codebook, 50, {}, values)._codes(logits, rng=rng)
    for feature, (grid, held) in enumerate(zip(codebook.grids, codes, strict=True)):
        wanted = held
        if is_number(grid):  # a value that was rounded may stand in the next piece
            wanted = grid.marginal.piece_of(table[f"number {feature}"].to_numpy() / _unit(grid))
            wanted = np.where(held == len(grid.marginal.mass), held, wanted)
        # The library clips what lies further than 3.96 deviations from its mode: 1 normal value in 10,000.
        assert (again[:, feature] == wanted).mean() > 0.99


@with_library
def test_a_category_tells_the_number_that_goes_with_it():
    rng = np.random.default_rng(0)
    group = rng.choice(["a", "b"], size=400, p=[0.7, 0.3])
    value = np.where(group == "a", 0.0, 20.0) + rng.standard_normal(400)
    options = {"latent": 4, "epochs": 60, "batch_rows": 50, "pack": 1}
    rates = {"learning_rate": 0.005, "critic_learning_rate": 0.005}
    recipe = CTGAN(generator_widths=(32,), critic_widths=(32,), **options, **rates)
    drawn = synth.fit(pd.DataFrame({"group": group, "value": value}), generator=recipe, seed=0).sample(2_000, seed=1)
    means = drawn.groupby("group")["value"].mean()
    assert means["a"] < 5
    assert means["b"] > 15
    assert abs((drawn["group"] == "a").mean() - 0.7) < 0.1


@with_library
def test_rows_are_drawn_where_there_is_neither_torch_nor_the_library(tmp_path):
    model = synth.fit(toy_table(0, rows=200).table, generator=CTGAN(**SMALL), seed=0)
    model.save(tmp_path / "model")
    command = [sys.executable, "-c", WITHOUT, str(tmp_path / "model")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(pd.util.hash_pandas_object(model.sample(200, seed=5).astype(str)).sum())


@with_library
def test_fits_side_by_side_have_the_bytes_of_fits_alone():
    # 600 rows: from 500 the library transforms columns in processes of their own, unless it is kept from that.
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda seed: fitted(seed=seed, rows=600), (0, 1)))
    for seed, together in enumerate(both):
        alone = fitted(seed=seed, rows=600)
        assert {name: held.tobytes() for name, held in together.weights.items()} == {
            name: held.tobytes() for name, held in alone.weights.items()
        }
    from joblib.externals.loky import reusable_executor

    assert reusable_executor._executor is None


@with_library
def test_epochs_are_reported_with_both_losses():
    told = []
    fitted(Run(report=lambda done, total, /, **metrics: told.append((done, total, sorted(metrics)))))
    losses = ["critic_loss", "generator_loss"]
    assert told == [(1, 2, losses), (2, 2, losses), (2, 2, [])]


@with_library
def test_a_fit_that_is_stopped_within_an_epoch_leaves_the_global_streams_alone():
    before, asked = _random_states(), iter(range(10_000))
    with pytest.raises(StoppedError):
        fitted(Run(should_stop=lambda: next(asked) > 2, report=lambda *_, **__: pytest.fail("an epoch went by")))
    assert _random_states() == before


@with_library
def test_a_limit_of_time_ends_a_fit():
    with pytest.raises(LimitError, match="time passed its limit"), metered(max_seconds=3), stage("train") as report:
        fitted(Run(report=report), epochs=10_000)


class Falling(QualityMonitor):
    """Finds every model worse than the one before."""

    def judge(self, sampler, epoch):
        made = super().judge(sampler, epoch) | {"quality": 1 / epoch}
        self.best, self.best_epoch = 1.0, 1
        return made


def test_the_last_epoch_is_judged_although_none_is_due(monkeypatch):
    monitor, told = QualityMonitor(toy_table(1), every=100), []
    monitor.best = 0.9
    monkeypatch.setattr(monitor, "judge", lambda sampler, epoch: {"quality": epoch / 10})
    monkeypatch.setattr(_Watch, "sampler", lambda watch, model: model)
    run = Run(monitor=monitor, report=lambda done, total, /, **metrics: told.append(metrics.get("quality")))
    watch = _Watch(CTGAN(**SMALL), None, run)
    assert monitor.best < 0  # an earlier fit does not count
    losses = pd.DataFrame({"Generator Loss": [1.0, 1.0], "Discriminator Loss": [1.0, 1.0]})
    for epoch in (1, 2):
        watch.after_epoch("made", losses[:epoch])
    assert (told, watch.best) == ([None, 0.2], (0.2, "made"))


@with_library
def test_a_monitor_ends_a_fit_and_its_best_model_is_kept():
    monitor, told = Falling(toy_table(1), patience=2), []
    run = Run(monitor=monitor, report=lambda done, total, /, **metrics: told.append(metrics))
    sampler, first = fitted(run, epochs=50), fitted(epochs=1)
    assert [metrics["quality"] for metrics in told if "quality" in metrics] == [1, 1 / 2, 1 / 3]
    assert all((sampler.weights[name] == held).all() for name, held in first.weights.items())
