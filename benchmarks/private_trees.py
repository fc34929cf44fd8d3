"""Trees under differential privacy: does a sequence of private trees beat MST on Adult at epsilon 1?

    python benchmarks/private_trees.py choose     variants, on training rows of Default, Shoppers and Magic
    python benchmarks/private_trees.py compare    tabular.private_trees on Adult, beside MST and AIM, as private.py does

``tabular.private_trees``, which corrects MST, is what came of it; the variants are what it was chosen over. In these
each column is drawn from a tree over the columns before it, whose cells are those of the public domain. What is
released, in zCDP (rho of the ledger's whole budget, shares by ``Variant``): a histogram of each column; the splits of
each level of each tree, by the noisy maximum; and for each column one histogram of its cells in the leaves of its tree.
A row lies in one leaf, so that it moves one cell of that histogram by 1, and in one node of a level, so that the nodes
of a level compose in parallel. The rest is post-processing. A unit is a row.
"""

import argparse
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from time import process_time
from typing import Literal

import common
import datasets
import numpy as np
import pandas as pd
import private
from numpy.typing import NDArray

import synth_components as synth
from synth_components.encode import decode
from synth_components.generators.tabular._network import NetworkSampler
from synth_components.generators.tabular._public_cells import Cells, Codes, cells_of, coded, valued
from synth_components.generators.tabular.aim import AIM
from synth_components.generators.tabular.mst import MST
from synth_components.generators.tabular.private_trees import simplex
from synth_components.privacy.accounting import zero_concentrated
from synth_components.privacy.ledger import ORDERS, Ledger, epsilon_of
from synth_components.privacy.noise import Grant, deviation, granted, noisy_best, noisy_counts
from synth_components.protocols import Budget, Dataset, Floats, Run
from synth_components.schema import Schema

RESULTS = common.RESULTS / "private_trees.jsonl"
EPSILON = 1.0
SMOOTH = 0.02
DRAWN = 50_000
private.BOUNDS["shoppers"] = {
    "Administrative": (0, 50),
    "Administrative_Duration": (0, 5_000),
    "Informational": (0, 50),
    "Informational_Duration": (0, 5_000),
    "ProductRelated": (0, 1_000),
    "ProductRelated_Duration": (0, 100_000),
    "BounceRates": (0, 0.2),
    "ExitRates": (0, 0.2),
    "PageValues": (0, 500),
    "SpecialDay": (0, 1),
}


@dataclass(frozen=True)
class Variant:
    """How trees are grown and filled."""

    structure: Literal["nodes", "levels", "drawn", "random"] = "nodes"
    first: Literal["none", "mst", "aim"] = "none"
    first_share: float = 0.0
    single_share: float = 0.15
    split_share: float = 0.25
    depth: int = 4
    stop: float = 0.5
    trees: int = 1
    growth: float = 1.0
    target_at: Literal["first", "last"] = "last"
    bins: int = 16


@dataclass(frozen=True)
class Split:
    """A node whose rows go to node 2i where ``left`` holds of their cell of ``column``, else to 2i + 1."""

    node: int
    column: str
    left: NDArray[np.bool_]


def leaf_of(splits: Sequence[Split], codes: Mapping[str, Codes], n: int) -> Codes:
    node = np.ones(n, dtype=np.int64)
    for split in splits:
        rows = np.flatnonzero(node == split.node)
        node[rows] = 2 * split.node + ~split.left[codes[split.column][rows]]
    return node


def leaves(splits: Sequence[Split]) -> list[int]:
    inner = {split.node for split in splits}
    return sorted({1, *(2 * i for i in inner), *(2 * i + 1 for i in inner)} - inner)


def halvings(cells: Cells) -> NDArray[np.bool_]:
    """Return the ways (k, cells) to cut a column in two: below each edge, or one category from the others."""
    size = cells.size
    if cells.edges is None:
        return np.eye(size, dtype=bool)[: 1 if size == 2 else size]
    return np.tri(size - 1, size, dtype=bool)


