"""``synth serve`` as a process: what it answers and what it refuses; no cell value stands in an error or a log."""

import concurrent.futures
import io
import json

import pandas as pd
import pytest
from served import SECRET

from synth_components.io import csv
from synth_components.io.json_lines import records
from synth_components.protocols import BLOCK_ROWS
from synth_components.schema import Schema

pytestmark = pytest.mark.timeout(600)

JSON, CSV, NDJSON, LINES = "application/json", "text/csv", "application/x-ndjson", "application/jsonlines"
PARQUET = "application/vnd.apache.parquet"


def as_lines(table):
    return "".join(f"{record}\n" for record in records(table, place="x")).encode()


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (CSV, lambda table: csv.render(table, place="x", header=True)),
        (LINES, as_lines),
        (NDJSON, as_lines),
        (JSON, lambda table: ("[\n" + ",\n".join(records(table, place="x")) + "\n]\n").encode()),
    ],
    ids=["csv", "jsonlines", "ndjson", "json"],
)
def test_r8_an_answer_is_byte_for_byte_what_model_sample_gives_with_that_seed(server, model, accept, expected):
    answer = server.ask("/sample", {"num_rows": 50, "seed": 7}, Accept=accept)
    assert (answer.status, answer.headers["content-type"]) == (200, accept)
    assert answer.body == expected(model.sample(50, seed=7))


def test_r8_a_parquet_answer_is_the_file_that_synth_sample_writes(server, model_path, model, tmp_path):
    from synth_components.__main__ import main

    file = tmp_path / "rows.parquet"
    assert (
        main(["sample", "--model", str(model_path), "--synthetic", str(file), "--num-rows", "50", "--seed", "7"]) == 0
    )
    answer = server.ask("/sample", {"num_rows": 50, "seed": 7}, Accept=PARQUET)
    assert answer.body == file.read_bytes()
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(answer.body)), model.sample(50, seed=7))


def test_a_stream_goes_on_over_blocks_with_the_bytes_of_model_sample(server, model):
    n = BLOCK_ROWS + 300
    answer = server.ask(f"/sample?num_rows={n}&seed=3&columns=id,age,joined", Accept=NDJSON)
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.body == as_lines(model.sample(n, seed=3)[["id", "age", "joined"]])


def test_without_a_seed_rows_are_fresh_and_the_answer_tells_how_to_have_them_again(server):
    first, second = (server.ask("/sample", {"num_rows": 20}) for _ in range(2))
    assert first.body != second.body
    again = server.ask("/sample", {"num_rows": 20, "seed": int(first.headers["x-synth-seed"])})
    assert again.body == first.body


def test_no_rows_may_be_asked_for(server):
    assert server.ask("/sample?num_rows=0").body == b"[]\n"
    assert server.ask("/sample?num_rows=0&columns=age", Accept=CSV).body == b"age\n"
    assert server.ask("/sample?num_rows=0", Accept=NDJSON).body == b""


def test_the_default_is_a_thousand_rows_as_json(server):
    assert len(server.ask("/sample").json) == 1_000


@pytest.mark.parametrize(
    ("conditions", "holds"),
    [
        ({"sex": "F"}, lambda rows: rows["sex"] == "F"),
        ({"age": {"low": 30, "high": 40}}, lambda rows: rows["age"].between(30, 40)),
        ({"age": {"low": 60}}, lambda rows: rows["age"] >= 60),
        ({"city": ["Rome", "Oslo"]}, lambda rows: rows["city"].isin(["Rome", "Oslo"])),
        ({"score": None}, lambda rows: rows["score"].isna()),
        ({"active": True, "sex": "M"}, lambda rows: rows["active"] & (rows["sex"] == "M")),
        ({"joined": {"low": "2021-01-01"}}, lambda rows: pd.to_datetime(rows["joined"]) >= "2021-01-01"),
        ({"wait": {"high": "P1D"}}, lambda rows: pd.to_timedelta(rows["wait"]) <= pd.Timedelta(1, "D")),
    ],
    ids=["value", "range", "open-range", "subset", "null", "two", "time", "time-span"],
)
def test_conditions_hold_for_every_row(server, conditions, holds):
    answer = server.ask("/sample", {"num_rows": 40, "seed": 1, "conditions": conditions})
    rows = pd.DataFrame(answer.json)
    assert len(rows) == 40
    assert holds(rows).all()


