"""DP-SGD: gradients of single rows, clipped and whole; the budget that is charged; and what a fit looks at."""

import math

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.errors import BudgetExceededError, SchemaError, StoppedError, UnsupportedError
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Budget, Dataset, Run
from synth_components.schema import TABLE, Categorical, Numeric, Schema, Unit
from synth_components.toy import toy_table

torch = pytest.importorskip("torch", reason="the extra torch is not installed")
pytest.importorskip("opendp", reason="the extra dp is not installed")
device = pytest.importorskip("synth_components.generators._torch.device", exc_type=ModuleNotFoundError)
private = pytest.importorskip("synth_components.generators._torch.private", exc_type=ModuleNotFoundError)
autoregressive = pytest.importorskip("synth_components.generators.tabular.autoregressive")

SMALL = {"private_steps": 5, "private_hidden": 4, "private_bins": 4}


class Layers(torch.nn.Module):
    """One layer of every kind that generators are made of."""

    def __init__(self, layer, width):
        super().__init__()
        self.layer, self.head = layer, torch.nn.Linear(width, 1)

    def forward(self, x):
        return self.head(self.layer(x).flatten(1))[:, 0]


LAYERS = {
    "linear": (torch.nn.Linear(4, 3), 3, (4,)),
    "conv": (torch.nn.Conv1d(2, 3, 2), 9, (2, 4)),
    "layer norm": (torch.nn.LayerNorm(4), 4, (4,)),
    "group norm": (torch.nn.GroupNorm(2, 4), 12, (4, 3)),
    "prelu": (torch.nn.PReLU(), 4, (4,)),
    "attention": (torch.nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True), 12, (3, 4)),
    "transposed conv": (torch.nn.ConvTranspose1d(2, 3, 2), 15, (2, 4)),
}


def squared(module, rows, random):
    return module(rows[0]) ** 2


def one_at_a_time(module, rows, *, clip_norm):
    """Return the sum of clipped gradients, a backward pass for each row, in units of the clipping norm."""
    total = 0.0
    for row in rows:
        module.zero_grad()
        squared(module, [row[None]], None).sum().backward()
        flat = torch.cat([weight.grad.flatten() for weight in module.parameters()]).double()
        total = total + flat / max(1.0, float(flat.norm()) / clip_norm) / clip_norm
    module.zero_grad()
    return total.numpy()


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("clip_norm", [1e-3, 1e3])
def test_the_sum_of_clipped_gradients_is_that_of_one_backward_pass_for_each_row(name, clip_norm):
    torch.manual_seed(0)
    layer, width, shape = LAYERS[name]
    module = Layers(layer, width)
    rows = torch.randn(7, *shape)
    found = private.ClippedSum(module, squared, clip_norm=clip_norm).of([rows], (0,)) / private.UNITS
    # Each of 7 rows is cut by less than a unit in each weight, and shortened by a part in 1e5.
    np.testing.assert_allclose(found, one_at_a_time(module, rows, clip_norm=clip_norm), atol=8 / private.UNITS)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4, 1e30])
def test_no_row_moves_the_sum_by_more_than_the_bound(scale):
    torch.manual_seed(0)
    for _ in range(20):
        parts = [torch.randn(1, 30) * scale, torch.randn(1, 5) * scale]
        assert np.square(private.whole_sum(parts, clip_norm=0.7)).sum() <= private.UNITS**2


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_no_number_counts_nothing(broken):
    parts = [torch.tensor([[1.0, broken], [0.5, 0.5]])]
    alone = private.whole_sum([parts[0][1:]], clip_norm=1.0)
    np.testing.assert_array_equal(private.whole_sum(parts, clip_norm=1.0), alone)


def test_the_largest_chunk_is_summed_exactly():
    assert private.CHUNK_ROWS * private.UNITS <= 2**24
    rows = torch.zeros(private.CHUNK_ROWS, 2)
    rows[:, 0] = 1e9
    expected = private.CHUNK_ROWS * math.floor(private._WITHIN * private.UNITS)
    assert private.whole_sum([rows], clip_norm=1.0).tolist() == [expected, 0]


def noisy_loss(module, rows, random):
    noise = device.normal(rows[0].shape, random, rows[0].device) + device.uniform(rows[0].shape, random, "cpu")
    return module(rows[0] * noise * torch.randn(rows[0].shape, generator=random)) ** 2


