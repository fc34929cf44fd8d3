"""Add two steps to a pipeline's definition: prepare the augmented rows, and train XGBoost on them.

python own_model.py pipeline.json own.json --target outcome --image XGBOOST_IMAGE
"""

from __future__ import annotations

import argparse
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

from synth_sagemaker.pipeline import output_of

PREPARE = "/opt/ml/processing/input/code/prepare.py"
_OF_OUR_STEPS = ("synth:config-digest", "synth:personal-data", "synth:version")


def with_own_model(definition: dict[str, Any], *, target: str, image: str) -> dict[str, Any]:
    """Return the definition with the steps ``Prepare`` and ``TrainOwnModel`` where the gate is passed.

    Both have what guards the steps that are there already: role, keys, VPC and isolation.  On spot capacity the
    training step has checkpoints of its own.  Both are tagged as what they are: jobs on real rows, without our options.
    """
    made = deepcopy(definition)
    made["Parameters"].append({"Name": "CodeUri", "Type": "String"})
    steps = {step["Name"]: step for step in made["Steps"]}
    passed = steps["Gate"]["Arguments"]["IfSteps"]
    augment = next(step for step in passed if step["Name"] == "Augment")
    passed += [_prepare(augment, target), _train(steps["Train"], image)]
    return made


def _prepare(augment: dict[str, Any], target: str) -> dict[str, Any]:
    step = deepcopy(augment)
    step["Name"] = "Prepare"
    asked = step["Arguments"]
    # The image of the pipeline has pandas; its Python is the entry point, so nothing is installed in the job.
    asked["AppSpecification"] = {
        "ImageUri": asked["AppSpecification"]["ImageUri"],
        "ContainerEntrypoint": ["python3", PREPARE],
        "ContainerArguments": ["--target", target],
    }
    asked["ProcessingInputs"] = [
        _input("rows", output_of("Augment", "augmented")),
        _input("code", {"Get": "Parameters.CodeUri"}),
    ]
    (output,) = asked["ProcessingOutputConfig"]["Outputs"]
    output["OutputName"] = "train"
    output["S3Output"]["LocalPath"] = "/opt/ml/processing/output/train"
    output["S3Output"]["S3Uri"]["Std:Join"]["Values"][-2:] = ["Prepare", "train"]
    asked["Tags"] = _tags(asked["Tags"])
    return step


def _train(train: dict[str, Any], image: str) -> dict[str, Any]:
    step = deepcopy(train)
    step["Name"] = "TrainOwnModel"
    asked = step["Arguments"]
    asked["AlgorithmSpecification"] = {"TrainingImage": image, "TrainingInputMode": "File"}
    asked["HyperParameters"] = {"num_round": "50", "max_depth": "4", "objective": "binary:logistic"}
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": output_of("Prepare", "train"),
        "S3DataDistributionType": "FullyReplicated",
    }
    asked["InputDataConfig"] = [
        {"ChannelName": "train", "ContentType": "text/csv", "DataSource": {"S3DataSource": source}, "InputMode": "File"}
    ]
    if "CheckpointConfig" in asked:  # what lies where the generator keeps its own would be read as this model's
        asked["CheckpointConfig"]["S3Uri"]["Std:Join"]["Values"][1] = "own-model-checkpoints"
    asked.pop("Environment", None)  # that of our image
    asked["Tags"] = _tags(asked["Tags"])
    return step


def _tags(tags: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the tags of a step on augmented rows: real ones are among them, however private the generator is."""
    kept = [tag for tag in tags if tag["Key"] not in _OF_OUR_STEPS]
    return [*kept, {"Key": "synth:personal-data", "Value": "true"}]


def _input(name: str, uri: dict[str, str]) -> dict[str, Any]:
    place = {
        "S3Uri": uri,
        "LocalPath": f"/opt/ml/processing/input/{name}",
        "S3DataType": "S3Prefix",
        "S3InputMode": "File",
    }
    return {"InputName": name, "S3Input": place}


def main() -> None:
    """Read a definition and write it with the two steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("definition", type=Path)
    parser.add_argument("own", type=Path)
    parser.add_argument("--target", required=True)
    parser.add_argument("--image", required=True)
    said = parser.parse_args()
    made = with_own_model(json.loads(said.definition.read_text()), target=said.target, image=said.image)
    said.own.write_text(json.dumps(made, indent=2) + "\n")


if __name__ == "__main__":
    main()
