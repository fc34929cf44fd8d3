"""A small table, and what Kubeflow Pipelines hands a container."""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synth_kubeflow.components import COMPONENTS
from synth_kubeflow.execute import METRICS, ROC, execute

HERE = Path(__file__).parent
OURS = r"(synth_kubeflow|mlflow_flavor|synth_components)(\.|$)"

with warnings.catch_warnings():  # pytest collects without the rule below, and kfp warns of its own age
    warnings.simplefilter("ignore")
    pytest.importorskip("kfp", reason="kfp comes with the extra kubeflow")

QUICK = {
    "replicates": 10, "detector_rows": 60, "detector_folds": 2, "manifold_rows": 60, "global_utility": False
}  # fmt: skip
"""Options of an evaluation that is over in a second."""


def pytest_collection_modifyitems(items):
    """Let kfp and MLflow warn on their own account; a warning of ours stays an error."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore", f"error:::{OURS}"))


@pytest.fixture(scope="session")
def quick():
    return QUICK


@pytest.fixture(scope="session")
def table():
    """Rows whose outcome the other columns predict."""
    rng = np.random.default_rng(0)
    age = rng.integers(20, 80, 240)
    return pd.DataFrame(
        {
            "age": age,
            "income": rng.normal(3e4, 5e3, 240).round(2),
            "city": rng.choice(["Rome", "Oslo", "Bonn"], 240),
            "outcome": np.where(age + rng.normal(0, 10, 240) > 50, "ill", "well"),
        }
    )


@pytest.fixture(scope="session")
def csv(table, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "real.csv"
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def made():
    """The text of every file that the code makes, by path below `kubeflow`."""
    from synth_kubeflow.compile import files

    return files()


@pytest.fixture(scope="session")
def executor_input():
    """A function that returns the executor input of a component, as kfp.local writes it: nothing has an ending."""

    def made(name, folder, inputs=None, /, **parameters):
        component = COMPONENTS[name]
        outs = [port for port, known in component.ports().items() if known.direction == "out"] + [METRICS]
        outs += [ROC] * component.has_roc
        artifacts = {}
        for port, paths in (inputs or {}).items():
            listed = paths if isinstance(paths, list) else [paths]
            artifacts[port] = {"artifacts": [{"name": port, "uri": str(path)} for path in listed]}
        return json.dumps(
            {
                "inputs": {"parameterValues": parameters, "artifacts": artifacts},
                "outputs": {
                    "artifacts": {
                        port: {"artifacts": [{"name": port, "uri": str(folder / port), "metadata": {}}]}
                        for port in outs
                    },
                    "outputFile": str(folder / "executor_output.json"),
                },
            }
        )

    return made


@pytest.fixture(scope="session")
def ran(tmp_path_factory, csv, executor_input):
    """Folders with what each component wrote, one after the other, each with the outputs of those before it."""
    root = tmp_path_factory.mktemp("tasks")

    def run(name, task, inputs=None, **parameters):
        execute(COMPONENTS[name], executor_input(name, root / task, inputs, **parameters))
        return root / task

    independent = {"generator": "tabular.independent"}
    parts = run("split_data", "split_data", {"data": csv}, share=0.4)
    rows = {"train": parts / "train", "holdout": parts / "holdout"}
    profiled = run("profile_data", "profile_data", {"data": rows["train"]}, max_rows=1000)
    model = run("train_generator", "train_generator", {"data": rows["train"]}, **independent) / "model"
    drawn = run("sample", "sample", {"model": model}, num_rows=150) / "synthetic"
    half = {"num_rows": 150, "num_shards": 2}
    shards = [
        run("sample_sharded", f"sample_sharded-{index}", {"model": model}, shard_index=index, **half)
        for index in range(2)
    ]
    run("merge_shards", "merge_shards", {"parts": [shard / "synthetic" for shard in shards]})
    run("keep_dataset", "keep_dataset", {"parts": drawn})
    run("preserve", "preserve", {"data": rows["train"], "synthetic": drawn})
    run("protect", "protect", {"data": drawn}, quasi_identifiers=["age"], sensitive={"outcome": "low"})
    judged = rows | {"synthetic": drawn}
    run("evaluate", "evaluate", judged | {"model": model}, target="outcome", **QUICK)
    fidelity = {name: QUICK[name] for name in ("replicates", "detector_rows", "detector_folds", "manifold_rows")}
    run("evaluate_fidelity", "evaluate_fidelity", judged, **fidelity)
    run("evaluate_tstr", "evaluate_tstr", judged, target="outcome", replicates=10, global_utility=False)
    run("evaluate_privacy", "evaluate_privacy", judged, replicates=10)
    searched = {"ranges": {"knots": [10, 50]}, "parameters": ["knots"], "trials": 1, "folds": 2}
    run("tune", "tune", {"data": rows["train"]}, **independent, **searched)
    audited = {"shadow_rows": 50, "shadows": 8, "records": 10}
    run("shadow_audit", "shadow_audit", {"data": rows["train"]}, **independent, **audited)
    run("validate", "validate", {"table": rows["train"]})
    specification = root / "specification"
    specification.write_text("columns:\n  age: {type: numeric, dtype: int64, low: 18, high: 90, places: 0}\n")
    run("specify", "specify", {"specification": specification})
    report = root / "evaluate" / "report"
    run("compliance", "compliance", {"data": drawn, "model": model, "reports": report}, preset="sox")
    run("select_best", "select_best", {"reports": [report, report], "models": [model, model]})
    run("gate", "gate", {"report": report}, min_quality=0.01)
    run("augment", "augment", {"data": rows["train"], "model": model}, factor=1.5)
    run("report", "report", {"report": report})
    run("export_to_sagemaker", "export_to_sagemaker", {"model": model})
    assert (profiled / "schema").is_file()
    return root
