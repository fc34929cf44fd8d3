"""A checkpoint is read back as it was written, belongs to one fit, and is replaced whole or not at all."""

import json

import numpy as np
import pytest

from synth_components.checkpoint import FILE, Checkpoint, member_folder, remove
from synth_components.errors import ArtifactError

ARRAYS = {"weights": np.arange(6, dtype=np.float32).reshape(2, 3), "state": np.array([3, 1], dtype=np.uint8)}


def test_it_is_read_back_as_it_was_written(tmp_path):
    state = Checkpoint(tmp_path / "state", "a")
    assert state.load() is None
    state.save({"old": np.zeros(1)}, {"step": 1})
    state.save(ARRAYS, {"step": 2, "best": 0.1})

    arrays, value = state.load()

    assert value == {"step": 2, "best": 0.1}
    assert {name: (held.dtype, held.tolist()) for name, held in arrays.items()} == {
        name: (held.dtype, held.tolist()) for name, held in ARRAYS.items()
    }
    assert [path.name for path in (tmp_path / "state").iterdir()] == [FILE]


def test_that_of_another_fit_is_refused(tmp_path):
    Checkpoint(tmp_path, "a").save(ARRAYS, {})
    with pytest.raises(ArtifactError, match="of another fit"):
        Checkpoint(tmp_path, "b").load()


@pytest.mark.parametrize("cut", [0, 20, -1])
def test_a_damaged_one_is_refused(tmp_path, cut):
    Checkpoint(tmp_path, "a").save(ARRAYS, {})
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[:cut])
    with pytest.raises(ArtifactError, match="damaged"):
        Checkpoint(tmp_path, "a").load()


def test_a_failed_save_leaves_the_last_one(tmp_path):
    state = Checkpoint(tmp_path, "a")
    state.save(ARRAYS, {"step": 1})
    with pytest.raises(ValueError, match="Out of range"):
        state.save(ARRAYS, {"step": float("nan")})
    assert state.load()[1] == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_removing_it_leaves_what_else_is_in_the_folder(tmp_path):
    folder = tmp_path / "state"
    Checkpoint(folder, "a").save(ARRAYS, {})
    (folder / "notes.json").write_text(json.dumps({}))
    remove(folder)
    assert [path.name for path in folder.iterdir()] == ["notes.json"]
    (folder / "notes.json").unlink()
    remove(folder)
    assert not folder.exists()
    remove(folder)


def test_removing_it_removes_the_state_of_each_member_too(tmp_path):
    folder = tmp_path / "state"
    for place in (folder, member_folder(folder, 0), member_folder(member_folder(folder, 1), 0)):
        Checkpoint(place, "a").save(ARRAYS, {})
    remove(folder)
    assert not folder.exists()