REQUESTS = pd.DataFrame({"age": [30, None, 50], "sex": ["F", "M", None]})


def parquet(table):
    sink = io.BytesIO()
    table.to_parquet(sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (CSV, b"age,sex\n30,F\n,M\n50,\n"),
        (LINES, b'{"age": 30, "sex": "F"}\n{"sex": "M"}\n{"age": 50, "sex": null}\n'),
        (JSON, b'[{"age": 30, "sex": "F"}, {"sex": "M"}, {"age": 50}]'),
        (JSON, b'{"conditions": [{"age": 30, "sex": "F"}, {"sex": "M"}, {"age": 50}]}'),
        (PARQUET, parquet(REQUESTS)),
    ],
    ids=["csv", "jsonlines", "array", "map", "parquet"],
)
def test_each_request_row_gives_one_row_in_order_and_null_is_free(server, model, kind, body):
    answer = server.ask("/sample?seed=5", body, Content_Type=kind, Accept=CSV)
    expected = model.sample(seed=5, conditions=REQUESTS.astype(object).where(REQUESTS.notna(), None))
    assert answer.body == csv.render(expected, place="x", header=True)


REFUSALS = [
    (400, "ConditionError", "/sample", {"conditions": {"height": 1}}, {}),
    (400, "ConditionError", "/sample", {"conditions": {"sex": SECRET}}, {}),
    (400, "ConditionError", "/sample", {"conditions": {"age": {"low": 50, "high": 20}}}, {}),
    (400, "ConditionError", "/sample", {"conditions": {"age": {"lowest": 50}}}, {}),
    (400, "ConditionError", "/sample", {"conditions": {"id": 3}}, {}),
    (400, "ConditionError", "/sample", {"columns": [SECRET]}, {}),
    (400, "ConditionError", "/sample", {"num_rows": 4, "conditions": [{"sex": "F"}]}, {}),
    (400, "ConditionError", "/sample", f"{SECRET},F\n30,M\n".encode(), {"Content_Type": CSV}),
    (400, "DataError", "/sample", {"conditions": 3}, {}),
    (400, "DataError", "/sample", b"{", {"Content_Type": JSON}),
    (400, "DataError", "/sample", b"[" * 100_000, {"Content_Type": JSON}),
    (400, "DataError", "/sample", b'{"seed": NaN}', {"Content_Type": JSON}),
    (400, "DataError", "/sample", b"PAR1" + SECRET.encode(), {"Content_Type": PARQUET}),
    (400, "DataError", "/sample", b"age,sex\n1\n", {"Content_Type": CSV}),
    (400, "DataError", "/sample", b"age,age\n1,2\n", {"Content_Type": CSV}),
    (400, "DataError", "/sample", b"\xff\xfeage", {"Content_Type": CSV}),
    (400, "DataError", "/sample", b'{"age": 1}\n[]\n', {"Content_Type": LINES}),
    (400, "ConfigError", "/sample", {SECRET: 1}, {}),
    (400, "ConfigError", "/sample", {"num_rows": SECRET}, {}),
    (400, "ConfigError", "/sample", {"num_rows": -1}, {}),
    (400, "ConfigError", "/sample", {"seed": 2**60}, {}),
    (400, "ConfigError", f"/sample?{SECRET}=1", None, {}),
    (404, "NotFound", f"/{SECRET}", None, {}),
    (405, "MethodNotAllowed", "/schema", b"", {}),
    (406, "NotAcceptable", "/sample", {}, {"Accept": f"text/{SECRET}"}),
    (413, "TooLarge", "/sample", {"num_rows": 20_001}, {}),
    (413, "TooLarge", "/sample?num_rows=10000001", None, {"Accept": NDJSON}),
    (413, "TooLarge", "/sample?num_rows=19000", None, {"Accept": JSON}),
    (413, "TooLarge", "/sample", b"age\n" + b"30\n" * 20_001, {"Content_Type": CSV}),
    (413, "TooLarge", "/sample", parquet(pd.DataFrame({"age": [30] * 50_000})), {"Content_Type": PARQUET}),
    (413, "TooLarge", "/sample", b" " * 200_001, {"Content_Type": JSON}),
    (415, "UnsupportedMediaType", "/sample", SECRET.encode(), {"Content_Type": "text/plain"}),
    (415, "UnsupportedMediaType", "/sample", b"x", {"Content_Type": JSON, "Content_Encoding": "gzip"}),
]


