"""The five tables of the published protocol, read and split as TabSyn does (commit cb5ac0f, ``process_dataset.py``).

    python benchmarks/datasets.py        reads all five and checks their row counts

The files are not part of the repository. They are looked for in the folder named by the environment variable
``SYNTH_SHARED``, else in ``../shared`` beside the repository; each stands in ``data/tabular/<name>``.

Three quirks of the published protocol are kept, because the published numbers carry them: the first row of Magic is
read as a header (19,019 rows remain), Beijing loses the column ``No`` and every row with a null (41,757 rows remain),
and the index array of the 90/10 split is not reset between tries.
"""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

Task = Literal["classification", "regression"]
NAMES = ("adult", "default", "shoppers", "magic", "beijing")
ROWS = {
    "adult": (32_561, 16_281),
    "default": (27_000, 3_000),
    "shoppers": (11_097, 1_233),
    "magic": (17_117, 1_902),
    "beijing": (37_581, 4_176),
}
_ADULT = (
    "age,workclass,fnlwgt,education,education_num,marital_status,occupation,relationship,race,sex,"
    "capital_gain,capital_loss,hours_per_week,native_country,income"
)
_MAGIC = "fLength,fWidth,fSize,fConc,fConc1,fAsym,fM3Long,fM3Trans,fAlpha,fDist,class"


@dataclass(frozen=True)
class Table:
    """One table of the protocol, split.

    ``categorical`` holds the target too where the task is classification, as in the published shape and pair scores.
    """

    name: str
    train: pd.DataFrame
    test: pd.DataFrame
    categorical: tuple[str, ...]
    target: str
    task: Task

    def conform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return ``frame`` with the columns, order and dtypes of the training table; a fresh index.

        Values are kept as they are, but a category that is a number in the training table becomes that number again.
        """
        out = pd.DataFrame(index=range(len(frame)))
        for column, dtype in self.train.dtypes.items():
            values = frame[column].reset_index(drop=True)
            if pd.api.types.is_bool_dtype(dtype):
                out[column] = values.astype(str).str.lower().isin(("true", "1", "1.0"))
            elif pd.api.types.is_numeric_dtype(dtype):
                numbers = pd.to_numeric(values, errors="coerce").astype(float)
                whole = pd.api.types.is_integer_dtype(dtype) and not numbers.isna().any()
                out[column] = numbers.round().astype(dtype) if whole else numbers
            else:
                out[column] = values.astype(str)
        return out


def shared_folder() -> Path:
    """Return the folder that holds ``data/tabular``: ``SYNTH_SHARED``, else ``../shared`` beside the repository."""
    named = os.environ.get("SYNTH_SHARED")
    return Path(named) if named else Path(__file__).resolve().parents[2] / "shared"


def load(name: str) -> Table:
    """Return one of the five tables, split into train and test.

    Raises:
        FileNotFoundError: if the data folder is not there; the message names the variable to set.
        ValueError: if the row counts differ from the published ones.
    """
    folder = shared_folder() / "data" / "tabular" / name
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no table {name!r} under {folder.parent}; set SYNTH_SHARED to the folder above data/tabular"
        )
    table = {"adult": _adult, "default": _default, "shoppers": _shoppers, "magic": _magic, "beijing": _beijing}[name](
        folder
    )
    rows = (len(table.train), len(table.test))
    if rows != ROWS[name]:
        raise ValueError(f"{name}: {rows} train and test rows, the protocol has {ROWS[name]}")
    return table


def _adult(folder: Path) -> Table:
    names = _ADULT.split(",")

    def read(file: str) -> pd.DataFrame:
        frame = pd.read_csv(folder / file, header=None, names=names, skipinitialspace=True, keep_default_na=False)
        frame["income"] = frame["income"].str.rstrip(".")
        return frame.replace("?", "nan")

    train, test = read("adult.data.gz"), read("adult.test.gz")
    categorical = tuple(column for column in names if train[column].dtype == object)
    return Table("adult", train, test, categorical, "income", "classification")


def _default(folder: Path) -> Table:
    frame = pd.read_csv(folder / "default.csv.gz")
    columns = frame.columns
    categorical = [columns[i] for i in (1, 2, 3, 5, 6, 7, 8, 9, 10)]
    return _split("default", frame, categorical, columns[23], "classification")


def _shoppers(folder: Path) -> Table:
    frame = pd.read_csv(folder / "online_shoppers_intention.csv.gz")
    columns = frame.columns
    return _split("shoppers", frame, list(columns[10:17]), columns[17], "classification")


def _magic(folder: Path) -> Table:
    frame = pd.read_csv(folder / "magic04.data.gz", header=0)
    frame.columns = pd.Index(_MAGIC.split(","))
    return _split("magic", frame, [], "class", "classification")


def _beijing(folder: Path) -> Table:
    frame = pd.read_csv(folder / "PRSA_data.csv.gz").drop(columns="No").dropna().reset_index(drop=True)
    columns = frame.columns
    return _split("beijing", frame, [columns[i] for i in (0, 1, 2, 3, 8)], columns[4], "regression")


def _split(name: str, frame: pd.DataFrame, categorical: list[str], target: str, task: Task) -> Table:
    """Split 90/10 with seeds 1234, 1235, ... until the training part holds every category."""
    n_train = int(len(frame) * 0.9)
    order, seed = np.arange(len(frame)), 1234
    while True:
        np.random.RandomState(seed).shuffle(order)
        train, test = frame.iloc[order[:n_train]], frame.iloc[order[n_train:]]
        if all(train[column].nunique() == frame[column].nunique() for column in categorical):
            break
        seed += 1
    kinds = (*categorical, target) if task == "classification" else tuple(categorical)
    return Table(name, train.reset_index(drop=True), test.reset_index(drop=True), kinds, target, task)


def main() -> None:
    """Read the chosen tables and print what they hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(NAMES), metavar="NAME", help=f"of {', '.join(NAMES)}")
    for name in parser.parse_args().names:
        table = load(name)
        numeric = table.train.shape[1] - len(table.categorical)
        sys.stdout.write(
            f"{name}: {len(table.train):,} train, {len(table.test):,} test rows, {numeric} numeric and "
            f"{len(table.categorical)} categorical columns, target {table.target!r} ({table.task})\n"
        )


if __name__ == "__main__":
    main()
