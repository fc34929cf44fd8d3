"""The any-order network: conditions are met exactly, checkpoints resume it, and drawing needs no torch."""

import subprocess
import sys
from importlib.util import find_spec
from itertools import product

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.errors import StoppedError, UnsupportedError
from synth_components.generators import recipe_type
from synth_components.generators.tabular._cells import Cells
from synth_components.generators.tabular._grid import Grid
from synth_components.generators.tabular.autoregressive import Autoregressive
from synth_components.marginal import Marginal
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Given, Interval, Run
from synth_components.toy import toy_table

WITHOUT_TORCH = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "torch" or name.startswith("torch."):
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, Absent())
import synth_components as synth, pandas as pd
"""


def without_torch(code):
    """Run code in a process that finds no torch; return what it prints."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def grid(low, high, mass, null=0.0):
    arrays = (np.asarray(part, dtype=float) for part in (low, high, mass))
    return Grid(Marginal(*arrays, null), is_nominal=False, is_exact=False)


def test_the_recipe_is_known_without_torch_and_fit_names_the_extra():
    said = without_torch(
        "from synth_components.errors import UnsupportedError\n"
        "from synth_components.generators import recipe_type\n"
        "print(recipe_type('tabular.autoregressive').__name__)\n"
        "try: synth.fit(pd.DataFrame({'x': [1, 2] * 50}), generator='tabular.autoregressive')\n"
        "except UnsupportedError as error: print(error)\n"
    ).splitlines()
    assert said[0] == "Autoregressive"
    assert "pip install 'synth-components[torch]'" in said[1]


def test_codes_are_cells_and_places_and_back():
    edges = np.linspace(0, 1, 201)
    mass = np.full(200, 0.7 / 199)
    mass[60] = 0.2  # a code of much mass is a cell of its own, and so is null
    made = Cells.of(grid(edges[:-1], edges[1:], mass, null=0.1), cells=16)
    codes = np.arange(201, dtype=np.int32)
    cell, place = made.split(codes)
    assert (made.join(cell, place) == codes).all()
    assert (cell == cell[60]).sum() == 1
    assert (cell == cell[200]).sum() == 1
    assert 16 - 4 <= len(made.first) <= 16 + 4
    position = made.position(cell, place)
    assert ((position >= 0) & (position < 1)).all()
    inside = np.flatnonzero(np.diff(cell) == 0)
    assert (np.diff(position)[inside] > 0).all()


def test_few_codes_are_cells_themselves():
    atoms = np.arange(5)
    made = Cells.of(grid(atoms, atoms, np.full(5, 0.2)), cells=16)
    assert made.places == 1
    assert made.first.tolist() == [0, 1, 2, 3, 4]


torch_installed = pytest.mark.skipif(find_spec("torch") is None, reason="the extra torch is not installed")
RECIPE = Autoregressive(hidden=16, epochs=3, batch_rows=64, learning_rate=0.03, cells=4, knots=20)


