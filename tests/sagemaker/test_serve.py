"""``synth sagemaker serve`` as a process: endpoints, transform jobs and many models; requirement 8 of the suite."""

import concurrent.futures
import io
import json
import os
import tarfile

import pandas as pd
import pytest
from served import SECRET, serving, small_model

from synth_components.io import csv
from synth_components.io.archive import pack
from synth_components.io.json_lines import records

pytest.importorskip("fastapi")
pytestmark = pytest.mark.timeout(600)

JSON, CSV, NDJSON, LINES = "application/json", "text/csv", "application/x-ndjson", "application/jsonlines"
PARQUET = "application/x-parquet"
ATTRIBUTES = "X_Amzn_SageMaker_Custom_Attributes"
COMMAND = ("sagemaker", "serve")


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def root(model, tmp_path_factory):
    """A folder like ``/opt/ml`` with a model to serve, and more of them below ``models``."""
    folder = tmp_path_factory.mktemp("ml")
    model.save(folder / "model")
    for name in ("one", "two", "three"):
        (folder / "models" / name).mkdir(parents=True)
        model.save(folder / "models" / name / "model")
    (folder / "models" / "packed" / "model").mkdir(parents=True)
    pack(folder / "model", folder / "models" / "packed" / "model" / "model.tar.gz")
    return folder


def environment(root, **more):
    return {"SYNTH_ML_ROOT": str(root), "SAGEMAKER_BIND_TO_PORT": "PORT", **more}


@pytest.fixture(scope="module")
def endpoint(root, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("log"), *COMMAND, ready="/ping", env=environment(root)) as one:
        yield one


@pytest.fixture(scope="module")
def batch(root, tmp_path_factory):
    env = environment(root, SAGEMAKER_BATCH="true", SYNTH_SERVE_COLUMNS="sex, age", SYNTH_SERVE_SEED="11")
    with serving(tmp_path_factory.mktemp("log"), *COMMAND, ready="/ping", env=env) as one:
        yield one


def as_lines(table):
    return "".join(f"{record}\n" for record in records(table, place="x")).encode()


def as_csv(table, *, header=True):
    return csv.render(table, place="x", header=header)


def test_r8_ping_says_that_the_model_is_loaded(endpoint):
    """How long it takes, at most 50 ms, is a row of benchmarks/serving.py."""
    answer = endpoint.ask("/ping")
    assert (answer.status, answer.json) == (200, {})


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (CSV, as_csv),
        (LINES, as_lines),
        (NDJSON, as_lines),
        (JSON, lambda table: ("[\n" + ",\n".join(records(table, place="x")) + "\n]\n").encode()),
    ],
    ids=["csv", "jsonlines", "ndjson", "json"],
)
def test_r8_an_answer_has_the_bytes_of_model_sample_with_that_seed(endpoint, model, accept, expected):
    answer = endpoint.ask("/invocations", {"num_rows": 40, "seed": 9}, Accept=accept)
    assert (answer.status, answer.headers["content-type"]) == (200, accept)
    assert answer.body == expected(model.sample(40, seed=9))


def test_r8_parquet_holds_the_frame_of_model_sample(endpoint, model):
    answer = endpoint.ask("/invocations", {"num_rows": 40, "seed": 9}, Accept=PARQUET)
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(answer.body)), model.sample(40, seed=9))


def parquet(table):
    sink = io.BytesIO()
    table.to_parquet(sink)
    return sink.getvalue()


REQUESTS = pd.DataFrame({"age": [30, None, 50], "sex": ["F", "M", None]})


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (CSV, b"age,sex\n30,F\n,M\n50,\n"),
        (LINES, b'{"age": 30, "sex": "F"}\n{"sex": "M"}\n{"age": 50}\n'),
        (JSON, b'{"seed": 5, "conditions": [{"age": 30, "sex": "F"}, {"sex": "M"}, {"age": 50}]}'),
        (PARQUET, parquet(REQUESTS)),
    ],
    ids=["csv", "jsonlines", "json", "parquet"],
)
def test_r8_conditions_come_in_every_format_and_options_in_the_custom_attributes(endpoint, model, kind, body):
    headers = {ATTRIBUTES: '{"seed": 5, "columns": ["age", "sex", "city"]}'}
    answer = endpoint.ask("/invocations", body, Content_Type=kind, Accept=CSV, **headers)
    expected = model.sample(seed=5, conditions=REQUESTS.astype(object).where(REQUESTS.notna(), None))
    assert answer.body == as_csv(expected[["age", "sex", "city"]])
    assert json.loads(answer.headers["x-amzn-sagemaker-custom-attributes"]) == {"seed": 5}