def level(
    node: Codes,
    active: list[int],
    own: Codes,
    size: int,
    before: Sequence[str],
    codes: Mapping[str, Codes],
    cells: Mapping[str, Cells],
) -> tuple[Floats, list[tuple[str, NDArray[np.bool_]]]]:
    """Return for each active node and cut how many rows of the left half lie off the node's shares (L1).

    One row moves a score by less than 2: with a the share of rows that go left, the difference is (1 - a) times the
    left counts minus a times the right ones; a row more on the left adds at most 1 - a to a cell, and moves a by
    (1 - a) / (n + 1), which changes the cells by at most 1 - a in all.
    """
    place = np.full(max(active) + 1, -1)
    place[active] = np.arange(len(active))
    where = np.where(node <= max(active), place[np.minimum(node, max(active))], -1)
    rows = np.flatnonzero(where >= 0)
    base = where[rows] * size + own[rows]
    whole = np.bincount(base, minlength=len(active) * size).reshape(len(active), 1, size)
    n = np.maximum(whole.sum(axis=2, keepdims=True), 1)
    scores, cuts = [], []
    for name in before:
        k = cells[name].size
        if k < 2:
            continue
        joint = np.bincount(
            (where[rows] * k + codes[name][rows]) * size + own[rows], minlength=len(active) * k * size
        ).reshape(len(active), k, size)
        ways = halvings(cells[name])
        left = joint[:, : len(ways)] if cells[name].edges is None else np.cumsum(joint, axis=1)[:, :-1]
        scores.append(np.abs(left - whole * (left.sum(axis=2, keepdims=True) / n)).sum(axis=2))
        cuts += [(name, way) for way in ways]
    return np.hstack(scores) if scores else np.zeros((len(active), 0)), cuts


def grown(
    name: str,
    before: Sequence[str],
    codes: Mapping[str, Codes],
    cells: Mapping[str, Cells],
    *,
    stop: float,
    grant: Grant | None,
    amounts: Sequence[float],
    is_oblivious: bool,
) -> list[Split]:
    """Return the splits of one tree, each level paid with its amount; of drawn rows, without a grant, they are free."""
    splits: list[Split] = []
    node, active = np.ones(len(codes[name]), dtype=np.int64), [1]
    for amount in amounts:
        scores, cuts = level(node, active, codes[name], cells[name].size, before, codes, cells)
        if not cuts:
            break
        if grant is not None:
            grant.take(amount)
        if is_oblivious:  # a row is in one node, so that it moves the sum over nodes by less than 2, too
            scores = scores.sum(axis=0, keepdims=True)
        # The largest of many noises is not to pass for a split.
        scale = 0.0 if grant is None else 2.0 / math.sqrt(2 * amount) * math.log(len(cuts))
        best = []
        for row in scores:
            held = np.append(row, scale + stop * len(active) / len(scores))
            # Parallel composition: the nodes of a level share no row, so that the level is paid for once.
            best.append(
                int(np.argmax(held))
                if grant is None
                else noisy_best(held, amount=amount, grant=Grant("gaussian", amount), sensitivity=2.0)
            )
        best = best * len(active) if is_oblivious else best
        made = [Split(one, *cuts[found]) for one, found in zip(active, best, strict=True) if found < len(cuts)]
        for split in made:
            rows = np.flatnonzero(node == split.node)
            node[rows] = 2 * split.node + ~split.left[codes[split.column][rows]]
        splits += made
        active = [child for split in made for child in (2 * split.node, 2 * split.node + 1)]
        if not active:
            break
    return splits


def random_splits(
    before: Sequence[str], cells: Mapping[str, Cells], depth: int, rng: np.random.Generator
) -> list[Split]:
    splits: list[Split] = []
    usable = [name for name in before if cells[name].size > 1]
    active = [1]
    for _ in range(depth if usable else 0):
        for one in active:
            name = usable[rng.integers(len(usable))]
            ways = halvings(cells[name])
            splits.append(Split(one, name, ways[rng.integers(len(ways))]))
        active = [child for one in active for child in (2 * one, 2 * one + 1)]
    return splits


