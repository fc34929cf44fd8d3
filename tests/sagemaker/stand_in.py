"""A job of a user's own, in an image of the user's own: here a process, which finds /opt/ml where SYNTH_ML_ROOT says.

It sums a column of a training channel into a model, and writes a report with the sum when it is a processing job.
"""

import json
import os
import sys
from pathlib import Path

ROOT = Path(os.environ.get("SYNTH_ML_ROOT", "/opt/ml"))


def train():
    said = json.loads((ROOT / "input/config/hyperparameters.json").read_text())
    hosts = json.loads((ROOT / "input/config/resourceconfig.json").read_text())["hosts"]
    channels = json.loads((ROOT / "input/config/inputdataconfig.json").read_text())
    assert hosts == ["algo-1"]
    assert channels["train"]["TrainingInputMode"] == "File"
    files = sorted((ROOT / "input/data/train").rglob("*.txt"))
    total = sum(int(line) for file in files for line in file.read_text().split())
    if total < 0:
        (ROOT / "output/failure").write_text("UserError: the sum is below 0")
        sys.exit(2)
    (ROOT / "model/total.json").write_text(json.dumps({"total": total, **said}))
    (ROOT / "output/data/note.txt").write_text("noted\n")


def judge(words):
    import tarfile

    with tarfile.open(ROOT / "processing/input/model/model.tar.gz") as tar:
        held = json.load(tar.extractfile("total.json"))
    assert "AWS_SECRET_ACCESS_KEY" not in os.environ
    folder = ROOT / "processing/output/report"
    (folder / "report.json").write_text(json.dumps({"values": {"total": held["total"]}, "words": words}))
    (folder / "report.html").write_text("<p>total</p>\n")
    if "--miss" in words:
        (ROOT / "output/message").write_text("ThresholdError: missed")
        sys.exit(3)


if __name__ == "__main__":
    with Path(os.environ["CALLS"]).open("a") as calls:
        calls.write(f"{sys.argv[1:]}\n")
    judge(sys.argv[2:]) if sys.argv[1:2] == ["judge"] else train()
