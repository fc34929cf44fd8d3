"""What a model folder can do to whoever loads it natively, and what it can tell of the training rows."""

import io
import json
import pickle
import pickletools
import shutil
from pathlib import Path
from unittest import mock

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import pyfunc

import mlflow_flavor
import synth_components as synth
from mlflow_flavor import flavor
from mlflow_flavor.signature import synthetic_example
from synth_components.errors import ArtifactError
from synth_components.toy import CANARY

DATA_FILES = ["schema.json", "ledger.json", "manifest.json", "sampler/schema.json"]


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "m"
    mlflow_flavor.save_model(model, path)
    return path


@pytest.fixture(scope="module")
def other(table, tmp_path_factory):
    """A sound model of another table."""
    path = tmp_path_factory.mktemp("other") / "m"
    mlflow_flavor.save_model(synth.fit(table[["age", "sex"]], generator="tabular.independent", seed=0), path)
    return path


@pytest.fixture
def path(saved, tmp_path):
    """A copy of the saved model, to be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "m"))


def edit(path, **changes):
    """Change what the MLmodel says of our flavor."""
    file = path / "MLmodel"
    value = yaml.safe_load(file.read_text())
    value["flavors"][mlflow_flavor.FLAVOR_NAME].update(changes)
    file.write_text(yaml.safe_dump(value))


def resign(path, **changes):
    """Change the manifest, and every digest over it, as someone would who can write all files."""
    from synth_components.io.artifact import _digest

    file = path / "model" / "manifest.json"
    value = {**json.loads(file.read_text()), **changes}
    value.pop("digest")
    file.write_text(json.dumps({**value, "digest": _digest(value)}))
    edit(path, manifest_sha256=flavor._sha256(file))


def refused(path, match):
    """See that the native loader refuses a folder with this message, and that the pyfunc does not load it either."""
    with pytest.raises(ArtifactError, match=match) as caught:
        mlflow_flavor.load_model(path)
    with pytest.raises(Exception):  # noqa: B017, PT011 - MLflow reads the MLmodel first, and raises what it raises
        pyfunc.load_model(str(path))
    return str(caught.value)


# Pickle --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_pickle(monkeypatch):
    """Forbid pickle as MLflow's switch does, and break it as well."""
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    forbidden = mock.Mock(side_effect=AssertionError("a pickle was read"))
    for name in ("load", "loads", "Unpickler", "_load", "_loads", "_Unpickler"):
        monkeypatch.setattr(pickle, name, forbidden)
    return forbidden


def test_r05_a_model_loads_with_pickle_forbidden_and_broken(model, saved, no_pickle):
    wanted = model.sample(20, seed=1)
    pd.testing.assert_frame_equal(mlflow_flavor.load_model(saved).sample(20, seed=1), wanted)
    served = pyfunc.load_model(str(saved)).predict(pd.DataFrame(), params={"num_rows": 20, "seed": 1})
    pd.testing.assert_frame_equal(served, wanted)
    no_pickle.assert_not_called()


def is_pickle(content):
    try:
        return any(opcode.name == "STOP" for opcode, _, _ in pickletools.genops(io.BytesIO(content)))
    except (ValueError, UnicodeDecodeError):
        return False


def test_r05_no_file_of_a_model_is_a_pickle_or_holds_one(model, tmp_path):
    mlflow_flavor.save_model(model, tmp_path / "m", input_example=synthetic_example(model))
    files = [file for file in (tmp_path / "m").rglob("*") if file.is_file()]
    assert len(files) > 8
    for file in files:
        content = file.read_bytes()
        assert not is_pickle(content), file.name
        assert not content.startswith((b"PK", b"\x80")), file.name
        assert not any(mark in content for mark in (b"\x80\x04\x95", b"\x80\x05\x95", b"c__builtin__", b"cbuiltins")), (
            file.name
        )


def test_the_scan_for_pickles_finds_one():
    assert all(is_pickle(pickle.dumps({"a": np.arange(3)}, protocol=protocol)) for protocol in range(6))


# Damage --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DATA_FILES)
@pytest.mark.parametrize("damage", ["cut", "flip", "remove"])
def test_r15_a_damaged_file_is_refused_by_its_name_with_the_remedy(path, name, damage):
    file = path / "model" / name
    content = bytearray(file.read_bytes())
    if damage == "remove":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    message = refused(path, name)
    assert "restore" in message or "copy the whole folder" in message


