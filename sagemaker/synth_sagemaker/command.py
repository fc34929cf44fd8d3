"""``synth sagemaker ...``: be a job inside a container, make and check requests, run a pipeline on this machine.

This module is read whenever ``synth --help`` is asked for, with or without boto3 installed: it imports none of it.
"""

from __future__ import annotations

from pathlib import Path

import click

from synth_components.steps.command import common_options


@click.group()
def commands() -> None:
    """SageMaker jobs, endpoints and pipelines: run one here, make requests, or be one inside a container."""


@commands.command(name="compile", params=[*common_options()])
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for algorithms/; sagemaker, in a clone.",
)
def compile_algorithms(*, output: Path, **_: object) -> None:
    """Write the CreateAlgorithm request of every generator, and the table of hyperparameters."""
    from synth_sagemaker.algorithm import write

    write(output)
