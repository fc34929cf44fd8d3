"""Recode the same columns of Adult by anjana, which pins numpy and pandas: run by anonymity_peer.sh, apart from ours.

anjana recodes a column everywhere alike, along a declared hierarchy, and needs one for each column.  Those here are for
the figure and its author's: ages in intervals of 5, 10, 20 and 40 years; education, marital status, occupation and
country in the groups below, then one; sex in one.
"""

import argparse
import json
import os
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import pandas as pd
from anjana.anonymity import k_anonymity

SETS = {
    "occupation": ["age", "education", "marital_status", "occupation", "sex", "native_country"],
    "race": ["age", "race", "sex", "marital_status", "native_country", "education"],
}
GROUPS = {
    "education": {
        "school": ["Preschool", "1st-4th", "5th-6th", "7th-8th", "9th", "10th", "11th", "12th"],
        "finished school": ["HS-grad", "Some-college", "Assoc-voc", "Assoc-acdm"],
    },
    "marital_status": {
        "married": ["Married-civ-spouse", "Married-AF-spouse"],
        "was married": ["Divorced", "Separated", "Widowed", "Married-spouse-absent"],
    },
    "occupation": {
        "office": ["Adm-clerical", "Exec-managerial", "Prof-specialty", "Sales", "Tech-support"],
        "nothing said": ["nan"],
    },
    "native_country": {"United-States": ["United-States"], "nothing said": ["nan"]},
    "race": {"White": ["White"]},
}
"""Groups of the first level; what is in none forms another."""


def hierarchy(name: str, values: np.ndarray) -> dict[int, np.ndarray]:
    """Return the levels of a column, each as long as the column."""
    levels = [values]
    if name == "age":
        for width in (5, 10, 20, 40):
            low = values // width * width
            levels.append(np.array([f"[{one}, {one + width})" for one in low], dtype=object))
    elif name in GROUPS:
        of = {value: group for group, members in GROUPS[name].items() for value in members}
        levels.append(np.array([of.get(value, "other") for value in values], dtype=object))
    levels.append(np.full(len(values), "*", dtype=object))
    return dict(enumerate(levels))


def main() -> None:
    """Append a row for each set of columns and limit of suppression."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="what anonymity.py --write wrote")
    parser.add_argument("results", type=Path, help="the JSON lines to append to")
    args = parser.parse_args()
    table = pd.read_csv(args.table, keep_default_na=False)
    for columns, limit in (("occupation", 5), ("occupation", 0), ("race", 5)):
        names = SETS[columns]
        # A row per distinct value: anjana looks every cell up in its hierarchy, and long ones would only cost it time.
        given = {name: hierarchy(name, np.unique(table[name].to_numpy())) for name in names}
        load, wall, start = os.getloadavg()[0], perf_counter(), process_time()
        made = k_anonymity(table[names].copy(), [], names, 5, limit, given)
        spent = {"cpu_s": process_time() - start, "wall_s": perf_counter() - wall, "load": load}
        sizes = made.groupby(names, observed=True).size().to_numpy()
        gone = len(table) - len(made)
        row = {
            "by": f"anjana {version('anjana')}, at most {limit} % suppressed",
            "columns": columns,
            "demand": "k=5",
            "k": int(sizes.min()),
            "classes": len(sizes),
            "discernibility_per_row": float((sizes**2).sum() + gone * len(table)) / len(table),
            "suppressed_share": gone / len(table),
        } | spent
        told = {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in row.items()}
        with args.results.open("a") as file:
            file.write(json.dumps(told, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