def test_a_damaged_array_is_refused_by_its_name(path):
    (file,) = list((path / "model" / "sampler").glob("*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    refused(path, f"'sampler/{file.name}' .* is damaged: its SHA-256 differs; restore the model")


def test_two_swapped_files_are_refused(path):
    one, two = path / "model" / "schema.json", path / "model" / "ledger.json"
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    refused(path, "is damaged: its SHA-256 differs")


def test_a_file_of_another_model_is_refused(path, other):
    shutil.copy(other / "model" / "schema.json", path / "model" / "schema.json")
    refused(path, "'schema.json' .* is damaged")


def test_the_whole_folder_of_another_model_is_refused(path, other):
    shutil.rmtree(path / "model")
    shutil.copytree(other / "model", path / "model")
    refused(path, "manifest.json .* is not the one that MLmodel was written with: it is damaged, or of another model")


def test_a_file_that_does_not_belong_is_refused(path):
    (path / "model" / "extra.json").write_text("{}")
    refused(path, r"files that do not belong to it: \['extra.json'\]")


DAMAGED = ["", "flavors: [", "flavors: 3", "- a", "\x00", "[" * 100_000, "a: !!int ''", "a: !!timestamp b"]


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_r15_a_damaged_mlmodel_is_refused(path, content):
    (path / "MLmodel").write_text(content)
    refused(path, "MLmodel in .* is damaged or cut short; restore the model")


@pytest.mark.parametrize(
    ("sound", "damaged"),
    [
        ("\n  python_function:\n", "\n  python_function: 3\n  cut:\n"),
        ("\n  python_function:\n", "\n  python_function: [a]\n  cut:\n"),
        ("\nutc_time_created: ", "\nutc_time_created: 2024-99-99 #"),
    ],
)
def test_r15_an_mlmodel_damaged_in_one_entry_is_refused(path, sound, damaged):
    text = (path / "MLmodel").read_text()
    assert sound in text
    (path / "MLmodel").write_text(text.replace(sound, damaged))
    with pytest.raises(ArtifactError, match=r"MLmodel in .* is damaged or cut short; restore the model"):
        mlflow_flavor.load_model(path)


@pytest.mark.parametrize("name", ["a\0b"])
def test_r15_a_folder_name_that_is_no_path_is_refused(path, name):
    edit(path, data=name)
    with pytest.raises(ArtifactError):
        mlflow_flavor.load_model(path)


@pytest.mark.parametrize("changes", [{"generator": "tabular.trees"}, {"format_version": 7}, {"generator": None}])
def test_r06_a_flavor_that_disagrees_with_the_manifest_is_refused(path, changes):
    edit(path, **changes)
    refused(path, f"MLmodel in .* and its manifest.json differ in .*{next(iter(changes))}.*; restore the whole folder")


def test_an_mlmodel_cut_anywhere_is_refused_with_a_message(path):
    text = (path / "MLmodel").read_text()
    for end in range(0, len(text) - 1, 25):
        (path / "MLmodel").write_text(text[:end])
        with pytest.raises(ArtifactError):
            mlflow_flavor.load_model(path)


def test_a_folder_without_mlmodel_is_refused(path):
    (path / "MLmodel").unlink()
    refused(path, "there is no MLflow model at .*: it has no MLmodel")


# Intent --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["../outside", "/outside", ".", "", "model/../../outside", None, 3])
def test_a_model_outside_of_the_folder_is_refused(path, tmp_path, data):
    (path / "model").rename(tmp_path / "outside")
    edit(path, data=str(tmp_path / "outside") if data == "/outside" else data)
    refused(path, "names a folder outside of the model for its model; do not trust this model")


def test_a_link_to_a_model_outside_is_refused(path, tmp_path):
    (path / "model").rename(tmp_path / "outside")
    (path / "model").symlink_to(tmp_path / "outside")
    refused(path, "names a folder outside of the model")


def test_a_link_within_the_model_is_refused(path, tmp_path):
    file = path / "model" / "schema.json"
    shutil.move(file, tmp_path / "schema.json")
    file.symlink_to(tmp_path / "schema.json")
    refused(path, "'schema.json' of the model .* is a link")


@pytest.mark.parametrize("name", ["../MLmodel.json", "/etc/x.json", "a/../../x.json"])
def test_a_manifest_that_names_files_outside_is_refused_even_if_every_digest_fits(path, name):
    resign(path, files={name: "0" * 64})
    refused(path, "manifest.json in .* names a file outside the folder; do not trust this model")


def test_code_outside_of_the_folder_is_refused_even_if_trusted(path, tmp_path):
    resign(path, generator="evil")
    edit(path, generator="evil", code="..")
    (tmp_path / "evil.py").write_text("raise SystemExit")
    with pytest.raises(ArtifactError, match="names a folder outside of the model for its code"):
        mlflow_flavor.load_model(path, trust=("evil",))


def test_a_foreign_loader_module_is_refused_and_not_imported(path):
    file = path / "MLmodel"
    file.write_text(file.read_text().replace("loader_module: mlflow_flavor", "loader_module: antigravity"))
    with pytest.raises(ArtifactError, match="loader_module that is not 'mlflow_flavor'; do not trust this model"):
        mlflow_flavor.load_model(path)


@pytest.mark.parametrize("generator", ["os", "antigravity", "tabular", "..os"])
def test_a_generator_that_is_no_generator_is_refused_and_not_imported(path, generator):
    resign(path, generator=generator)
    edit(path, generator=generator)
    refused(path, "which is not installed here")


def test_r06_a_newer_format_is_refused_by_its_name(path):
    resign(path, format_version=2)
    refused(path, "has format 2, newer than 1; update synth-components")


# What it tells -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted():
    """A table with a category, a number and a text that one row alone has, and rows unlike any other."""
    rng = np.random.default_rng(7)
    n = 400
    table = pd.DataFrame(
        {
            "city": rng.choice(["Rome", "Oslo", "Lima"], n),
            "income": rng.normal(50_000, 9_000, n),
            "name": [f"person-{i:04d}-{rng.integers(2**40):x}" for i in range(n)],
            "when": pd.Timestamp("2021-01-01") + pd.to_timedelta(rng.integers(0, 10**8, n), unit="s"),
        }
    )
    table.loc[0, "city"] = CANARY
    return table


@pytest.mark.parametrize("generator", ["tabular.gaussian_copula", "tabular.trees"])
def test_r10_no_training_row_stands_in_any_artifact(planted, generator):
    model = synth.fit(planted, generator=generator, seed=0)
    with mlflow.start_run() as run:
        info = mlflow_flavor.log_model(model, name="g", input_example=synthetic_example(model))
    folders = [mlflow.artifacts.download_artifacts(info.model_uri), run.info.artifact_uri.removeprefix("file://")]
    files = [file for folder in folders for file in Path(folder).rglob("*") if file.is_file()]
    content = b"\0".join(file.read_bytes() for file in files)
    assert len(files) > 8
    assert CANARY.encode() not in content
    for name in planted["name"]:
        assert name.encode() not in content
    for number in planted["income"]:
        assert repr(number).encode() not in content
        assert np.float64(number).tobytes() not in content
    for time in planted["when"]:
        assert str(time).encode() not in content
        assert time.isoformat().encode() not in content


def whole_rows(table, columns):
    """Return the rows of a table as a set; one without all of the columns has no whole row."""
    return set(table[columns].itertuples(index=False, name=None)) if set(columns) <= set(table) else set()


@pytest.mark.parametrize("columns", [["city", "income", "name", "when"], ["income"], ["when"], ["name", "income"]])
def test_r10_no_row_of_the_example_is_a_training_row(planted, columns):
    table = planted[columns]
    conditions, _ = synthetic_example(synth.fit(table, generator="tabular.independent", seed=0))
    assert len(conditions) == 2
    assert not whole_rows(conditions, columns) & whole_rows(table, columns)
    assert CANARY not in conditions.to_json()


def test_r10_the_example_of_a_table_of_one_categorical_has_values_of_training_rows_as_documented(planted):
    table = planted[["city"]]
    conditions, _ = synthetic_example(synth.fit(table, generator="tabular.independent", seed=0))
    assert whole_rows(conditions, ["city"]) <= whole_rows(table, ["city"])
    assert "may equal training rows" in " ".join(synthetic_example.__doc__.split())