def test_a_row_adds_the_same_whatever_rows_are_beside_it(monkeypatch):
    # Random numbers in the loss, chunks of 3 rows, a row in front of all others: every row keeps its own gradient, to
    # the rounding of float32 before it is cut, 1 unit a row.
    monkeypatch.setattr(private, "CHUNK_ROWS", 3)
    torch.manual_seed(0)
    clipped = private.ClippedSum(
        torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Flatten(0)), noisy_loss, clip_norm=1.0
    )
    rows = torch.randn(60, 4)
    alone = sum(clipped.of([row[None]], (5, 1)) for row in rows)
    np.testing.assert_allclose(clipped.of([rows], (5, 1)), alone, atol=60)
    np.testing.assert_allclose(clipped.of([rows[1:]], (5, 1)) + clipped.of([rows[:1]], (5, 1)), alone, atol=60)
    assert np.abs(clipped.of([rows], (5, 2)) - alone).max() > 1_000  # the next step draws anew


def test_random_numbers_that_go_on_from_chunk_to_chunk_would_be_caught(monkeypatch):
    monkeypatch.setattr(private, "CHUNK_ROWS", 3)
    going_on = device.row_stream(torch.device("cpu"), 0)
    monkeypatch.setattr(private, "row_stream", lambda device, *key: going_on)
    torch.manual_seed(0)
    clipped = private.ClippedSum(
        torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Flatten(0)), noisy_loss, clip_norm=1.0
    )
    rows = torch.randn(60, 4)
    alone = sum(clipped.of([row[None]], (5, 1)) for row in rows)
    assert np.abs(clipped.of([rows], (5, 1)) - alone).max() > 1_000


def test_a_place_that_rows_beside_a_row_decide_would_be_caught(monkeypatch):
    monkeypatch.setattr(private, "places_of", lambda rows, key: torch.arange(len(rows[0])))
    torch.manual_seed(0)
    clipped = private.ClippedSum(
        torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Flatten(0)), noisy_loss, clip_norm=1.0
    )
    rows = torch.randn(60, 4)
    alone = sum(clipped.of([row[None]], (5, 1)) for row in rows)
    assert np.abs(clipped.of([rows], (5, 1)) - alone).max() > 1_000


def test_rows_are_spread_over_the_places_by_what_they_say():
    rows = [torch.arange(8 * device.PLACES)[:, None], torch.randn(8 * device.PLACES, 1)]
    place = private.places_of(rows, (1, 2))
    counts = np.bincount(place.numpy(), minlength=device.PLACES)
    assert abs(counts.var() / 8 - 1) < 6 * math.sqrt(2 / device.PLACES)  # as Poisson counts scatter
    order = torch.randperm(len(place))
    assert (private.places_of([part[order] for part in rows], (1, 2)) == place[order]).all()
    assert (private.places_of(rows, (1, 3)) != place).any()


def test_rows_read_random_numbers_at_places_of_their_own():
    random = device.row_stream(torch.device("cpu"), 3)
    random.place = torch.tensor([0, 5, 0])
    for draw in (device.normal, device.uniform):
        held = draw((3, 2), random, torch.device("cpu"))
        assert torch.equal(held[0], held[2]), draw
        assert not torch.equal(held[0], held[1]), draw
    plain = device.stream(torch.device("cpu"), 3)
    assert len(set(device.normal((3,), plain, torch.device("cpu")).tolist())) == 3


def test_a_layer_that_mixes_rows_is_refused():
    module = Layers(torch.nn.BatchNorm1d(4), 4)
    schedule = private.PrivateSchedule(1, 0.5, 1.0, 1.0, 10, 0.01)
    with pytest.raises(UnsupportedError, match="mixes rows"):
        private.train(module, [torch.randn(10, 4)], squared, schedule, seed=0, run=Run())


def watched_batches(monkeypatch, rate=0.3, n=200, steps=300):
    """Return the size of each batch, and how often each row was in one, of a training."""
    sizes, members = [], np.zeros(n)
    honest = private.ClippedSum.of

    def of(self, rows, key):
        sizes.append(len(rows[0]))
        np.add.at(members, rows[1].numpy(), 1)
        return honest(self, rows, key)

    monkeypatch.setattr(private.ClippedSum, "of", of)
    schedule = private.PrivateSchedule(steps, rate, 1.0, 1.0, n, 0.01)
    rows = [torch.zeros(n, 2), torch.arange(n)]
    private.train(torch.nn.Linear(2, 1), rows, lambda m, r, _: m(r[0])[:, 0] ** 2, schedule, seed=0, run=Run())
    return np.array(sizes), members


def is_poisson(sizes, *, n, rate):
    """Return whether sizes scatter as sums of n independent rows: their variance, within 6 standard errors."""
    variance = n * rate * (1 - rate)
    return abs(sizes.var() - variance) < 6 * variance * math.sqrt(2 / len(sizes))


def test_batches_are_poisson_samples(monkeypatch):
    sizes, members = watched_batches(monkeypatch)
    assert is_poisson(sizes, n=200, rate=0.3)
    assert abs(members.mean() / 300 - 0.3) < 6 * math.sqrt(0.3 * 0.7 / (200 * 300))
    # Rows are drawn by themselves, so that their counts scatter like binomials, too.
    assert is_poisson(members, n=300, rate=0.3)


