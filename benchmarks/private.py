"""Utility under differential privacy: what a budget buys on Adult, Default and Magic, with public domains.

    python benchmarks/private.py                                            every budget, generator and table
    python benchmarks/private.py --tables adult --epsilons 1 --seeds 3

The domains are public: the categories that the documentation of each table lists (those that occur are the same), and
the round bounds of ``BOUNDS``, which a person set; delta is 1e-6, a unit is a row. Two measures, as in "Sampling, Not
Argmax" (a draft, whose figures the README quotes): the AUC of a logistic regression that is trained on synthetic rows
and tested on the test rows, and the total variation of pairs of columns in at most 16 equal cells of the public domain,
mean over all pairs, against the training rows. Scores hold on a busy machine; seconds are of the processor.
"""

import argparse
import itertools
import json
import warnings
from time import process_time

import common
import datasets
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import synth_components as synth
from synth_components.schema import TABLE, Categorical, Numeric, Schema

RESULTS = common.RESULTS / "private.jsonl"
DELTA = 1e-6
EPSILONS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
CELLS = 16
BOUNDS = {
    "adult": {
        "age": (15, 95),
        "fnlwgt": (0, 1_500_000),
        "education_num": (1, 16),
        "capital_gain": (0, 100_000),
        "capital_loss": (0, 5_000),
        "hours_per_week": (1, 100),
    },
    "default": {
        "LIMIT_BAL": (0, 1_000_000),
        "AGE": (18, 100),
        **{f"BILL_AMT{month}": (-400_000, 1_700_000) for month in range(1, 7)},
        **{f"PAY_AMT{month}": (0, 1_700_000) for month in range(1, 7)},
    },
    "magic": {
        "fLength": (0, 350),
        "fWidth": (0, 260),
        "fSize": (1, 6),
        "fConc": (0, 1),
        "fConc1": (0, 1),
        "fAsym": (-500, 600),
        "fM3Long": (-350, 250),
        "fM3Trans": (-210, 180),
        "fAlpha": (0, 90),
        "fDist": (0, 500),
    },
}


def domain(table: datasets.Table) -> Schema:
    """Return the public schema of a table."""
    columns: dict[str, Numeric | Categorical] = {}
    for name in table.train.columns:
        bounds = BOUNDS[table.name].get(name)
        values = pd.concat([table.train[name], table.test[name]])
        if bounds is None:
            listed = tuple(sorted(value.item() if hasattr(value, "item") else value for value in values.unique()))
            columns[name] = Categorical(dtype=str(values.dtype), categories=listed, public=True)
            continue
        whole = pd.api.types.is_integer_dtype(values.dtype)
        columns[name] = Numeric(
            dtype=str(values.dtype), low=bounds[0], high=bounds[1], places=0 if whole else None, public=True
        )
    return Schema({TABLE: columns})


def auc(train: pd.DataFrame, test: pd.DataFrame, table: datasets.Table) -> float:
    """Return the AUC on ``test`` of a logistic regression on ``train``; 0.5 if it has one class."""
    wanted = sorted(table.train[table.target].unique())[-1]
    answers = train[table.target] == wanted
    if answers.nunique() < 2:
        return 0.5
    listed = [c for c in table.categorical if c != table.target]
    numbers = [c for c in table.train.columns if c not in (*table.categorical, table.target)]
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), listed), (StandardScaler(), numbers)),
        LogisticRegression(max_iter=300),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train.drop(columns=table.target), answers)
    scores = model.predict_proba(test.drop(columns=table.target))[:, 1]
    return float(roc_auc_score(test[table.target] == wanted, scores))


def binned(rows: pd.DataFrame, schema: Schema) -> dict[str, np.ndarray]:
    """Return the cell of each value, at most ``CELLS`` to a number."""
    cells = {}
    for name, column in schema.columns.items():
        if isinstance(column, Categorical):
            cells[name] = pd.Index(column.categories).get_indexer(rows[name])
        else:
            edges = np.linspace(column.low, column.high, CELLS + 1)
            cells[name] = np.clip(np.searchsorted(edges, rows[name].to_numpy(float), side="right") - 1, 0, CELLS - 1)
    return cells


def pair_distance(real: pd.DataFrame, drawn: pd.DataFrame, schema: Schema) -> float:
    """Return the mean total variation over pairs of columns."""
    ours, theirs = binned(real, schema), binned(drawn, schema)
    found = []
    for a, b in itertools.combinations(ours, 2):
        size = max(ours[b].max(), theirs[b].max()) + 1
        both = [side[a] * size + side[b] for side in (ours, theirs)]
        length = max(part.max() for part in both) + 1
        shares = [np.bincount(part, minlength=length) / len(part) for part in both]
        found.append(np.abs(shares[0] - shares[1]).sum() / 2)
    return float(np.mean(found))


def main() -> None:
    """Measure, and append a row for each fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", default=list(BOUNDS))
    parser.add_argument("--generators", nargs="+", default=["tabular.mst"])
    parser.add_argument("--epsilons", nargs="+", type=float, default=EPSILONS)
    parser.add_argument("--seeds", type=int, default=3, help="fits of each; their noise has no seed")
    parser.add_argument("--options", default="{}", help="options of the generators, as JSON")
    parser.add_argument("--dry", action="store_true", help="print, and write nothing")
    given = parser.parse_args()
    options = json.loads(given.options)
    for name in given.tables:
        table = datasets.load(name)
        schema = domain(table)
        real = auc(table.train, table.test, table)
        for generator, epsilon, seed in itertools.product(given.generators, given.epsilons, range(given.seeds)):
            start = process_time()
            model = synth.fit(
                table.train, generator=generator, epsilon=epsilon, delta=DELTA, schema=schema, options=options
            )
            fitted = process_time() - start
            drawn = model.sample(len(table.train), seed=seed)
            row = {
                "table": name,
                "generator": generator,
                "options": options,
                "epsilon": epsilon,
                "delta": DELTA,
                "repetition": seed,
                "auc": auc(drawn, table.test, table),
                "auc_real": real,
                "pair_distance": pair_distance(table.train, drawn, schema),
                "fit_processor_seconds": fitted,
                "spent": model.ledger.epsilon(DELTA),
            }
            print(common.Row(row))
            if not given.dry:
                common.append_row(RESULTS, row)


if __name__ == "__main__":
    main()
