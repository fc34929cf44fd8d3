"""Saved models: what they hold, and what loading refuses."""

import dataclasses
import json
import os
import shutil
import stat
import sys

import numpy as np
import pandas as pd
import pytest

from synth_components import Model, fit, load
from synth_components.constraints import Range
from synth_components.errors import ArtifactError
from synth_components.io import artifact
from synth_components.schema import Schema

SCHEMA = Schema.from_json(
    {
        "columns": {
            "age": {"type": "numeric", "dtype": "int64", "low": 0, "high": 99, "places": 0},
            "city": {"type": "categorical", "categories": ["A", "B"]},
        },
        "constraints": [{"type": "range", "column": "age", "low": 1}],
    }
)


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"age": rng.integers(1, 99, 200), "city": rng.choice(["A", "B"], 200)})
    return fit(table, generator="tabular.independent", schema=SCHEMA, seed=7)


@pytest.fixture
def saved(model, tmp_path):
    model.save(tmp_path / "model")
    return tmp_path / "model"


def rewrite(folder, change):
    """Change the manifest as somebody would who also knows how to mend its digest."""
    value = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    value.pop("digest")
    change(value)
    value["digest"] = artifact._digest(value)
    (folder / "manifest.json").write_text(json.dumps(value), encoding="utf-8")


def test_a_loaded_model_draws_the_same_rows(model, saved):
    pd.testing.assert_frame_equal(load(saved).sample(300, seed=1), model.sample(300, seed=1))


def test_a_loaded_model_has_the_same_schema_rules_manifest_and_ledger(model, saved):
    loaded = Model.load(saved)
    assert (loaded.schema, loaded.manifest) == (model.schema, model.manifest)
    assert loaded.schema.constraints == (Range(column="age", low=1),)
    assert loaded.ledger.to_json() == model.ledger.to_json()


def test_a_model_is_json_and_safetensors_each_with_its_hash(saved):
    manifest = json.loads((saved / "manifest.json").read_text(encoding="utf-8"))
    files = {p.relative_to(saved).as_posix() for p in saved.rglob("*") if p.is_file()}
    assert files == set(manifest["files"]) | {"manifest.json"}
    assert {p.rpartition(".")[2] for p in files} == {"json", "safetensors"}


