"""Write what pycanon measures of two generated tables: run by expect.sh in an environment of its own.

pycanon pins numpy, so that it cannot be a dependency of the tests; the tables and numbers that it gave are committed.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from pycanon import anonymity

HERE = Path(__file__).parent


def tables() -> dict[str, pd.DataFrame]:
    """Return a table of several classes, and one with a class of a single row."""
    rng = np.random.default_rng(20_261_128)
    n = 600
    patients = pd.DataFrame(
        {
            "age": rng.integers(0, 4, n) * 20,
            "sex": rng.choice(["f", "m"], n),
            "area": rng.choice(["north", "south", "west"], n, p=[0.6, 0.3, 0.1]),
            "illness": rng.choice(["flu", "cold", "asthma", "ulcer", "gout"], n, p=[0.4, 0.3, 0.15, 0.1, 0.05]),
            "cost": np.round(rng.lognormal(5, 1, n), 0),
        }
    )
    single = patients.head(80).copy()
    single.loc[0, "area"] = "east"
    return {"patients": patients, "single": single}


CASES = (
    ("two columns, a category", "patients", ["age", "sex"], ["illness"]),
    ("two columns, a number", "patients", ["age", "sex"], ["cost"]),
    ("three columns, both", "patients", ["age", "sex", "area"], ["illness", "cost"]),
    ("a class of one row", "single", ["sex", "area"], ["illness", "cost"]),
)


def measured(table: pd.DataFrame, given: list[str], hidden: list[str]) -> dict[str, object]:
    """Return pycanon's numbers."""
    c, _ = anonymity.recursive_c_l_diversity(table, given, hidden)
    sizes = table.groupby(given).size()
    return {
        "k": int(anonymity.k_anonymity(table, given)),
        "alpha": float(anonymity.alpha_k_anonymity(table, given, hidden)[0]),
        "l_distinct": int(anonymity.l_diversity(table, given, hidden)),
        "l_entropy": int(anonymity.entropy_l_diversity(table, given, hidden)),
        "c_recursive": None if np.isnan(c) else int(c),
        "t": float(anonymity.t_closeness(table, given, hidden)),
        "discernibility": int((sizes**2).sum()),
    }


def main() -> None:
    """Write the tables and expected.json beside this file."""
    held = tables()
    for name, table in held.items():
        table.to_csv(HERE / f"{name}.csv", index=False)
    cases = []
    for name, table, given, hidden in CASES:
        read = pd.read_csv(HERE / f"{table}.csv")
        cases.append(
            {"name": name, "table": table, "quasi_identifiers": given, "sensitive": hidden}
            | measured(read, given, hidden)
        )
    told = {"pycanon": version("pycanon"), "numpy": np.__version__, "cases": cases}
    (HERE / "expected.json").write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
