"""``mlflow models serve`` over HTTP: requirements 16 to 19 and 21, against a real server."""

import concurrent.futures
import json
import urllib.error
import urllib.request

import pytest

import mlflow_flavor

MAX_ROWS = 5_000

# Two programs start, MLflow's and the server: on a busy machine that takes more than a test may.
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    root = tmp_path_factory.mktemp("served") / "model"
    mlflow_flavor.save_model(model, root)
    return root


@pytest.fixture(scope="module")
def url(path, serve):
    config = {"SERVING_MODEL_CONFIG": json.dumps({"max_rows": MAX_ROWS})}
    with serve("-m", path, "--env-manager", "local", env=config) as url:
        yield url


def answer(url, body):
    """Return status and text."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/invocations", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=50) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def strict(text):
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def rows(url, body):
    status, text = answer(url, body)
    assert status == 200, text
    return strict(text)["predictions"]


@pytest.mark.parametrize(
    "free", [{"inputs": []}, {"instances": []}, {"dataframe_records": []}, {"dataframe_split": {"data": []}}]
)
def test_r16_a_seed_gives_the_rows_of_the_native_model(url, model, free):
    found = rows(url, {**free, "params": {"num_rows": 30, "seed": 7}})
    native = model.sample(30, seed=7)
    assert [row["income"] for row in found] == native["income"].tolist()
    assert [row["joined"] for row in found] == [at.isoformat() for at in native["joined"]]


def test_r16_without_a_seed_every_request_gives_fresh_rows(url):
    asked = {"inputs": [], "params": {"num_rows": 20}}
    assert len({answer(url, asked)[1] for _ in range(3)}) == 3


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": [{"hight": 1}, {"hight": 2}]},
        {"dataframe_records": [{"hight": 1, "age": 30}]},
        {"dataframe_split": {"columns": ["hight"], "data": [[1]]}},
        {"instances": [{"hight": 1}]},
        {"inputs": {"hight": [1]}},
        {"inputs": [], "params": {"hight": 3}},
    ],
)
def test_r17_an_unknown_column_or_param_is_refused_although_mlflow_drops_it(url, body):
    status, said = answer(url, body)
    assert status == 400
    assert "['hight']" in said
    assert "Traceback" not in said


def test_r17_each_row_of_conditions_gives_one_row_in_order(url):
    asked = [{"age": 30, "joined": "2020-02-03"}, {"age": None, "sex": "F"}, {}, {"age": 61.0, "active": True}]
    found = rows(url, {"dataframe_records": asked, "params": {"seed": 1}})
    assert len(found) == 4
    assert (found[0]["age"], found[0]["joined"]) == (30, "2020-02-03T00:00:00")
    assert found[1]["sex"] == "F"
    assert (found[3]["age"], found[3]["active"]) == (61, True)


def test_r17_a_refused_condition_names_its_column_and_what_it_takes(url):
    status, text = answer(url, {"inputs": [{"sex": "X"}]})
    refused = strict(text)
    assert (status, refused["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "column 'sex' takes one of its 2 categories" in refused["message"]
    assert "stack_trace" not in refused


@pytest.mark.parametrize("num_rows", [-1, MAX_ROWS + 1, 10**30, "3", 3.5, True])
def test_r18_a_wrong_num_rows_is_refused_without_a_stack_trace(url, num_rows):
    status, text = answer(url, {"inputs": [], "params": {"num_rows": num_rows}})
    assert status == 400
    assert "num_rows" in strict(text)["message"]
    assert "Traceback" not in text
    assert "stack_trace" not in text


def test_r18_a_table_of_conditions_above_the_cap_is_refused(url):
    status, text = answer(url, {"inputs": [{"age": 30}] * (MAX_ROWS + 1)})
    assert status == 400
    assert f"at most {MAX_ROWS}" in strict(text)["message"].rpartition("Error: ")[2]


@pytest.mark.parametrize(
    "body", [{"params": {"num_rows": 3}}, {"inputs": {"age": [[1, 2]]}}, {"inputs": [{"age": {}}]}, [1]]
)
def test_r18_a_body_that_is_no_request_is_refused_without_a_stack_trace(url, body):
    status, text = answer(url, body)
    assert status == 400
    assert "Traceback" not in text


def test_r19_the_answer_is_strict_json_with_null_for_what_is_missing(url):
    found = rows(url, {"inputs": [], "params": {"num_rows": 500, "seed": 0}})
    assert 0 < sum(row["score"] is None for row in found) < 500
    assert {type(row["age"]) for row in found} == {int}
    assert {type(row["active"]) for row in found} == {bool}


def test_r21_eight_clients_at_once_get_what_eight_in_turn_get(url):
    bodies = [{"inputs": [], "params": {"num_rows": 200 + i, "seed": i // 2}} for i in range(7)]
    bodies.append({"inputs": [{"age": 30 + i} for i in range(40)], "params": {"seed": 3}})
    in_turn = [answer(url, body) for body in bodies]
    with concurrent.futures.ThreadPoolExecutor(len(bodies)) as clients:
        at_once = list(clients.map(lambda body: answer(url, body), bodies))
    assert at_once == in_turn
    assert {status for status, _ in in_turn} == {200}


def test_a_request_may_name_the_columns_it_wants(url):
    assert list(rows(url, {"inputs": [], "params": {"num_rows": 1, "columns": ["sex", "age"]}})[0]) == ["sex", "age"]
