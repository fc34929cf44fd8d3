"""Make an augmented table what the first-party XGBoost container reads: CSV, no header, the label first, numbers only.

Runs in the image of the pipeline, as a processing job of its own.
"""

import argparse
import os
from pathlib import Path

import pandas as pd

ROOT = Path(os.environ.get("SYNTH_ML_ROOT", "/opt/ml")) / "processing"


def main() -> None:
    """Read the rows, and write them with categories as numbers, in the order of their sorted names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", required=True)
    target = parser.parse_args().target
    parts = sorted((ROOT / "input" / "rows").rglob("*.parquet"))
    rows = pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True).drop(columns="provenance")
    numbers = rows.apply(
        lambda column: column if pd.api.types.is_numeric_dtype(column) else column.astype("category").cat.codes
    )
    ordered = numbers[[target, *(name for name in numbers if name != target)]]
    ordered.to_csv(ROOT / "output" / "train" / "train.csv", header=False, index=False)


if __name__ == "__main__":
    main()