def shrunk(y: Floats, prior: Floats, total: float, variance: float) -> Floats:
    """Return counts between the noisy ones and those that the parent expects, on the simplex.

    Empirical Bayes: a cell lies off what is expected with a variance in proportion to that, by moments.
    """
    expected = total * prior
    off = y - expected
    off -= off.mean()
    apart = max(0.0, float((off**2).sum() - variance * (len(y) - 1))) / max(total, 1e-9) * expected
    return simplex(expected + apart / (apart + variance) * off, total)


def filled(splits: Sequence[Split], noisy: Floats, spread: float, root: Floats, prior: Floats | None) -> Floats:
    """Return the shares (leaves, cells) of each leaf: from the root down, each node shrunk towards its parent."""
    ends = leaves(splits)
    sums = {leaf: noisy[i] for i, leaf in enumerate(ends)}
    held = dict.fromkeys(ends, 1)
    for split in reversed(splits):
        a, b = 2 * split.node, 2 * split.node + 1
        sums[split.node], held[split.node] = sums[a] + sums[b], held[a] + held[b]
    made = {1: root}
    total = {1: max(float(noisy.sum()), 1.0)}
    for split in splits:
        a, b = 2 * split.node, 2 * split.node + 1
        raw = [max(float(sums[child].sum()), 1.0) for child in (a, b)]
        for child, part in zip((a, b), raw, strict=True):
            total[child] = total[split.node] * part / sum(raw)
            q = made[split.node]
            made[child] = shrunk(sums[child], q, total[child], held[child] * spread**2) / total[child]
    if prior is not None:
        return np.array(
            [shrunk(noisy[i], prior[i], total[leaf], spread**2) / total[leaf] for i, leaf in enumerate(ends)]
        )
    return raked(np.array([made[leaf] * total[leaf] for leaf in ends]), root * total[1])


def raked(table: Floats, columns: Floats) -> Floats:
    """Return the rows' shares of ``table`` once it sums to ``columns``, its rows' sums kept."""
    rows = table.sum(axis=1, keepdims=True)
    table = (1 - SMOOTH) * table + SMOOTH * rows * columns / columns.sum()
    for _ in range(20):
        sums = table.sum(axis=0)
        table = table * np.divide(columns, sums, out=np.ones_like(sums), where=sums > 0)
        table = table * rows / np.maximum(table.sum(axis=1, keepdims=True), 1e-300)
    return table / table.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Column:
    """How one column is drawn: from one of its trees."""

    name: str
    trees: tuple[tuple[tuple[Split, ...], Floats], ...]

    def draw(self, codes: Mapping[str, Codes], n: int, rng: np.random.Generator) -> Codes:
        """Return the cells (n,) of the column, given those of the columns before it."""
        made = np.zeros(n, dtype=np.int64)
        pick = rng.integers(len(self.trees), size=n)
        for number, (splits, shares) in enumerate(self.trees):
            rows = np.flatnonzero(pick == number)
            node = leaf_of(splits, {key: value[rows] for key, value in codes.items()}, len(rows))
            leaf = np.searchsorted(leaves(splits), node)
            ends = np.cumsum(shares, axis=1) + np.arange(len(shares))[:, None]
            found = np.searchsorted(ends.ravel(), leaf + rng.random(len(rows)), side="right") - leaf * shares.shape[1]
            made[rows] = np.clip(found, 0, shares.shape[1] - 1)
        return made


@dataclass(frozen=True)
class Fitted:
    """Columns in the order of drawing, and what was spent."""

    schema: Schema
    cells: Mapping[str, Cells]
    columns: tuple[Column, ...]
    ledger: Ledger

    def sample(self, n: int, *, seed: int) -> pd.DataFrame:
        """Return ``n`` rows."""
        rng = np.random.default_rng(seed)
        codes: dict[str, Codes] = {}
        for column in self.columns:
            codes[column.name] = column.draw(codes, n, rng)
        return decode(valued(codes, self.cells, self.schema, rng)).table


