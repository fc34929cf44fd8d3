"""A small model, and servers of it that run as long as the tests of a module."""

import pytest
from served import serving, small_model

TOKEN = "a-token-of-the-tests-0123456789"
OTHER = "another-token-of-the-tests-9876"


@pytest.fixture(scope="session")
def model():
    return small_model()


@pytest.fixture(scope="session")
def model_path(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "model"
    model.save(folder)
    return folder


@pytest.fixture(scope="session")
def server(model_path, tmp_path_factory):
    """An open server with small limits."""
    options = ("--max-rows", 20_000, "--max-answer-bytes", 2_000_000, "--max-request-bytes", 200_000)
    with serving(
        tmp_path_factory.mktemp("open"), "serve", model_path, "--port", "PORT", *options, ready="/health"
    ) as one:
        yield one


@pytest.fixture(scope="session")
def guarded(model_path, tmp_path_factory):
    """A server that wants tokens and counts requests."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "tokens").write_text(f"{TOKEN}\n{OTHER}\n")
    options = ("--token-file", folder / "tokens", "--rate", "0.01", "--burst", 4)
    with serving(folder, "serve", model_path, "--port", "PORT", *options, ready="/health") as one:
        yield one
