"""``synth sagemaker ...``: be a job inside a container, make and check requests, run a pipeline on this machine.

This module is read whenever ``synth --help`` is asked for, with or without boto3 installed: it imports none of it.
"""

from __future__ import annotations

import click


@click.group()
def commands() -> None:
    """SageMaker jobs, endpoints and pipelines: run one here, make requests, or be one inside a container."""