def fit(rows: pd.DataFrame, schema: Schema, target: str, variant: Variant, budget: Budget) -> Fitted:
    """Return the trees of ``rows``; the ledger is charged all of the budget before the first read."""
    ledger = Ledger(budget)
    cells = cells_of(schema, bins=variant.bins)
    grant = granted("fit private trees", ledger, unit=schema.unit, mechanism="gaussian")
    codes = coded(Dataset({schema.root: rows}, schema), cells)
    names = [name for name in cells if name != target]
    order = [target, *names] if variant.target_at == "first" else [*names, target]
    total = grant.total
    drawn = None
    if variant.first != "none":
        made = first_model(rows, schema, target, variant, grant).sample(DRAWN, rng=np.random.default_rng())
        drawn = coded(made, cells)

    each = variant.single_share * total / len(order)
    spread_one = deviation(each, mechanism="gaussian", sensitivity=1)
    singles = {
        name: noisy_counts(
            np.bincount(codes[name], minlength=cells[name].size), amount=each, grant=grant, sensitivity=1
        )
        for name in order
    }
    # What leaves' noise will about be decides when a split is worth its noise.
    rest = total * (1 - variant.first_share - variant.single_share - variant.split_share)
    about = deviation(rest / len(order), mechanism="gaussian", sensitivity=1)
    shapes: dict[str, list[list[Split]]] = {}
    rng = np.random.default_rng()  # structure that is random, not private: no row is read
    for position, name in enumerate(order):
        before = order[:position]
        if variant.structure == "random":
            shapes[name] = [random_splits(before, cells, variant.depth, rng) for _ in range(variant.trees)]
            continue
        wide = max(int((singles[name] > 2 * spread_one).sum()), 2)
        shares = np.array([variant.growth**i for i in range(variant.depth)])
        paid = variant.split_share * total / (len(order) - 1) * shares / shares.sum() * (1 - 1e-9)
        is_free = variant.structure == "drawn"
        shape = grown(
            name,
            before,
            drawn if is_free else codes,
            cells,
            stop=variant.stop * about * wide,
            grant=None if is_free else grant,
            amounts=paid,
            is_oblivious=variant.structure == "levels",
        )
        shapes[name] = [shape]
    # Noise in a column costs its cells times the deviation: shares by the power 2/3 make the sum least.
    weight = {
        name: len(made)
        * max((len(leaves(s)) * max((singles[name] > 2 * spread_one).sum(), 2)) for s in made) ** (2 / 3)
        for name, made in shapes.items()
    }
    left = grant.left * (1 - 1e-9)
    columns = []
    for name in order:
        filled_trees = []
        amount = left * weight[name] / sum(weight.values()) / len(shapes[name])
        spread = deviation(amount, mechanism="gaussian", sensitivity=1)
        for splits in shapes[name]:
            ends, size = leaves(splits), cells[name].size
            leaf = np.searchsorted(ends, leaf_of(splits, codes, len(codes[name])))
            counts = np.bincount(leaf * size + codes[name], minlength=len(ends) * size)
            noisy = (
                noisy_counts(counts, amount=amount, grant=grant, sensitivity=1).reshape(len(ends), size).astype(float)
            )
            a, b = spread_one**-2, 1 / (len(ends) * spread**2)
            whole = (a * singles[name] + b * noisy.sum(axis=0)) / (a + b)
            root = simplex(whole, max(float(whole.sum()), 1.0))
            prior = None
            if drawn is not None:
                leaf = np.searchsorted(ends, leaf_of(splits, drawn, len(drawn[name])))
                prior = (
                    np.bincount(leaf * size + drawn[name], minlength=len(ends) * size).reshape(len(ends), size) + 0.0
                )
                prior = (prior + root / root.sum()) / (prior + root / root.sum()).sum(axis=1, keepdims=True)
            filled_trees.append((tuple(splits), filled(splits, noisy, spread, root / root.sum(), prior)))
        columns.append(Column(name, tuple(filled_trees)))
    return Fitted(schema, cells, tuple(columns), ledger)


