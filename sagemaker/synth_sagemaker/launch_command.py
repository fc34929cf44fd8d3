"""``synth sagemaker pipeline``, ``validate``, ``run-local`` and ``iam``: requests made, checked and executed here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from synth_components.steps.command import FieldText, common_options
from synth_sagemaker.iam import PREFIX
from synth_sagemaker.infrastructure import Platform
from synth_sagemaker.pipeline_command import asked, policies, print_mistakes, run, write_definition


def _platform_options() -> list[click.Option]:
    """Return an option for each field of the platform."""
    made = []
    for name, field in Platform.model_fields.items():
        shown = (
            "required"
            if field.is_required()
            else f"default: {field.default if field.default not in ('', (), {}) else 'empty'}"
        )
        made.append(
            click.Option(
                [f"--{name.replace('_', '-')}", name],
                type=FieldText(Platform, name),
                help=f"{field.description}  [{shown}, here or in FILE]",
            )
        )
    return made


_FILE = click.Argument(["file"], type=click.Path(path_type=Path), required=False)
_DATA = click.Option(["--data"], default="", help="s3:// prefix of the real rows.")


@click.command(
    params=[
        _FILE,
        *_platform_options(),
        _DATA,
        click.Option(["--schema"], default="", help="s3:// prefix of the declared schema, for split and training."),
        click.Option(["--target"], default="", help="Column that the gate's learners predict."),
        click.Option(
            ["--definition"],
            type=click.Path(dir_okay=False, path_type=Path),
            default=Path("pipeline.json"),
            show_default=True,
            help="Where the definition goes.",
        ),
        *common_options(),
    ]
)
def pipeline(
    *,
    file: Path | None,
    data: str,
    schema: str,
    target: str,
    definition: Path,
    **said: Any,  # noqa: ANN401
) -> None:
    """Write the definition of the pipeline: split, train, sample, judge, gate, then augment and register, or fail.

    FILE holds options by section: platform, split, train, gate, sample, utility, fidelity, privacy, augment,
    thresholds, flow, data, schema and overrides.
    """
    write_definition(asked(file, _said(said), data=data, target=target, schema=schema), definition)
    click.echo(f"definition: {definition}")


@click.command(params=[click.Argument(["file"], type=click.Path(path_type=Path)), *common_options()])
def validate(*, file: Path, **_: object) -> None:
    """Check the definition of a pipeline without AWS: names, parameters, references, order and every request."""
    print_mistakes(file)


@click.command(
    name="run-local",
    params=[
        click.Argument(["file"], type=click.Path(path_type=Path)),
        click.Option(
            ["--data"], type=click.Path(path_type=Path), help="File or folder that stands for the parameter DataUri."
        ),
        click.Option(
            ["--output"],
            type=click.Path(file_okay=False, path_type=Path),
            default=Path("synth-run"),
            show_default=True,
            help="Folder for all that jobs write; a run that was stopped goes on there.",
        ),
        click.Option(
            ["--runner"],
            type=click.Choice(["auto", "host", "docker"]),
            default="auto",
            show_default=True,
            help="Where jobs run: docker, in containers without network; host, as processes; auto takes Docker if a "
            "daemon answers that has the images.",
        ),
        click.Option(
            ["--parameter"], multiple=True, metavar="NAME=VALUE", help="Value of a parameter of the pipeline."
        ),
        click.Option(
            ["--stand-in"],
            multiple=True,
            metavar="IMAGE=LOCAL",
            help="What runs for an image: a local image, or with the runner host a command.",
        ),
        *common_options(),
    ],
)
def run_local(
    *,
    file: Path,
    data: Path | None,
    output: Path,
    runner: Any,  # noqa: ANN401 - a choice
    parameter: tuple[str, ...],
    stand_in: tuple[str, ...],
    **_: object,
) -> None:
    """Execute the definition of a pipeline on this machine, without AWS, and say where its reports are."""
    run(file, output, data=data, runner=runner, parameters=parameter, stand_ins=stand_in)


@click.command(
    params=[
        _FILE,
        *_platform_options(),
        _DATA,
        click.Option(["--input", "inputs"], multiple=True, help="s3:// prefix that jobs read, beside the real rows."),
        click.Option(
            ["--tracking"],
            default="",
            help="ARN of the MLflow server that finished jobs are logged to; empty for none.",
        ),
        click.Option(
            ["--prefix"],
            default=PREFIX,
            show_default=True,
            help="How the names begin of the jobs, models, endpoints and pipelines that may be made.",
        ),
        *common_options(),
    ]
)
def iam(
    *,
    file: Path | None,
    data: str,
    inputs: tuple[str, ...],
    prefix: str,
    tracking: str,
    **said: Any,  # noqa: ANN401
) -> None:
    """Print least-privilege policies as JSON: who may take the role on, what jobs may do, and who may start them."""
    made = policies(asked(file, _said(said), data=data), inputs, prefix=prefix, tracking=tracking)
    click.echo(json.dumps(made, indent=2))


def _said(given: dict[str, Any]) -> dict[str, str]:
    return {name: given[name] for name in Platform.model_fields if given.get(name) is not None}