def test_without_accept_the_answer_has_the_format_of_the_body(endpoint):
    for kind, body in ((CSV, b"sex\nF\n"), (LINES, b'{"sex": "F"}\n')):
        assert endpoint.ask("/invocations", body, Content_Type=kind).headers["content-type"] == kind
    assert endpoint.ask("/invocations", b"", Accept="*/*").headers["content-type"] == JSON


def test_custom_attributes_of_somebody_else_are_left_alone(endpoint):
    assert endpoint.ask("/invocations", b"", **{ATTRIBUTES: "c000b4f9-df62"}).status == 200


REFUSALS = [
    (400, b"{", {"Content_Type": JSON}),
    (400, {"conditions": {"city": SECRET + "x"}}, {}),
    (400, f"{SECRET}\n1\n".encode(), {"Content_Type": CSV}),
    (400, b"", {ATTRIBUTES: "{" + SECRET}),
    (400, b"", {ATTRIBUTES: json.dumps({SECRET: 1})}),
    (406, {}, {"Accept": "image/png"}),
    (413, {"num_rows": 100_001}, {}),
    (413, {"num_rows": 60_000}, {"Accept": JSON}),  # more than 6,291,456 bytes
    (413, b" " * 6_291_457, {"Content_Type": JSON}),
    (415, SECRET.encode(), {"Content_Type": "application/x-npy"}),
]


@pytest.mark.parametrize(
    ("status", "body", "headers"), REFUSALS, ids=[f"{said[0]}-{place}" for place, said in enumerate(REFUSALS)]
)
def test_r8_status_codes_are_typed_json_without_the_canary(endpoint, status, body, headers):
    answer = endpoint.ask("/invocations", body, **headers)
    assert (answer.status, answer.json["status"]) == (status, status)
    assert SECRET not in answer.body.decode()
    assert SECRET not in endpoint.log


def test_r8_what_passes_6_mb_points_to_the_processing_job(endpoint):
    answer = endpoint.ask("/invocations", {"num_rows": 60_000})
    assert "6,291,456 bytes" in answer.json["message"]
    assert "processing job of the step sample" in answer.json["message"]
    fitting = answer.json["max_rows"]
    answer = endpoint.ask("/invocations", {"num_rows": int(0.98 * fitting), "seed": 1})
    assert answer.status == 200
    assert len(answer.body) <= 6_291_456


def test_r8_eight_clients_at_once_get_what_eight_in_turn_get(endpoint):
    def asked(seed):
        return endpoint.ask("/invocations", {"num_rows": 300, "seed": seed}, Accept=CSV).body

    in_turn = [asked(seed) for seed in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(asked, range(8))) == in_turn


def test_r8_a_transform_job_gets_a_row_for_each_row_in_order_and_no_header(batch):
    parameters = batch.ask("/execution-parameters").json
    assert parameters == {"MaxConcurrentTransforms": 2, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 1}
    ages = [30, 40, 50, 60, 70] * 20
    bodies = {
        "plain": "".join(f"F,{age}\n" for age in ages),
        "header": "sex,age\n" + "".join(f"F,{age}\n" for age in ages),
    }
    for body in bodies.values():
        answer = batch.ask("/invocations", body.encode(), Content_Type=CSV, Accept=CSV)
        assert answer.status == 200, answer.body
        cells = [line.split(",") for line in answer.body.decode().splitlines()]
        assert [(int(row[1]), row[2]) for row in cells] == [(age, "F") for age in ages]
    lines = "".join(json.dumps({"age": age}) + "\n" for age in ages).encode()
    answer = batch.ask("/invocations", lines, Content_Type=LINES)
    assert [json.loads(line)["age"] for line in answer.body.splitlines()] == ages