def first_model(rows: pd.DataFrame, schema: Schema, target: str, variant: Variant, grant: Grant) -> NetworkSampler:
    """Return a first private model, for its share of the grant."""
    amount = variant.first_share * grant.total
    grant.take(amount)
    recipe = MST(bins=variant.bins) if variant.first == "mst" else AIM(bins=variant.bins, target=target)
    # The first model's ledger holds its share alone.
    budget = Budget(epsilon_of(zero_concentrated(amount)(ORDERS), private.DELTA), private.DELTA)
    return recipe.fit(
        Dataset({schema.root: rows}, schema), rng=np.random.default_rng(), ledger=Ledger(budget), run=Run()
    )


def parted(name: str) -> datasets.Table:
    """Return a table of whose training rows every fifth is for testing; of its test rows none is read."""
    table = datasets.load(name)
    train = table.train
    truth = {column: str for column in train if train[column].dtype == bool}
    train = train.astype(truth)
    listed = tuple(dict.fromkeys([*table.categorical, *truth]))
    tested = np.arange(len(train)) % 5 == 0
    return replace(
        table,
        train=train[~tested].reset_index(drop=True),
        test=train[tested].reset_index(drop=True),
        categorical=listed,
    )


VARIANTS = {
    "splits by noisy gains, of each node": Variant("nodes", growth=2),
    "splits by noisy gains, of each level": Variant("levels"),
    "four random trees": Variant("random", trees=4, depth=3),
    "structure drawn from MST": Variant("drawn", first="mst", first_share=0.4),
    "structure of levels, leaves shrunk to MST": Variant("levels", first="mst", first_share=0.3),
}
GENERATORS = {
    "tabular.private_trees": True,
    "tabular.mst": False,
    "tabular.aim": True,
}
"""Those that are measured beside, and which of them know the target."""


def fits(table: datasets.Table, kind: str, repetition: int) -> common.Row:
    """Fit one variant or generator, and return what it reached."""
    schema = private.domain(table)
    start = process_time()
    if kind in VARIANTS:
        model = fit(table.train, schema, table.target, VARIANTS[kind], Budget(EPSILON, private.DELTA))
    else:
        options = {"target": table.target} if GENERATORS[kind] else {}
        model = synth.fit(
            table.train, generator=kind, epsilon=EPSILON, delta=private.DELTA, schema=schema, options=options
        )
    fitted = process_time() - start
    drawn = model.sample(len(table.train), seed=repetition)
    return {
        "table": table.name,
        "kind": kind,
        "options": asdict(VARIANTS[kind]) if kind in VARIANTS else options,
        "epsilon": EPSILON,
        "delta": private.DELTA,
        "repetition": repetition,
        "auc": private.auc(drawn, table.test, table),
        "pair_distance": private.pair_distance(table.train, drawn, schema),
        "fit_processor_seconds": fitted,
        "spent": model.ledger.epsilon(private.DELTA),
    }


def main() -> None:
    """Measure, and append a row for each fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["choose", "compare"])
    parser.add_argument("--tables", nargs="+", help="for choosing: default, shoppers and magic")
    parser.add_argument("--kinds", nargs="+", choices=[*VARIANTS, *GENERATORS])
    parser.add_argument("--seeds", type=int, default=3, help="fits of each; their noise has no seed")
    parser.add_argument("--dry", action="store_true", help="print, and write nothing")
    given = parser.parse_args()
    is_choice = given.stage == "choose"
    kinds = given.kinds or ([*VARIANTS, *GENERATORS] if is_choice else [*GENERATORS])
    for name in given.tables or (["shoppers", "magic", "default"] if is_choice else ["adult"]):
        table = parted(name) if is_choice else datasets.load(name)
        for repetition, kind in itertools.product(range(given.seeds), kinds):
            row = {"stage": given.stage, **fits(table, kind, repetition)}
            common.say(json.dumps({key: row[key] for key in ("table", "kind", "auc", "pair_distance")}))
            if not given.dry:
                common.append_row(RESULTS, row)


if __name__ == "__main__":
    main()
