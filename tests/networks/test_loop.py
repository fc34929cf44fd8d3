"""The training loop: it learns, stops early, goes on from its checkpoint byte for byte, and stays within its run."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from synth_components.errors import ArtifactError, StoppedError, SynthError, UnsupportedError
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Budget, Run

torch = pytest.importorskip("torch", reason="the extra torch is not installed")
loop = pytest.importorskip("synth_components.generators._torch.loop", exc_type=ModuleNotFoundError)
device = pytest.importorskip("synth_components.generators._torch.device", exc_type=ModuleNotFoundError)

SCHEDULE = loop.Schedule(epochs=4, batch_rows=40, learning_rate=0.05, patience=4, holdout_share=0.25)


class Line(torch.nn.Module):
    """A line with dropout on its input."""

    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(3, 1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()


def squared(module, rows, random):
    x, y = rows
    if module.training:
        x = x * torch.empty_like(x).bernoulli_(0.9, generator=random) / 0.9
    return (module.line(x)[:, 0] - y) ** 2


def points(n=240, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    return torch.from_numpy(x), torch.from_numpy(x @ np.array([1.0, -2.0, 0.5], dtype=np.float32))


def trained(module, *, run=None, schedule=SCHEDULE, seed=0, rows=None, recipe="{}", ledger=None, loss=squared, **more):
    return loop.train(
        module,
        points() if rows is None else rows,
        loss,
        schedule,
        seed=seed,
        recipe=recipe,
        run=run or Run(),
        ledger=ledger or Ledger(),
        **more,
    )


def weights(module):
    return b"".join(value.numpy().tobytes() for value in module.state_dict().values())


class StopsAfter:
    """Asks a fit to stop when it has asked ``steps`` times whether it shall."""

    def __init__(self, steps):
        self.left = steps

    def __call__(self):
        self.left -= 1
        return self.left < 0


def test_it_learns_and_reports_every_epoch_with_losses():
    seen = []
    told = trained(
        line := Line(), run=Run(report=lambda done, total, /, **metrics: seen.append((done, total, metrics)))
    )
    losses = [metrics["holdout_loss"] for _, _, metrics in seen if metrics]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.7 * losses[0]
    assert told == loop.Trained(4, 4, losses[-1])
    # 240 rows, a quarter set apart: 180 rows are 4 batches of 40.
    assert [(done, total) for done, total, metrics in seen if metrics] == [(4, 16), (8, 16), (12, 16), (16, 16)]
    assert seen[-1][:2] == (16, 16)
    assert not line.line.weight.is_cuda


def test_rows_of_a_unit_are_set_apart_together():
    rows, learned, judged = points(), set(), set()
    units = np.arange(240) % 12

    def watching(module, batch, random):
        (learned if module.training else judged).update(batch[2].tolist())
        return squared(module, batch[:2], random)

    told = trained(Line(), rows=[*rows, torch.from_numpy(units)], loss=watching, units=units)
    assert told.holdout_loss is not None
    assert len(judged) == 3  # a quarter of twelve
    assert learned == set(range(12)) - judged


def test_without_units_large_and_small_enough_no_row_is_set_apart():
    assert trained(Line(), units=np.arange(240) // 120).holdout_loss is None


@pytest.mark.parametrize("has_chances", [False, True])
def test_of_a_large_unit_the_same_few_rows_are_read_in_every_epoch_and_stage(has_chances):
    rows, units = points(), np.append(np.full(130, 11), np.arange(110) % 11)  # of eleven others, ten rows each
    chances = torch.linspace(1, 2, 240) if has_chances else None
    read = []
    for seed in (0, 1):  # stages have seeds of their own
        seen = [set(), set()]

        def watching(module, batch, random, seen=seen):
            seen[module.training].update(batch[2].tolist())
            return squared(module, batch[:2], random)

        trained(
            Line(),
            seed=seed,
            schedule=replace(SCHEDULE, epochs=40, patience=40, holdout_share=0.5),
            rows=[*rows, torch.arange(240)],
            loss=watching,
            units=units,
            chances=chances,
            least_units=3,
        )
        assert not seen[False] & seen[True]
        assert len(seen[False]) >= 50
        read.append(seen[False] | seen[True])
    assert read[0] == read[1] == set(range(12, 130, 13)) | set(range(130, 240))


def test_units_none_of_which_is_the_largest_leave_every_byte():
    made = []
    for least in (1, 12):
        trained(line := Line(), units=np.arange(240) % 12, least_units=least)
        made.append(weights(line))
    assert made[0] == made[1]


def test_equal_seeds_give_equal_bytes_and_others_do_not():
    made = []
    for seed in (0, 0, 1):
        trained(line := Line(), seed=seed)
        made.append(weights(line))
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize("steps", [1, 3, 4, 6, 15])
def test_a_stopped_fit_goes_on_to_the_very_bytes_of_an_unbroken_one(tmp_path, steps):
    trained(whole := Line())

    with pytest.raises(StoppedError, match=f"at step {steps} of 16"):
        trained(Line(), run=Run(checkpoint=tmp_path, should_stop=StopsAfter(steps)))
    trained(resumed := Line(), run=Run(checkpoint=tmp_path))

    assert weights(resumed) == weights(whole)


AVERAGED = replace(SCHEDULE, ema=0.8)


def test_the_average_of_the_weights_is_left():
    """Against the definition: after step t the average keeps min(ema, (1 + t) / (10 + t)) of itself."""
    seen = []

    def watching(module, rows, random):
        seen.append({name: value.clone() for name, value in module.state_dict().items()})
        return squared(module, rows, random)

    schedule = replace(SCHEDULE, holdout_share=0.0)
    trained(last := Line(), schedule=schedule, loss=watching)
    trained(averaged := Line(), schedule=replace(schedule, ema=0.5))
    expected, *made = [*seen, last.state_dict()]
    for step, own in enumerate(made, start=1):
        keep = min(0.5, (1 + step) / (10 + step))  # .5 from the eighth of 24 steps on
        expected = {name: keep * expected[name] + (1 - keep) * own[name] for name in own}
    for name, value in averaged.state_dict().items():
        assert torch.allclose(value, expected[name], atol=1e-6)
        assert not torch.allclose(value, last.state_dict()[name], atol=1e-6)


def test_the_average_of_the_weights_is_judged():
    held_out = points(seed=1)
    told = trained(line := Line(), schedule=AVERAGED, held_out=held_out)
    with torch.no_grad():
        assert told.holdout_loss == pytest.approx(float(squared(line.eval(), held_out, None).mean()), rel=1e-5)


@pytest.mark.parametrize("steps", [1, 4, 6])
def test_the_average_goes_on_to_the_very_bytes_of_an_unbroken_one(tmp_path, steps):
    trained(whole := Line(), schedule=AVERAGED)
    with pytest.raises(StoppedError):
        trained(Line(), schedule=AVERAGED, run=Run(checkpoint=tmp_path, should_stop=StopsAfter(steps)))
    trained(resumed := Line(), schedule=AVERAGED, run=Run(checkpoint=tmp_path))
    trained(plain := Line())

    assert weights(resumed) == weights(whole) != weights(plain)


def test_a_fit_that_died_goes_on_from_its_last_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    trained(whole := Line())

    def dies(done, total, /, **metrics):
        if done == 12:
            raise KeyError

    with pytest.raises(KeyError):
        trained(Line(), run=Run(checkpoint=tmp_path, report=dies))
    steps = []
    trained(
        resumed := Line(), run=Run(checkpoint=tmp_path, report=lambda done, total, /, **metrics: steps.append(done))
    )

    assert weights(resumed) == weights(whole)
    assert min(steps) > 8  # the first two epochs were not made again


def test_a_fit_that_ended_early_is_over_when_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    schedule = loop.Schedule(epochs=50, batch_rows=40, learning_rate=1.0, patience=1, holdout_share=0.25)
    told = trained(first := Line(), schedule=schedule, run=Run(checkpoint=tmp_path))
    again = trained(second := Line(), schedule=schedule, run=Run(checkpoint=tmp_path))
    assert told == again
    assert told.epochs < 50
    assert weights(first) == weights(second)


def test_a_fit_stopped_before_its_first_step_leaves_nothing(tmp_path):
    with pytest.raises(StoppedError):
        trained(Line(), run=Run(checkpoint=tmp_path / "state", should_stop=lambda: True))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"recipe": '{"epochs": 5}'}, {"rows": points(seed=1)}, {"rows": points(n=200)}],
    ids=["seed", "recipe", "rows", "fewer rows"],
)
def test_the_state_of_another_fit_is_refused(tmp_path, other):
    with pytest.raises(StoppedError):
        trained(Line(), run=Run(checkpoint=tmp_path, should_stop=StopsAfter(2)))
    with pytest.raises(ArtifactError, match="of another fit"):
        trained(Line(), run=Run(checkpoint=tmp_path), **other)


def test_the_best_weights_on_the_rows_set_apart_are_kept():
    judged, kept = [], []
    # A learning rate of 3 jumps about the minimum.
    schedule = loop.Schedule(epochs=6, batch_rows=40, learning_rate=3.0, patience=2, holdout_share=0.25, clip_norm=1e9)
    line = Line()

    def report(done, total, /, **metrics):
        if metrics:
            judged.append(metrics["holdout_loss"])
            kept.append(weights(line))

    told = trained(line, schedule=schedule, run=Run(report=report))
    assert told.best_epoch == 1 + int(np.argmin(judged))
    assert told.holdout_loss == min(judged)
    assert weights(line) == kept[told.best_epoch - 1]
    assert told.epochs == min(6, told.best_epoch + 2)


class Runner(torch.nn.Module):
    """One number, which every step lowers by the learning rate."""

    def __init__(self):
        super().__init__()
        self.place = torch.nn.Parameter(torch.zeros(()))


def past(target, noise):
    """Return the loss that falls for ever on the rows to learn, and rises behind ``target`` on those set apart.

    Of these each one's also moves with the place, by ``noise`` up or down.
    """

    def loss(module, rows, random):
        if module.training:
            return module.place.expand(len(rows[0]))
        return (module.place - target).square() + noise * module.place * rows[0][:, 0].sign()

    return loss


RUN_PAST = replace(SCHEDULE, epochs=10, patience=10, learning_rate=0.05, weight_decay=0.0)
HALVES = (torch.cat([torch.ones(50, 3), -torch.ones(50, 3)]), torch.zeros(100))


def ran_past(noise, *, schedule=RUN_PAST, **more):
    """Return how a training went that is best at about half of its way, and where it ended."""
    module = Runner()
    told = trained(module, schedule=schedule, loss=past(-0.7, noise), held_out=HALVES, **more)
    return told, float(module.place.detach())


def test_the_last_weights_are_left_where_the_best_lose_less_by_no_more_than_the_error():
    clear, place = ran_past(0.0)
    assert 3 <= clear.best_epoch <= 7
    assert place == pytest.approx(-0.7, abs=0.15)
    last, end = ran_past(100.0)
    assert (last.epochs, last.best_epoch) == (10, 10)
    assert end < -1.2
    assert last.holdout_loss == pytest.approx((end + 0.7) ** 2, rel=1e-4)
    # The mean of the difference is w, its deviation over the 100 rows noise times how far the weights are apart.
    worse, apart = (end + 0.7) ** 2 - (place + 0.7) ** 2, place - end
    at_two = worse / (2 * apart / 10)
    assert ran_past(0.9 * at_two)[0].best_epoch == clear.best_epoch
    assert ran_past(1.1 * at_two)[0].best_epoch == 10


@pytest.mark.parametrize(("patience", "epochs", "kept"), [(1, 4, False), (5, 8, False), (6, 9, True)])
def test_an_early_end_leaves_the_last_weights_only_where_the_steps_are_small(patience, epochs, kept):
    # The loss is least after the third epoch; the step size is below a tenth from the ninth on.
    told, _ = ran_past(100.0, schedule=replace(RUN_PAST, patience=patience))
    assert told.epochs == epochs
    assert told.best_epoch == (epochs if kept else epochs - patience)


@pytest.mark.parametrize("steps", [5, 30, 59])
def test_a_stopped_fit_goes_on_to_the_last_weights_of_an_unbroken_one(tmp_path, steps):
    whole = ran_past(100.0)
    with pytest.raises(StoppedError):
        ran_past(100.0, run=Run(checkpoint=tmp_path, should_stop=StopsAfter(steps)))
    assert ran_past(100.0, run=Run(checkpoint=tmp_path)) == whole


def test_a_finished_fit_that_is_called_again_leaves_the_last_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    whole = ran_past(100.0, run=Run(checkpoint=tmp_path))
    assert whole[0].best_epoch == 10
    assert ran_past(100.0, run=Run(checkpoint=tmp_path)) == whole


def test_under_a_budget_no_row_is_set_apart():
    seen = []

    def spy(module, rows, random):
        assert module.training, "a loss was taken of rows set apart"
        seen.append(len(rows[0]))
        return squared(module, rows, random)

    told = trained(Line(), ledger=Ledger(Budget(1.0, 1e-5)), loss=spy)
    assert told.holdout_loss is None
    assert sum(seen) == 4 * 240  # every row in every epoch
    with pytest.raises(UnsupportedError, match="budget"):
        trained(Line(), ledger=Ledger(Budget(1.0, 1e-5)), held_out=points(50))


def test_rows_of_the_caller_judge_instead_of_a_share():
    told = trained(Line(), held_out=(torch.zeros(60, 3), torch.full((60,), 7.0)))
    assert told.holdout_loss == pytest.approx(49, rel=0.2)  # a line through nothing near 7


def test_a_gradient_is_no_longer_than_clip_norm():
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    norms = []

    def note(optimizer, args, kwargs):
        gradients = [p.grad.flatten() for group in optimizer.param_groups for p in group["params"]]
        norms.append(float(torch.cat(gradients).norm()))

    hook = register_optimizer_step_pre_hook(note)
    try:
        trained(Line(), schedule=loop.Schedule(epochs=1, batch_rows=40, learning_rate=1e-3, clip_norm=0.01))
    finally:
        hook.remove()
    assert norms
    assert max(norms) <= 0.01 * (1 + 1e-4)


def test_a_loss_that_is_no_number_is_an_error_that_says_what_to_do():
    def broken(module, rows, random):
        return squared(module, rows, random) * float("nan")

    with pytest.raises(SynthError, match="lower the option learning_rate"):
        trained(Line(), loss=broken)


def test_no_global_random_state_moves():
    line = Line()  # torch's own layers draw their first weights from the global stream
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002 - the state under watch
    trained(line)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "meta"])
def test_a_device_that_is_not_there_is_refused_by_name(name):
    with pytest.raises(UnsupportedError, match=f"device '{name}'"):
        trained(Line(), run=Run(device=name))


def test_processes_that_nothing_connects_are_refused():
    with pytest.raises(UnsupportedError, match="torchrun"):
        trained(Line(), run=Run(world_size=2))


def test_the_number_of_threads_is_that_of_the_environment_and_is_put_back(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before, seen = torch.get_num_threads(), []

    def spy(module, rows, random):
        seen.append(torch.get_num_threads())
        return squared(module, rows, random)

    trained(Line(), loss=spy)
    assert set(seen) == {1}
    assert torch.get_num_threads() == before


def test_products_are_rounded_within_the_block_where_the_processor_has_tiles(monkeypatch):
    products = getattr(torch.backends.mkldnn, "matmul", None)
    if products is None:
        pytest.skip("this torch cannot round the factors of products on a processor")
    before = products.fp32_precision
    for has_tiles in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has_tiles: {"amx_bf16": has})
        with device.quick(torch.device("cpu")):
            assert products.fp32_precision == ("bf16" if has_tiles else before)
        assert products.fp32_precision == before
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    with device.quick(torch.device("cuda")):
        assert products.fp32_precision == before
    with pytest.raises(ValueError, match="within"), device.quick(torch.device("cpu")):
        raise ValueError("within")
    assert products.fp32_precision == before


@pytest.mark.slow  # it imports torch anew
def test_after_loading_the_training_of_a_network_imports_nothing():
    code = """
import sys
import numpy as np
from synth_components.generators import make
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Run
from synth_components.selection.loading import load
from synth_components.toy import toy_table

load(["tabular.autoregressive", "tabular.vae"])
before = set(sys.modules)
for name in ("tabular.autoregressive", "tabular.vae"):
    make(name, {"epochs": 1}).fit(toy_table(rows=100), rng=np.random.default_rng(0), ledger=Ledger(), run=Run())
print(*sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