def test_a_transform_job_is_repeatable_and_its_mini_batches_differ(batch):
    def asked(body):
        return batch.ask("/invocations", body, Content_Type=LINES).body

    first, other = b'{"sex": "F"}\n' * 5, b'{"sex": "F"}\n' * 6
    assert asked(first) == asked(first)
    assert asked(other).splitlines()[:5] != asked(first).splitlines()


def test_r8_many_models_are_loaded_listed_invoked_and_unloaded(root, model, tmp_path_factory):
    env = environment(root, SAGEMAKER_MULTI_MODEL="true")
    with serving(tmp_path_factory.mktemp("log"), *COMMAND, ready="/ping", env=env) as one:

        def load(name, place=None):
            url = str(root / "models" / (place or name) / "model")
            return one.ask("/models", {"model_name": name, "url": url})

        assert one.ask("/models").json == {"models": []}
        assert one.ask("/models/one/invoke", {}).status == 404
        assert [load(name).status for name in ("one", "two", "a/b.tar.gz", "one")] == [200, 200, 400, 409]
        assert load("a/b.tar.gz", "packed").status == 200
        told = {"modelName": "one", "modelUrl": str(root / "models" / "one" / "model")}
        assert one.ask("/models/one").json == told
        assert [entry["modelName"] for entry in one.ask("/models").json["models"]] == ["one", "two", "a/b.tar.gz"]
        page = one.ask("/models?limit=2").json
        assert len(page["models"]) == 2
        assert one.ask(f"/models?limit=2&next_page_token={page['nextPageToken']}").json["models"][0] == {
            "modelName": "a/b.tar.gz",
            "modelUrl": str(root / "models" / "packed" / "model"),
        }
        for name in ("two", "a%2Fb.tar.gz"):
            answer = one.ask(f"/models/{name}/invoke", {"num_rows": 30, "seed": 2}, Accept=CSV)
            assert answer.body == as_csv(model.sample(30, seed=2))
        assert one.ask("/models/two", method="DELETE").status == 200
        assert one.ask("/models/two", method="DELETE").status == 404
        assert one.ask("/models/two/invoke", {}).status == 404

        attacks = attack_archives(root / "models")
        for name in attacks:
            answer = load(name)
            assert (answer.status, answer.json["type"]) == (400, "ArtifactError"), name
        assert one.ask("/models", {"model_name": "x", "url": "/etc"}).status == 400
        assert one.ask("/models", {"model_name": "x", "url": str(root / "models" / ".." / "model")}).status == 400
        assert one.ask("/models", {"model_name": "x"}).status == 400
        assert not (root / "escaped").exists()
        assert one.ask("/models/one/invoke", {"num_rows": 1}).status == 200


def attack_archives(folder):
    """Write archives that no one should unpack, each under its name; return the names."""

    def entry(name, kind=tarfile.REGTYPE, size=0, link=""):
        member = tarfile.TarInfo(name)
        member.type, member.size, member.linkname = kind, size, link
        return member

    members = {
        "climbs": entry("../../escaped"),
        "absolute": entry("/tmp/escaped"),
        "link": entry("manifest.json", tarfile.SYMTYPE, link="/etc/passwd"),
        "device": entry("manifest.json", tarfile.CHRTYPE),
    }
    for name, member in members.items():
        (folder / name / "model").mkdir(parents=True)
        with tarfile.open(folder / name / "model" / "model.tar.gz", "w:gz") as tar:
            tar.addfile(member)
    (folder / "tampered").mkdir()
    (folder / "tampered" / "model").mkdir()
    source = folder / "one" / "model"
    for path in source.rglob("*"):
        target = folder / "tampered" / "model" / path.relative_to(source)
        if path.is_dir():
            target.mkdir()
        else:
            body = bytearray(path.read_bytes())
            if path.name == "schema.json":
                body[-2] ^= 1
            target.write_bytes(bytes(body))
    return [*members, "tampered"]