@pytest.mark.parametrize(
    ("status", "kind", "path", "body", "headers"),
    REFUSALS,
    ids=[f"{kind}-{number}" for number, (_, kind, *_) in enumerate(REFUSALS)],
)
def test_r8_a_refusal_has_its_status_and_typed_json_without_the_canary(server, status, kind, path, body, headers):
    answer = server.ask(path, body, **headers)
    assert (answer.status, answer.json["type"], answer.json["status"]) == (status, kind, status)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["message"]
    assert SECRET not in answer.body.decode()
    assert SECRET not in server.log


def test_r8_too_many_rows_point_to_the_step_that_draws_them(server):
    answer = server.ask("/sample", {"num_rows": 10**9})
    assert answer.status == 413
    assert "synth sample" in answer.json["message"]
    assert answer.json["max_rows"] == 20_000


def test_a_condition_that_is_refused_names_its_column_and_what_it_takes(server):
    answer = server.ask("/sample", {"conditions": {"age": 1000}})
    assert answer.json["columns"] == ["age"]
    assert "column 'age' takes a whole number within the bounds" in answer.json["message"]


@pytest.mark.parametrize(
    ("accept", "found"),
    [
        ("text/csv;q=0.5, application/jsonlines", LINES),
        ("text/html, */*;q=0.1", JSON),
        ("text/*", CSV),
        ("application/json;q=0, text/csv", CSV),
        ("application/x-parquet", "application/x-parquet"),
    ],
)
def test_the_caller_gets_the_format_that_it_likes_best(server, accept, found):
    assert server.ask("/sample?num_rows=1", Accept=accept).headers["content-type"] == found


def test_schema_and_privacy_of_the_model_are_told(server, model):
    assert Schema.from_json(server.ask("/schema").json) == model.schema
    promise = server.ask("/privacy").json
    assert promise["epsilon"] is None  # no promise
    assert promise["unit"] == model.privacy.unit
    assert promise["holds_rows"] is False


def test_r8_eight_clients_at_once_get_what_eight_in_turn_get(server):
    def asked(seed):
        return server.ask("/sample", {"num_rows": 400, "seed": seed, "conditions": {"sex": "F"}}, Accept=CSV).body

    in_turn = [asked(seed) for seed in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        at_once = list(pool.map(asked, range(8)))
    assert at_once == in_turn
    assert len(set(in_turn)) == 8


def test_the_log_has_a_line_for_each_request_and_no_value_of_it(server):
    server.ask("/sample", {"num_rows": 1, "conditions": {"city": SECRET}})
    server.ask(f"/sample?num_rows=1&columns={SECRET}")
    assert server.has_logged("POST /sample 200, ")
    assert server.has_logged("GET /sample 400, ")
    assert SECRET not in server.log


def test_the_openapi_document_is_valid_and_describes_every_path(server):
    from openapi_spec_validator import validate

    document = server.ask("/openapi.json").json
    validate(document)
    assert set(document["paths"]) == {"/health", "/privacy", "/sample", "/schema"}
    sample = document["paths"]["/sample"]["post"]
    assert set(sample["responses"]) == {"200", "400", "401", "406", "408", "413", "415", "429", "500", "503"}
    assert {JSON, CSV, NDJSON, PARQUET} <= set(sample["requestBody"]["content"])
    assert {JSON, CSV, NDJSON, PARQUET} <= set(sample["responses"]["200"]["content"])


def test_the_example_of_the_openapi_document_is_answered(server):
    document = server.ask("/openapi.json").json
    (example,) = document["components"]["schemas"]["SampleRequest"]["examples"]
    assert len(server.ask("/sample", json.dumps(example).encode(), Content_Type=JSON).json) == example["num_rows"]
