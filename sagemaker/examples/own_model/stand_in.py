"""In the place of the first-party XGBoost container, where it cannot be pulled: the same contract, other trees.

It reads the hyperparameters and the channel ``train`` as the container does, and refuses what the container refuses: a
header, a gap in the label, a hyperparameter that is missing.  Its model is scikit-learn's, described in JSON.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

ROOT = Path(os.environ.get("SYNTH_ML_ROOT", "/opt/ml"))


def main() -> None:
    """Train on the channel, and write the model and its accuracy on the training rows."""
    said = json.loads((ROOT / "input/config/hyperparameters.json").read_text())
    channel = json.loads((ROOT / "input/config/inputdataconfig.json").read_text())["train"]
    if "num_round" not in said:
        refuse("UserError: num_round is a required hyperparameter")
    if channel.get("ContentType") != "text/csv":
        refuse(f"UserError: {channel.get('ContentType')} is no content type of this stand-in")
    files = sorted((ROOT / "input/data/train").rglob("*.csv"))
    try:
        rows = np.vstack([np.loadtxt(file, delimiter=",", ndmin=2) for file in files])
    except ValueError:
        refuse("UserError: the file is no CSV of numbers without a header")
    label, features = rows[:, 0], rows[:, 1:]
    trees = HistGradientBoostingClassifier(
        max_iter=int(said["num_round"]), max_depth=int(said["max_depth"]), random_state=0
    )
    accuracy = float(trees.fit(features, label).score(features, label))
    told = {"stand_in": "xgboost", "rows": len(rows), "columns": rows.shape[1], "train_accuracy": accuracy}
    (ROOT / "model/xgboost-model.json").write_text(json.dumps(told) + "\n")
    sys.stdout.write(f"[0]#011train-error:{1 - accuracy:.5f}\n")  # how the container writes a metric


def refuse(reason: str) -> None:
    """End as the container does: the reason where SageMaker looks for it, and a status that is not 0."""
    (ROOT / "output/failure").write_text(reason)
    raise SystemExit(reason)


if __name__ == "__main__":
    main()
