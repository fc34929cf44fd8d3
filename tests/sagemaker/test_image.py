"""Requirement 2: what SageMaker starts in the image, read off its files; tests/containers looks at the images built.

Where it differs the design wins: two images by weight, no ENTRYPOINT, and status 2 for a verb that there is not.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from synth_components.__main__ import OK, USER_ERROR, main
from synth_sagemaker.layout import ROOT

CONTAINERS = Path(__file__).resolve().parents[2] / "containers"
VERBS = ("sample", "evaluate-tstr", "evaluate-fidelity", "evaluate-privacy", "augment")


@pytest.mark.parametrize("weight", ["core", "torch"])
def test_2_the_target_has_the_labels_trains_by_default_and_stays_root(weight):
    text = (CONTAINERS / f"{weight}.Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    stages = dict(re.findall(r"^FROM \S+ AS (\w+)\n(.*?)(?=^FROM |\Z)", text, re.MULTILINE | re.DOTALL))
    assert stages["sagemaker"].split() == [
        "LABEL",
        "com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true",
        "com.amazonaws.sagemaker.capabilities.multi-models=true",
    ]
    assert 'CMD ["train"]' in stages["labelled"]
    assert "ENTRYPOINT" not in text
    assert "USER" not in stages["labelled"] + stages["sagemaker"]


@pytest.mark.parametrize("verb", ["train", "serve"])
def test_2_the_verbs_of_sagemaker_become_our_process_so_that_signals_reach_it(verb, tmp_path):
    ours = tmp_path / "synth"
    ours.write_text('#!/bin/sh\necho $$ "$@"\n')
    ours.chmod(0o755)
    around = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with subprocess.Popen([CONTAINERS / "bin" / verb, "--quiet"], env=around, stdout=subprocess.PIPE, text=True) as run:
        said = run.stdout.read().split()
    assert said == [str(run.pid), "sagemaker", verb, "--quiet"]


@pytest.mark.parametrize("verb", VERBS)
def test_2_every_other_verb_is_a_processing_job(verb, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv(ROOT, str(tmp_path))
    assert main(["sagemaker", "process", verb, "--help"]) == OK
    assert f"Usage: synth sagemaker process {verb} " in capsys.readouterr().out
    assert not (tmp_path / "output/message").exists()


def test_2_an_unknown_verb_is_an_error_of_the_user(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv(ROOT, str(tmp_path))
    assert main(["sagemaker", "trian"]) == USER_ERROR
    assert "trian" in capsys.readouterr().err
    assert main(["sagemaker", "process", "trian"]) == USER_ERROR
    assert (tmp_path / "output/message").read_text().startswith("UserError: there is no step 'trian'")
