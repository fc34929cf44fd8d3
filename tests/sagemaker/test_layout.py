"""The paths below /opt/ml."""

from pathlib import Path

import pytest

from synth_components.errors import DataError
from synth_components.steps import load
from synth_components.steps.port import ports
from synth_sagemaker.layout import CHANNELS, ROOT, Cluster, Layout


def test_the_layout_is_opt_ml_unless_the_environment_names_another(monkeypatch, tmp_path):
    monkeypatch.delenv(ROOT, raising=False)
    assert Layout.from_environment() == Layout(Path("/opt/ml"))
    monkeypatch.setenv(ROOT, str(tmp_path))
    assert Layout.from_environment().failure == tmp_path / "output" / "failure"


def test_every_input_of_training_has_a_channel():
    inputs = {name for name, port in ports(load("train")).items() if port.direction == "in"}
    assert inputs <= set(CHANNELS)


def test_config_is_empty_where_sagemaker_wrote_none(tmp_path):
    assert Layout(tmp_path).config("checkpointconfig") == {}


@pytest.mark.parametrize("text", ["[]", "{", '"a"'])
def test_config_refuses_what_is_no_map(tmp_path, text):
    (tmp_path / "input" / "config").mkdir(parents=True)
    (tmp_path / "input" / "config" / "hyperparameters.json").write_text(text)
    with pytest.raises(DataError, match="no JSON map"):
        Layout(tmp_path).config("hyperparameters")


def test_the_leader_is_the_first_of_the_sorted_hosts(opt_ml):
    """Requirement 6."""
    cluster = Layout(opt_ml(host="algo-2", hosts=["algo-2", "algo-10", "algo-1"])).cluster()
    assert (cluster.leader, cluster.is_leader, cluster.rank) == ("algo-1", False, 2)


def test_a_job_without_a_resource_config_is_its_own_leader(tmp_path):
    assert Layout(tmp_path).cluster() == Cluster(("algo-1",), "algo-1")