def test_shuffled_batches_would_be_caught(monkeypatch):
    deck = []

    def shuffled(n, *, rate):
        if len(deck) < round(n * rate):
            deck[:] = np.random.default_rng().permutation(n).tolist()
        return np.array([deck.pop() for _ in range(round(n * rate))])

    monkeypatch.setattr(private, "poisson_sample", shuffled)
    sizes, members = watched_batches(monkeypatch)
    assert not is_poisson(sizes, n=200, rate=0.3)
    assert not is_poisson(members, n=300, rate=0.3)


def fitted(data, *, run=None, ledger=None, **options):
    recipe = autoregressive.Autoregressive(**{**SMALL, **options})
    return recipe.fit(
        data,
        rng=np.random.default_rng(0),
        ledger=Ledger(Budget(2.0, 1e-5)) if ledger is None else ledger,
        run=run or Run(),
    )


def test_a_private_fit_charges_one_curve_that_is_nearly_all_of_the_budget():
    ledger = Ledger(Budget(2.0, 1e-5))
    fitted(toy_table(0), ledger=ledger)
    assert [entry.label for entry in ledger.entries] == ["fit tabular.autoregressive"]
    assert 0.99 * 2.0 < ledger.epsilon(1e-5) <= 2.0


@pytest.mark.parametrize("budget", [Budget(1.0, 0.0), Budget(0.0, 1e-5)])
def test_a_budget_without_epsilon_or_delta_pays_for_nothing(budget):
    ledger = Ledger(budget)
    with pytest.raises(BudgetExceededError):
        fitted(toy_table(0), ledger=ledger)
    assert not ledger.entries


def test_the_number_of_steps_and_what_is_told_do_not_depend_on_the_rows():
    def told(data):
        seen = []
        fitted(data, run=Run(report=lambda done, total, /, **metrics: seen.append((done, total, metrics))))
        return seen

    assert told(toy_table(0, rows=50)) == told(toy_table(1, rows=600)) == [(k, 5, {}) for k in range(1, 6)]


def test_rows_set_apart_and_folders_for_state_are_not_used(tmp_path):
    data = toy_table(0, rows=60)
    fitted(data, run=Run(checkpoint=tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_private_fit_stops_when_asked():
    with pytest.raises(StoppedError, match="nothing was saved"):
        fitted(toy_table(0, rows=60), run=Run(should_stop=lambda: True))


def test_no_table_at_all_is_fitted_like_any_other():
    # Whether there is a row must not be told either.
    empty = toy_table(0)
    empty = Dataset({TABLE: empty.table.iloc[:0]}, empty.schema)
    drawn = fitted(empty).sample(20, rng=np.random.default_rng(0)).table
    assert len(drawn) == 20


def test_a_number_without_bounds_is_refused_before_anything_is_charged():
    ledger = Ledger(Budget(1.0, 1e-5))
    data = Dataset({TABLE: pd.DataFrame({"x": [1.0]})}, Schema({TABLE: {"x": Numeric(public=True)}}))
    with pytest.raises(SchemaError, match="declare low and high"):
        fitted(data, ledger=ledger)
    assert not ledger.entries


def test_noise_is_wider_for_a_person_of_several_rows():
    from synth_components.generators.tabular._private import begun

    made = []
    for rows in (1, 3):
        schema = Schema(
            {TABLE: {"who": Categorical(dtype="int64", categories=tuple(range(9)), public=True)}},
            unit=Unit(TABLE, columns=("who",), max_rows=rows),
        )
        data = Dataset({TABLE: pd.DataFrame({"who": [1, 2]})}, schema)
        start = begun("t", data, options=autoregressive.Autoregressive(), ledger=Ledger(Budget(1.0, 1e-5)), run=Run())
        made.append(start.noise_multiplier)
    assert made[1] > 3 * made[0]


def test_a_budget_that_pays_for_them_teaches_pairs():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 2, size=2_000)
    table = pd.DataFrame({"a": a, "b": a})
    kind = Categorical(dtype="int64", categories=(0, 1), public=True)
    model = synth.fit(
        table,
        generator="tabular.autoregressive",
        epsilon=10.0,
        delta=1e-5,
        schema=Schema({TABLE: {"a": kind, "b": kind}}),
        options={"private_steps": 100, "private_hidden": 8, "private_learning_rate": 0.05},
    )
    drawn = model.sample(2_000, seed=0)
    assert (drawn["a"] == drawn["b"]).mean() > 0.8
    given = model.sample(200, seed=0, conditions={"b": 1})
    assert (given["a"] == 1).mean() > 0.7
