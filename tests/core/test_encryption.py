"""Sealed files open with their key alone, show what was done to them, and leave no plain text behind."""

import base64
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.__main__ import main
from synth_components.encryption import sealed
from synth_components.encryption.confined import PREFIX, confined
from synth_components.encryption.key import KmsKey, LocalKey, read_key
from synth_components.encryption.sealed import CHUNK, MAGIC, is_sealed, rewrap, seal, unseal
from synth_components.errors import DataError, EncryptionError

pytest.importorskip("cryptography", reason="the extra encryption is not installed")

KEY, OTHER = LocalKey(bytes(range(32))), LocalKey(bytes(range(32, 0, -1)))
HEAD = len(MAGIC) + 2 * 2032 + 16
SECRET = "Zyzzogeton"
TABLE = pd.DataFrame({"name": [SECRET, "Rome"] * 50, "age": np.arange(100) % 7})
INDEPENDENT = ("--generator", "tabular.independent")


def sealed_bytes(content, key=KEY):
    target = io.BytesIO()
    seal(io.BytesIO(content), target, key)
    return target.getvalue()


def opened(content, key=KEY):
    return b"".join(unseal(io.BytesIO(content), key))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_what_is_sealed_opens_to_the_same_bytes(size):
    content = os.urandom(size)
    made = sealed_bytes(content)
    assert opened(made) == content
    assert len(made) == HEAD + size + 16 * max(1, -(-size // CHUNK))


def test_equal_contents_give_files_that_have_nothing_in_common():
    first, second = (sealed_bytes(SECRET.encode() * 100) for _ in range(2))
    assert SECRET.encode() not in first
    assert first[HEAD:] != second[HEAD:]


def chunks(content):
    return [content[start : start + CHUNK + 16] for start in range(HEAD, len(content), CHUNK + 16)]


@pytest.mark.parametrize(
    "change",
    [
        lambda head, parts: head + b"".join([*parts[:1], parts[1][:-1] + bytes([parts[1][-1] ^ 1]), *parts[2:]]),
        lambda head, parts: head + b"".join(parts[:-1]),
        lambda head, parts: head + b"".join(parts)[:-1],
        lambda head, parts: head + b"".join([parts[1], parts[0], parts[2]]),
        lambda head, parts: head + b"".join([parts[0], parts[0], parts[2]]),
        lambda head, parts: head + b"".join([*parts, parts[2]]),
        lambda head, parts: head[:-1] + bytes([head[-1] ^ 1]) + b"".join(parts),
        lambda head, parts: head,
        lambda head, parts: head[:100],
    ],
    ids=["flipped", "last gone", "byte gone", "reordered", "doubled", "added", "other name", "empty", "head cut"],
)
def test_chunks_that_were_changed_moved_doubled_added_or_cut_are_refused(change):
    content = sealed_bytes(os.urandom(2 * CHUNK + 10))
    with pytest.raises(EncryptionError):
        opened(change(content[:HEAD], chunks(content)))


def test_a_chunk_or_a_wrapped_key_of_another_file_is_refused():
    first, second = (sealed_bytes(os.urandom(2 * CHUNK)) for _ in range(2))
    with pytest.raises(EncryptionError):
        opened(first[:HEAD] + b"".join([chunks(first)[0], chunks(second)[1]]))
    slots = slice(len(MAGIC), len(MAGIC) + 2 * 2032)
    with pytest.raises(EncryptionError, match="tampered with, or is of another file"):
        opened(first[: slots.start] + second[slots] + first[slots.stop :])


def test_another_key_is_told_from_a_damaged_file():
    with pytest.raises(EncryptionError, match="encrypted with another key"):
        opened(sealed_bytes(b"x"), OTHER)
    with pytest.raises(EncryptionError, match="give that, not kms:"):
        opened(sealed_bytes(b"x"), KmsKey("alias/none"))


def test_a_new_key_leaves_the_payload_as_it_is_and_shuts_the_old_one_out(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(sealed_bytes(os.urandom(CHUNK)))
    before, inode = path.read_bytes(), path.stat().st_ino
    for old, new in ((KEY, OTHER), (OTHER, KEY), (KEY, OTHER)):
        rewrap(path, old, new)
        assert opened(path.read_bytes(), new) == opened(before)
        with pytest.raises(EncryptionError, match="another key"):
            opened(path.read_bytes(), old)
    assert path.read_bytes()[HEAD - 16 :] == before[HEAD - 16 :]
    assert path.stat().st_ino == inode


@pytest.mark.parametrize("writes", [0, 1])
def test_a_rotation_that_a_crash_cut_short_leaves_a_file_that_one_of_the_keys_opens(tmp_path, writes, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(sealed_bytes(b"content"))
    done = []

    def fail(handle):
        done.append(handle)
        if len(done) > writes:
            raise KeyboardInterrupt

    monkeypatch.setattr(sealed.os, "fsync", fail)
    with pytest.raises(KeyboardInterrupt):
        rewrap(path, KEY, OTHER)
    assert opened(path.read_bytes(), OTHER) == b"content"


def test_a_slot_that_was_not_written_to_its_end_does_not_count():
    content = sealed_bytes(b"content")
    second = len(MAGIC) + 2032
    torn = content[:second] + b'{"check": "0", "envelope": {"by"'.ljust(2032) + content[second + 2032 :]
    assert opened(torn) == b"content"


def test_a_key_is_32_bytes_as_they_are_in_hexadecimal_or_in_base64(tmp_path, monkeypatch):
    secret = bytes(range(32))
    forms = {
        "raw": secret,
        "hex": secret.hex().encode() + b"\n",
        "base64": b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    }
    for name, content in forms.items():
        (tmp_path / name).write_bytes(content)
        assert read_key(f"file:{tmp_path / name}") == read_key(str(tmp_path / name)) == KEY
    monkeypatch.setenv("MY_KEY", secret.hex())
    assert read_key("env:MY_KEY") == KEY
    assert read_key("kms:alias/x") == KmsKey("alias/x")
    assert secret.hex() not in repr(KEY)
    (tmp_path / "short").write_text("password")
    for text, said in (
        (f"{tmp_path / 'short'}", "is not 32 bytes"),
        ("env:NONE", "is not set"),
        ("file:none", "cannot be"),
    ):
        with pytest.raises(DataError, match=said):
            read_key(text)


TYPED = b"correct horse battery staple 321"


@pytest.mark.parametrize(
    "content",
    [
        TYPED,
        TYPED[1:] + b"\n",
        "Schl\u00fcssel f\u00fcr alle Modelle 26!".encode(),
        b"00112233445566778899aabbccddeeff",  # openssl rand -hex 16: half a key, and text
        TYPED.hex().encode(),
        base64.b64encode(TYPED),
    ],
    ids=["ascii", "line", "utf-8", "short hex", "hex of text", "base64 of text"],
)
@pytest.mark.parametrize("kind", ["file", "env"])
def test_a_text_of_32_letters_seals_nothing(kind, content, tmp_path, monkeypatch):
    """The name of the key stands in every sealed file: whoever has one tries a dictionary as fast as SHA-256 goes."""
    (tmp_path / "key").write_bytes(content)
    monkeypatch.setenv("MY_KEY", content.decode())
    key = read_key(f"file:{tmp_path / 'key'}" if kind == "file" else "env:MY_KEY")
    with pytest.raises(DataError, match=r"is text, as a pass phrase is.*openssl rand -hex 32") as raised:
        sealed_bytes(b"content", key=key)
    assert content.decode() not in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [
        bytes(32),
        b"00" * 32,
        b"hunter2".ljust(32, b"\0"),
        b"a pass phrase, longer".ljust(32, b"\0"),
        b"a pass phrase, longer".rjust(32, b"\x0b"),
        "pass phrase 1234".encode("utf-16-le"),
        "\u043f\u0430\u0440\u043e\u043b\u044c \u0438\u0437 \u0431\u0443\u043a\u0432!!".encode("utf-16-be"),
        "motdepasse tr\u00e8s secret facile 01".encode("latin-1"),
    ],
    ids=["zeros", "hex of zeros", "padded", "longer", "padded before", "utf-16", "cyrillic", "latin-1"],
)
def test_a_key_that_is_padded_text_or_of_few_bytes_seals_nothing(content, tmp_path):
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(DataError, match="which can be guessed"):
        sealed_bytes(b"content", key=read_key(f"file:{tmp_path / 'key'}"))


def test_random_keys_are_not_taken_for_text():
    rng = np.random.default_rng(0)
    for _ in range(20_000):
        LocalKey(rng.bytes(32)).require_strong()


def test_what_a_text_sealed_once_is_opened_and_rotated_and_nothing_new_is_sealed_with_it(folder, monkeypatch, capsys):
    Path("typed").write_bytes(TYPED)
    TABLE.to_csv("t.csv", index=False)
    with monkeypatch.context() as around:  # as an earlier version did
        around.setattr("synth_components.encryption.key._is_text", lambda _: False)
        assert main(["encrypt", "t.csv", "t.csv.sealed", "--encrypt-key", "file:typed"]) == 0
    capsys.readouterr()
    train = ["train", "--data", "t.csv.sealed", "--model", "model", *INDEPENDENT, "--encrypt-key", "file:typed"]
    with monkeypatch.context() as around:
        around.setattr("synth_components.fitting.fit", lambda *_, **__: pytest.fail("long work was begun"))
        assert main([*train, "--encrypt", "models"]) == 2
    assert "is text, as a pass phrase is" in capsys.readouterr().err
    assert main(train) == 0
    assert main(["rotate", "t.csv.sealed", "--encrypt-key", "file:typed", "--new-key", "file:key1"]) == 0
    assert main(["decrypt", "t.csv.sealed", "plain.csv", "--encrypt-key", "file:key1"]) == 0
    assert Path("plain.csv").read_bytes() == Path("t.csv").read_bytes()


def test_random_bytes_are_a_key_in_a_variable_too(tmp_path, monkeypatch):
    """A variable of the environment holds bytes, of which not all are UTF-8."""
    monkeypatch.setenv("MY_KEY", os.fsdecode(bytes(range(255, 223, -1))))
    assert read_key("env:MY_KEY") == LocalKey(bytes(range(255, 223, -1)))


def test_a_key_of_kms_wraps_opens_and_is_changed(monkeypatch, tmp_path):
    moto = pytest.importorskip("moto", reason="a tool of the tests is not installed")
    boto3 = pytest.importorskip("boto3", reason="the extra sagemaker is not installed")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }.items():
        monkeypatch.setenv(name, value)
    with moto.mock_aws():
        client = boto3.client("kms")
        first, second = (KmsKey(client.create_key()["KeyMetadata"]["KeyId"]) for _ in range(2))
        path = tmp_path / "x"
        path.write_bytes(sealed_bytes(b"content", first))
        assert opened(path.read_bytes(), first) == b"content"
        rewrap(path, first, second)
        assert opened(path.read_bytes(), second) == b"content"
        rewrap(path, second, KEY)
        assert opened(path.read_bytes()) == b"content"
        with pytest.raises(EncryptionError, match="AWS KMS refused to encrypt"):
            sealed_bytes(b"content", KmsKey("alias/none"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        Path(f"key{number}").write_text(bytes(range(160 + number, 192 + number)).hex())
    TABLE.to_csv("t.csv", index=False)
    return tmp_path


def left_over():
    return {path for place in ("/dev/shm", "/tmp") for path in Path(place).glob(f"{PREFIX}*")}


def test_a_model_is_saved_sealed_and_loaded_with_the_key_alone(folder, monkeypatch):
    model = synth.fit(TABLE, generator="tabular.independent", seed=0)
    monkeypatch.setenv("SYNTH_ENCRYPT", "models")
    with pytest.raises(EncryptionError, match="without a key"):
        model.save("model")
    monkeypatch.setenv("SYNTH_ENCRYPT_KEY", "file:key1")
    model.save("model")
    model.save("model")  # a sealed model is replaced as a plain one is
    assert [path.name for path in Path("model").iterdir()] == ["model.sealed"]
    assert synth.load("model").sample(20, seed=1).equals(model.sample(20, seed=1))
    monkeypatch.setenv("SYNTH_ENCRYPT_KEY", "file:key2")
    with pytest.raises(EncryptionError, match="cannot be opened: it was encrypted with another key"):
        synth.load("model")
    monkeypatch.delenv("SYNTH_ENCRYPT_KEY")
    with pytest.raises(EncryptionError, match="is encrypted; give the key"):
        synth.load("model")
    monkeypatch.setenv("SYNTH_ENCRYPT_KEY", "file:key1")
    content = bytearray(Path("model/model.sealed").read_bytes())
    content[-20] ^= 1
    Path("model/model.sealed").write_bytes(content)
    with pytest.raises(EncryptionError, match="was changed or cut short"):
        synth.load("model")


def test_steps_read_and_write_sealed_models_and_tables(folder, capsys):
    assert main(["encrypt", "t.csv", "t.csv.sealed", "--encrypt-key", "file:key1"]) == 0
    Path("t.csv").unlink()
    assert main(["train", "--data", "t.csv.sealed", "--model", "model", *INDEPENDENT]) == 2
    assert "is encrypted; give the key" in capsys.readouterr().err
    sealing = ("--encrypt-key", "file:key1", "--encrypt", "all")
    assert main(["train", "--data", "t.csv.sealed", "--model", "model", *INDEPENDENT, *sealing]) == 0
    assert main(["sample", "--model", "model", "--synthetic", "s.parquet", "--num-rows", "30", *sealing]) == 0
    assert is_sealed(Path("s.parquet"))
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]
    assert main(["decrypt", "s.parquet", "plain.parquet", "--encrypt-key", "file:key1"]) == 0
    assert set(pd.read_parquet("plain.parquet")["name"]) == {SECRET, "Rome"}
    assert main(["sample", "--model", "model", "--synthetic", "s.csv", "--encrypt-key", "file:key1"]) == 0
    assert not is_sealed(Path("s.csv"))


def test_the_command_changes_the_key_of_a_model_and_opens_it(folder, capsys):
    synth.fit(TABLE, generator="tabular.independent", seed=0).save("model")
    assert main(["encrypt", "model", "sealed", "--encrypt-key", "file:key1"]) == 0
    assert main(["encrypt", "model", "sealed", "--encrypt-key", "file:key1"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["rotate", "sealed", "--encrypt-key", "file:key1", "--new-key", "file:key2"]) == 0
    assert main(["rotate", "sealed", "--encrypt-key", "file:key1", "--new-key", "file:key2"]) == 2
    assert "another key" in capsys.readouterr().err
    assert main(["decrypt", "sealed", "plain", "--encrypt-key", "file:key2"]) == 0
    assert {path.name for path in Path("plain").iterdir()} == {path.name for path in Path("model").iterdir()}
    assert all((Path("plain") / path.name).read_bytes() == path.read_bytes() for path in Path("model").glob("*.json"))


def test_nothing_is_left_of_a_confined_folder_whatever_ends_its_block():
    with confined(1000) as folder:
        (folder / "plain").write_text(SECRET)
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()
    with pytest.raises(ZeroDivisionError), confined() as folder:
        _ = 1 / 0
    assert not folder.exists()


def test_nothing_is_left_of_a_confined_folder_after_a_kill():
    code = (
        "import sys, time\nfrom synth_components.encryption.confined import confined\n"
        "with confined() as folder:\n"
        "    (folder / 'plain').write_text('secret')\n    print(folder, flush=True)\n    time.sleep(60)\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    folder = Path(worker.stdout.readline().strip())
    assert (folder / "plain").exists()
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    for _ in range(200):
        if not folder.exists():
            break
        time.sleep(0.05)
    assert not folder.exists()


def test_a_killed_save_and_a_killed_load_leave_no_plain_text(folder):
    """At a moment in which the plain files are there: as they are packed to be sealed, and as the sampler is read."""
    before = left_over()
    code = """
import os, signal, sys, tarfile
import pandas as pd
import synth_components as synth
from synth_components.generators.tabular.independent import IndependentSampler

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[1] == "save":
    tarfile.TarFile.addfile = die
    synth.fit(pd.read_csv("t.csv"), generator="tabular.independent", seed=0).save("model")
else:
    IndependentSampler.load = die
    synth.load("sealed")
"""
    synth.fit(TABLE, generator="tabular.independent", seed=0).save("plain")
    assert main(["encrypt", "plain", "sealed", "--encrypt-key", "file:key1"]) == 0
    around = {**os.environ, "SYNTH_ENCRYPT": "models", "SYNTH_ENCRYPT_KEY": "file:key1"}
    for what in ("save", "load"):
        done = subprocess.run([sys.executable, "-c", code, what], env=around, check=False)
        assert done.returncode == -signal.SIGKILL
    for _ in range(200):
        if left_over() <= before:  # those of other processes come and go
            break
        time.sleep(0.05)
    else:
        pytest.fail("a folder of plain text is left")
    kept = [path for path in folder.rglob("*") if path.is_file() and "plain" not in path.parts and path.name != "t.csv"]
    assert kept
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]