def dependent(n=3_000):
    """A table of three columns of a few values, one with nulls, and one of many."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 3, n)
    b = np.where(rng.random(n) < 0.8, a, rng.integers(0, 3, n))
    c = (a == b).astype(float)
    c[rng.random(n) < 0.2] = np.nan
    d = rng.normal(size=n) + a
    return pd.DataFrame({"a": a, "b": b.astype(str), "c": c, "d": d.round(3)})


@pytest.fixture(scope="module")
def sampler():
    pytest.importorskip("torch", reason="the extra torch is not installed")
    return synth.fit(dependent(), generator=RECIPE, seed=0).sampler


def law(sampler, order, fixed):
    """Return the probability of every combination of codes given fixed ones, by the chain rule in an order."""
    from synth_components.generators.tabular._forward import softmax
    from synth_components.generators.tabular.autoregressive import Drawn

    sizes = [range(one.codes) for one in sampler.cells]
    combinations = np.array(
        list(product(*([fixed[f]] if f in fixed else sizes[f] for f in range(len(sizes))))), dtype=np.int32
    )
    drawn = Drawn.empty(len(combinations), len(sizes), sampler.width)
    chance = np.ones(len(combinations))
    for feature in order:
        cell, place = sampler.cells[feature].split(combinations[:, feature])
        if feature not in fixed:
            rows = np.arange(len(cell))
            chance *= softmax(sampler._logits(drawn.context, feature))[rows, cell]
            if feature in sampler._head:
                chance *= sampler._places(drawn.context, feature, cell)[rows, place]
        sampler._put(drawn, feature, combinations[:, feature])
    return combinations, chance


def shares(sampler, drawn, combinations):
    """Return how often each combination of codes was drawn."""
    from synth_components.encode import encode

    values = encode(drawn).values
    rng = np.random.default_rng(0)
    codes = np.stack([g.codes(values[:, f], rng=rng) for f, g in enumerate(sampler.grids)], axis=1)
    sizes = [one.codes for one in sampler.cells]
    keys, wanted = (np.ravel_multi_index(part.T, sizes) for part in (codes, combinations))
    assert np.isin(keys, wanted).all()
    return (keys[:, None] == wanted).mean(axis=0)


def total_variation_bound(chance, n):
    """Five times the mean total variation of n draws from a law: E|p̂-p| <= sqrt(p(1-p)/n) for each combination."""
    return 5 * 0.5 * np.sqrt(chance * (1 - chance) / n).sum()


def test_probabilities_sum_to_one(sampler):
    _, chance = law(sampler, sampler.order, {})
    assert chance.sum() == pytest.approx(1, abs=1e-4)


def test_fixed_values_are_conditioned_on_exactly(sampler):
    n = 4_000
    b, c = (list(sampler.schema.columns).index(name) for name in "bc")
    given = Given(rows=pd.DataFrame({"b": ["1"] * n, "c": [1.0] * n}))
    drawn = sampler.sample(n, rng=np.random.default_rng(1), given=given)
    fixed = {b: int(sampler.grids[b].share_of(np.array([1.0]))[0][0])}
    fixed[c] = int(sampler.grids[c].share_of(np.array([1.0]))[0][0])
    order = [b, c, *(f for f in sampler.order if f not in (b, c))]
    combinations, chance = law(sampler, order, fixed)
    assert (drawn.table["b"] == "1").all()
    assert np.abs(shares(sampler, drawn, combinations) - chance).sum() / 2 < total_variation_bound(chance, n)


def test_an_interval_that_cuts_a_cell_is_conditioned_on_exactly(sampler):
    n = 4_000
    d = list(sampler.schema.columns).index("d")
    low, high = 0.3, 1.4
    given = Given(allowed={"d": Interval(low, high)})
    drawn = sampler.sample(n, rng=np.random.default_rng(2), given=given)
    assert drawn.table["d"].between(low, high).all()
    combinations, chance = law(sampler, [d, *(f for f in sampler.order if f != d)], {})
    step = sampler.schema.columns["d"]
    offset = 10.0**step.places
    origin = np.rint(float(step.low) * offset)
    share = sampler.grids[d].share_within(np.rint(low * offset) - origin, np.rint(high * offset) - origin)
    chance = chance * share[combinations[:, d]]
    chance /= chance.sum()
    assert np.abs(shares(sampler, drawn, combinations) - chance).sum() / 2 < total_variation_bound(chance, n)


def test_two_confined_columns_are_weighed_against_each_other(sampler):
    n = 4_000
    a, b = (list(sampler.schema.columns).index(name) for name in "ab")
    given = Given(allowed={"a": Interval(0, 1), "b": frozenset({"1", "2"})})
    drawn = sampler.sample(n, rng=np.random.default_rng(3), given=given)
    first, second = (f for f in sampler.order if f in (a, b))
    combinations, chance = law(sampler, [first, second, *(f for f in sampler.order if f not in (a, b))], {})
    known = drawn.table
    assert known["a"].isin([0, 1]).all()
    assert known["b"].isin(["1", "2"]).all()
    codes_a = sampler.grids[a].share_within(0, 1)
    codes_b = np.zeros(sampler.grids[b].size)
    codes_b[sampler.grids[b].share_of(np.array([1.0, 2.0]))[0]] = 1
    chance = chance * codes_a[combinations[:, a]] * codes_b[combinations[:, b]]
    chance /= chance.sum()
    # 32 candidates a row leave a bias of the order of 1/32 of the spread of the weights.
    bound = total_variation_bound(chance, n) + 1 / 32
    assert np.abs(shares(sampler, drawn, combinations) - chance).sum() / 2 < bound


@torch_installed
def test_a_stopped_fit_goes_on_to_the_same_rows(tmp_path):
    data = toy_table(0)
    asked = 0

    def stop():
        nonlocal asked
        asked += 1
        return asked > 9

    def fitted(run):
        return RECIPE.fit(data, rng=np.random.default_rng(0), ledger=Ledger(), run=run)

    with pytest.raises(StoppedError, match="run the same again"):
        fitted(Run(checkpoint=tmp_path, should_stop=stop))
    resumed, whole = fitted(Run(checkpoint=tmp_path)), fitted(Run())
    assert {name: held.tobytes() for name, held in resumed.weights.items()} == {
        name: held.tobytes() for name, held in whole.weights.items()
    }


@torch_installed
def test_a_model_draws_the_same_rows_where_there_is_no_torch(tmp_path):
    model = synth.fit(dependent(), generator=RECIPE, seed=0)
    model.save(tmp_path / "model")
    said = without_torch(
        f"model = synth.load({str(tmp_path / 'model')!r})\n"
        "print(pd.util.hash_pandas_object(model.sample(200, seed=5).astype(str)).sum())\n"
    )
    assert said == str(pd.util.hash_pandas_object(model.sample(200, seed=5).astype(str)).sum())


@torch_installed
def test_the_holdout_of_the_run_judges_the_fit():
    data = toy_table(0)
    seen = []
    run = Run(holdout=toy_table(1), report=lambda done, total, /, **metrics: seen.append(metrics))
    RECIPE.fit(data, rng=np.random.default_rng(0), ledger=Ledger(), run=run)
    assert all("holdout_loss" in metrics for metrics in seen if metrics)


@torch_installed
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(UnsupportedError, match="device"):
        RECIPE.fit(toy_table(0), rng=np.random.default_rng(0), ledger=Ledger(), run=Run(device="cuda:99"))


def test_the_recipe_is_found_by_its_name():
    assert recipe_type("tabular.autoregressive") is Autoregressive


def network_and_rows(share, n=30):
    """Return a small network of three features, one of which has places, and rows (n, 3) that it reads."""
    any_order = pytest.importorskip("synth_components.generators._torch.any_order", exc_type=ModuleNotFoundError)
    torch = sys.modules["torch"]
    edges = np.linspace(0, 1, 101)
    grids = [grid(edges[:-1], edges[1:], np.full(100, 0.01)), *2 * [grid(np.arange(4), np.arange(4), np.full(4, 0.25))]]
    cells = [Cells.of(one, cells=8) for one in grids]
    made = any_order.AnyOrderNetwork(
        cells, [one.mass for one in grids], [2, 0, 1], hidden=16, dropout=0.0, fixed_order_share=share, seed=1
    )
    rng = np.random.default_rng(2)
    codes = {feature: rng.integers(one.size, size=n).astype(np.int32) for feature, one in enumerate(grids)}
    return torch, made, any_order.tensors_of(cells, codes)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_what_is_written_by_hand_is_what_single_rows_give(share):
    torch, network, rows = network_and_rows(share)
    with torch.no_grad():  # else the first head, which is told of nothing, has no slope yet
        network.bias.normal_(generator=torch.Generator().manual_seed(3))

    def found(batches):
        network.zero_grad()
        total = sum(network.losses(batch, torch.Generator().manual_seed(5)).sum() for batch in batches)
        total.backward()
        return total.item(), {name: weight.grad for name, weight in network.named_parameters()}

    # A single row takes the plain formulas, whose gradients torch derives.
    loss, slopes = found([rows])
    alone, expected = found([[part[row : row + 1] for part in rows] for row in range(len(rows[0]))])
    assert loss == pytest.approx(alone, rel=1e-5)
    for name, slope in slopes.items():
        assert slope.abs().max() > 0
        torch.testing.assert_close(slope, expected[name], rtol=1e-4, atol=1e-4, msg=name)


def test_a_head_is_told_of_the_features_before_its_own_and_of_no_other():
    torch, network, _rows = network_and_rows(1.0)  # in the order 2, 0, 1
    before = network._before(torch.Generator().manual_seed(0), 2)
    expected = [[0, 0, 1], [1, 0, 1], [0, 0, 0], [0, 0, 1]]  # the last tells the place in feature 0
    assert before.tolist() == [expected, expected]
    free = network_and_rows(0.0)[1]._before(torch.Generator().manual_seed(0), 60)
    assert len({tuple(one[:3].sum(dim=1).tolist()) for one in free}) == 6  # every order of three


def test_rows_set_apart_are_judged_in_many_orders():
    torch, network, rows = network_and_rows(0.5)
    from synth_components.generators._torch.any_order import JUDGED_PER_ORDER

    same = [part[:1].expand(40 * JUDGED_PER_ORDER - 5, -1) for part in rows]  # the last order has fewer rows

    def told(network):
        with torch.no_grad():
            losses = network.losses(same, torch.Generator().manual_seed(5)).split(JUDGED_PER_ORDER)
        assert max(part.max() - part.min() for part in losses) < 1e-4
        return torch.stack([part.mean() for part in losses])

    assert told(network).std() < 1e-4  # a batch of the training has one
    judged = told(network.eval())
    assert (judged.sort().values.diff() > 1e-3).sum() == 5  # every order of three
    network._fixed_order_share = 1.0
    is_fixed = (judged - told(network)).abs() < 1e-4
    assert 8 < is_fixed.sum() < 36  # half of 40, and those that were drawn and are it


def test_rows_set_apart_lose_what_they_would_one_at_a_time():
    torch, network, rows = network_and_rows(1.0, n=70)
    with torch.no_grad():
        alone = [network.losses([part[row : row + 1] for part in rows], torch.Generator()) for row in range(70)]
        judged = network.eval().losses(rows, torch.Generator())
    torch.testing.assert_close(judged, torch.cat(alone), rtol=1e-5, atol=1e-5)


def test_half_precision_products_give_about_the_same_losses_and_gradients():
    torch, network, rows = network_and_rows(1.0)
    plain = network.losses(rows, torch.Generator().manual_seed(5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = network.losses(rows, torch.Generator().manual_seed(5))
    rounded.float().mean().backward()
    assert network.weight.grad.dtype == torch.float32
    torch.testing.assert_close(rounded.float(), plain, rtol=0.05, atol=0.05)