def test_the_manifest_tells_where_the_model_comes_from(saved):
    manifest = json.loads((saved / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["format_version"] == 1
    assert manifest["generator"] == "tabular.independent"
    assert manifest["options"] == {"knots": 500, "min_category_count": 10}
    assert (manifest["seed"], manifest["rows"]) == (7, 200)
    assert manifest["privacy"]["theorem"] == "none"
    assert len(manifest["data_digest"]) == 64


def test_equal_fits_give_equal_bytes(model, tmp_path):
    for name in ("one", "two"):
        model.save(tmp_path / name)
    for path in (tmp_path / "one").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_a_flipped_byte_in_any_file_is_found(saved):
    for path in [p for p in saved.rglob("*") if p.is_file()]:
        good = path.read_bytes()
        for place in (0, len(good) // 2, len(good) - 2):
            path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
            with pytest.raises(ArtifactError):
                load(saved)
        path.write_bytes(good)
    load(saved)


def test_a_damaged_array_is_named(saved):
    path = saved / "sampler" / "marginals.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ArtifactError, match=r"sampler/marginals\.safetensors.*SHA-256"):
        load(saved)


def test_a_missing_file_is_named(saved):
    (saved / "ledger.json").unlink()
    with pytest.raises(ArtifactError, match=r"incomplete.*ledger\.json"):
        load(saved)


@pytest.mark.parametrize("name", ["extra.json", "sampler/code.py", ".hidden"])
def test_an_extra_file_is_named(saved, name):
    (saved / name).write_text("{}", encoding="utf-8")
    with pytest.raises(ArtifactError, match="do not belong"):
        load(saved)


@pytest.mark.parametrize(
    "name", ["../secret.json", "/etc/passwd.json", "sampler/../../x.json", "a\\b.json", "./schema.json"]
)
def test_a_path_outside_the_folder_is_refused(saved, name):
    rewrite(saved, lambda value: value["files"].update({name: "0" * 64}))
    with pytest.raises(ArtifactError, match="outside the folder"):
        load(saved)


def test_a_file_of_another_kind_is_refused_even_if_listed(saved):
    (saved / "sampler" / "x.pkl").write_bytes(b"")
    rewrite(saved, lambda value: value["files"].update({"sampler/x.pkl": "0" * 64}))
    with pytest.raises(ArtifactError, match="neither"):
        load(saved)


@pytest.mark.parametrize("name", ["schema.json", "manifest.json", "sampler"])
def test_a_symbolic_link_is_refused(saved, tmp_path, name):
    (saved / name).rename(tmp_path / "elsewhere")
    (saved / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="is a link"):
        load(saved)


def test_a_newer_format_asks_for_an_update(saved):
    rewrite(saved, lambda value: value.update(format_version=2, brand_new=True))
    with pytest.raises(ArtifactError, match=r"format 2, newer than 1; update"):
        load(saved)


def test_a_changed_manifest_is_found(saved):
    text = (saved / "manifest.json").read_text(encoding="utf-8")
    (saved / "manifest.json").write_text(text.replace('"seed": 7', '"seed": 8'), encoding="utf-8")
    with pytest.raises(ArtifactError, match="was changed"):
        load(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "other"}', "\u00e9"])
def test_a_folder_with_another_manifest_is_refused(saved, text):
    (saved / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(ArtifactError, match=r"not JSON|not a model"):
        load(saved)


def test_an_incomplete_manifest_is_refused(saved):
    rewrite(saved, lambda value: value.pop("generator"))
    with pytest.raises(ArtifactError, match="damaged"):
        load(saved)


def test_a_folder_without_manifest_is_not_a_model(tmp_path):
    with pytest.raises(ArtifactError, match="not a model"):
        load(tmp_path)


def test_a_path_without_a_folder_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no model folder"):
        load(tmp_path / "absent")


def test_an_unknown_generator_is_refused_and_never_imported(saved, tmp_path, monkeypatch):
    (tmp_path / "intruder.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    rewrite(saved, lambda value: value.update(generator="intruder"))
    with pytest.raises(ArtifactError, match=r"'intruder', which is not installed.*trust"):
        load(saved)


def test_a_trusted_generator_is_imported(saved, tmp_path, monkeypatch, model):
    code = "from synth_components.generators.tabular.independent import GENERATOR, SAMPLER\n"
    (tmp_path / "trusted_module.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    rewrite(saved, lambda value: value.update(generator="trusted_module"))
    loaded = load(saved, trust=("trusted_module",))
    pd.testing.assert_frame_equal(loaded.sample(5, seed=1), model.sample(5, seed=1))
    sys.modules.pop("trusted_module")


def test_a_sampler_that_cannot_be_read_is_an_artifact_error(saved):
    path = saved / "sampler" / "schema.json"
    path.write_text("{}", encoding="utf-8")
    rewrite(saved, lambda value: value["files"].update({"sampler/schema.json": artifact._sha256(path)}))
    with pytest.raises(ArtifactError, match="cannot be read by this version"):
        load(saved)


def test_saving_refuses_a_folder_that_holds_something_else(model, tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ArtifactError, match="no model"):
        model.save(tmp_path)
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_saving_replaces_such_a_folder_when_told_to(model, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").write_text("mine", encoding="utf-8")
    model.save(tmp_path / "model", overwrite=True)
    load(tmp_path / "model")


def test_saving_refuses_a_file(model, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ArtifactError, match="is a file"):
        model.save(tmp_path / "file", overwrite=True)


def test_saving_replaces_a_model_and_leaves_nothing_beside_it(model, saved):
    dataclasses.replace(model, schema=dataclasses.replace(model.schema, constraints=())).save(saved)
    assert load(saved).schema.constraints == ()
    assert [p.name for p in saved.parent.iterdir()] == ["model"]


def test_saving_fills_an_empty_folder(model, tmp_path):
    (tmp_path / "empty").mkdir()
    model.save(tmp_path / "empty")
    load(tmp_path / "empty")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_saving_fills_an_empty_folder_whose_parent_is_read_only(model, tmp_path):
    target = tmp_path / "mounted" / "model"
    target.mkdir(parents=True)
    target.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        model.save(target)
        load(target)
    finally:
        target.parent.chmod(stat.S_IRWXU)


def test_a_mounted_folder_is_filled_from_within(model, tmp_path, monkeypatch):
    target = tmp_path / "model"
    target.mkdir()
    inode = target.stat().st_ino
    monkeypatch.setattr(type(target), "is_mount", lambda self: self == target)
    model.save(target)
    model.save(target)
    assert target.stat().st_ino == inode
    load(target)


class Littering:
    """A sampler that writes what no model may hold."""

    schema = SCHEMA

    def save(self, directory):
        (directory / "rows.csv").write_text("secret", encoding="utf-8")


class Failing:
    """A sampler whose disk is full."""

    schema = SCHEMA

    def save(self, directory):
        (directory / "half.json").write_text("{", encoding="utf-8")
        raise OSError("no space left")


@pytest.mark.parametrize(("sampler", "error"), [(Littering(), ArtifactError), (Failing(), OSError)])
def test_a_save_that_fails_leaves_the_old_model_and_nothing_else(model, saved, sampler, error):
    with pytest.raises(error):
        dataclasses.replace(model, sampler=sampler).save(saved)
    load(saved)
    assert [p.name for p in saved.parent.iterdir()] == ["model"]


def test_a_model_can_be_moved(saved, tmp_path, model):
    shutil.copytree(saved, tmp_path / "copy")
    pd.testing.assert_frame_equal(load(tmp_path / "copy").sample(3, seed=1), model.sample(3, seed=1))


@pytest.mark.parametrize("name", ["manifest.json", "schema.json", "ledger.json", "sampler/schema.json"])
def test_json_that_is_nested_without_end_is_refused(saved, name):
    (saved / name).write_text("[" * 100_000, encoding="utf-8")
    if name != "manifest.json":
        rewrite(saved, lambda value: value["files"].update({name: artifact._sha256(saved / name)}))
    with pytest.raises(ArtifactError, match=r"not JSON|cannot be read"):
        load(saved)


def test_a_manifest_that_is_a_folder_is_no_model(saved):
    (saved / "manifest.json").unlink()
    (saved / "manifest.json").mkdir()
    with pytest.raises(ArtifactError, match="not a model"):
        load(saved)


@pytest.mark.parametrize("version", ["9", "1", 0, -1, 1.0, True, None])
def test_a_format_version_that_never_was_is_refused(saved, version):
    rewrite(saved, lambda value: value.update(format_version=version))
    with pytest.raises(ArtifactError, match="format_version"):
        load(saved)


@pytest.mark.parametrize("name", ["extra", "sampler/extra", "extra/within"])
def test_an_extra_empty_folder_is_named(saved, name):
    (saved / name).mkdir(parents=True)
    with pytest.raises(ArtifactError, match=rf"folders that do not belong.*{name}"):
        load(saved)


def test_a_schema_that_is_not_the_sampler_s_is_refused(saved):
    value = json.loads((saved / "schema.json").read_text(encoding="utf-8"))
    value["tables"]["table"]["age"]["high"] = 50
    (saved / "schema.json").write_text(json.dumps(value), encoding="utf-8")
    rewrite(saved, lambda value: value["files"].update({"schema.json": artifact._sha256(saved / "schema.json")}))
    with pytest.raises(ArtifactError, match="not that of its sampler"):
        load(saved)


def test_a_model_with_made_up_columns_fits_its_sampler(tmp_path):
    schema = Schema.from_json(
        {
            "columns": {
                "id": {"type": "key", "dtype": "object", "prefix": "c"},
                "note": {"type": "text", "nullable": True},
                "city": {"type": "categorical", "dtype": "object", "categories": ["A", "B"], "nullable": True},
            },
            "keys": {"table": ["id"]},
        }
    )
    rows = {"id": [f"c{i}" for i in range(40)], "note": ["x", None] * 20, "city": ["A", "B", None, "A"] * 10}
    fitted = fit(pd.DataFrame(rows, dtype=object), generator="tabular.independent", schema=schema, seed=0)
    fitted.save(tmp_path / "model")
    assert load(tmp_path / "model").schema == fitted.schema


@pytest.mark.parametrize("name", ["file.txt/m", "file.txt/m/deeper"])
def test_saving_below_a_file_is_refused(model, tmp_path, name):
    (tmp_path / "file.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"file\.txt is a file"):
        model.save(tmp_path / name)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": "synth_components.model", "files": 5}'])
def test_saving_over_a_damaged_manifest_of_somebody_else_is_refused(model, tmp_path, text):
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ArtifactError, match="no model"):
        model.save(tmp_path)