def test_r8_a_model_without_room_is_507_until_another_is_unloaded(root, tmp_path):
    from synth_components.limits import memory
    from synth_components.service.options import ServeConfig
    from synth_components.service.refusal import Refusal
    from synth_sagemaker.shelf import FIXED_BYTES, GROWTH, Shelf

    def urls(name):
        return str(root / "models" / name / "model")

    size = sum(path.stat().st_size for path in (root / "models" / "one").rglob("*") if path.is_file())
    each = FIXED_BYTES + GROWTH * size
    shelf = Shelf(root / "models", ServeConfig(), int(2.5 * each))
    with pytest.raises(Refusal) as raised:  # the process itself has more than that
        shelf.load("one", urls("one"))
    assert raised.value.status == 507

    used = memory()[0]
    before = pytest.MonkeyPatch()
    before.setattr("synth_sagemaker.shelf.memory", lambda: (0, used))
    try:
        shelf.load("one", urls("one"))
        shelf.load("two", urls("two"))
        for name in ("three", "packed"):
            with pytest.raises(Refusal) as raised:
                shelf.load("three", urls(name))
            assert raised.value.status == 507
        shelf.unload("one")
        shelf.load("three", urls("three"))
    finally:
        before.undo()
    assert list(shelf.urls()) == ["two", "three"]


def test_r8_a_model_counts_for_more_memory_than_it_takes(root):
    """Loading a model ten times grows the process by less than ten times what the shelf counts."""
    from synth_components.limits import memory
    from synth_components.service.options import ServeConfig
    from synth_sagemaker.shelf import Shelf

    shelf = Shelf(root / "models", ServeConfig(), 2**60)
    shelf.load("first", str(root / "models" / "one" / "model"))
    before = memory()[0]
    for number in range(10):
        shelf.load(str(number), str(root / "models" / "one" / "model"))
    assert memory()[0] - before < sum(shelf.get(str(number)).num_bytes for number in range(10))


def test_r8_it_stops_within_5_seconds_of_sigterm_with_status_0(root, tmp_path):
    with serving(tmp_path, *COMMAND, ready="/ping", env=environment(root)) as one:
        one.ask("/invocations", {"num_rows": 10})
        status, seconds = one.stop()
    assert status == 0
    assert seconds < 5
    assert "Traceback" not in one.log


def test_r8_who_finds_no_place_gets_503_and_the_endpoint_stays_healthy(root, tmp_path):
    env = environment(root, SYNTH_SERVE_CONCURRENCY="1", SYNTH_SERVE_QUEUE="0", SYNTH_SERVE_MAX_ROWS="40000")
    with serving(tmp_path, *COMMAND, ready="/ping", env=env) as one, concurrent.futures.ThreadPoolExecutor(8) as pool:
        body = {"num_rows": 20_000, "columns": ["age"], "seed": 1}
        answers = list(pool.map(lambda _: one.ask("/invocations", body, Accept=CSV), range(8)))
        assert {answer.status for answer in answers} == {200, 503}
        for answer in answers:
            if answer.status == 503:
                assert (answer.json["type"], answer.headers["retry-after"]) == ("Unavailable", "1")
        assert one.ask("/ping").status == 200
        assert one.ask("/invocations", body, Accept=CSV).status == 200


def test_the_environment_sets_the_options_and_the_port_of_sagemaker_wins():
    from synth_sagemaker.serve import options

    plain = options({})
    assert (plain.port, plain.max_answer_bytes, plain.max_request_bytes) == (8080, 6_291_456, 6_291_456)
    assert plain.answer_seconds == 60
    said = options({"SYNTH_SERVE_MAX_ROWS": "7", "SYNTH_SERVE_PORT": "1", "SAGEMAKER_BIND_TO_PORT": "9000"})
    assert (said.max_rows, said.port) == (7, 9000)


def test_no_container_memory_means_that_of_the_machine():
    from synth_sagemaker.serve import container_memory

    assert 0 < container_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
