"""The main job on real data that a dependency ships, for a first look."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from pydantic import Field

from synth_components.config import StepConfig
from synth_components.evaluation.options import EvaluateConfig
from synth_components.generators import DEFAULT
from synth_components.steps.places import claim
from synth_components.steps.port import OutDirectory
from synth_components.steps.record import write_json
from synth_components.steps.report_file import quality_of, read_report
from synth_components.steps.run import RunConfig, run
from synth_components.steps.sample import SampleConfig
from synth_components.steps.split import SplitConfig
from synth_components.steps.train import TrainConfig

if TYPE_CHECKING:
    from rich.table import Table

    from synth_components.evaluation.report import Report

_LOG = logging.getLogger(__name__)

TARGET = "diagnosis"

GLOBAL_COLUMNS = 4
"""Predicting each of the 31 columns in turn would take a third of the demonstration's minute."""

ABOUT = (
    "Breast Cancer Wisconsin (Diagnostic): 569 tumours, 30 measurements of cell nuclei each, and the diagnosis, "
    "benign or malignant (Street, Wolberg & Mangasarian 1993; shipped with scikit-learn)."
)


class DemoConfig(StepConfig):
    """What the demonstration trains and draws."""

    generator: str = Field(DEFAULT, description="Name of the generator; `synth generators` lists them.")
    num_rows: int = Field(
        427, ge=30, lt=2**53, description="Synthetic rows to draw; by default as many as it learns from."
    )
    seed: int = Field(0, ge=0, lt=2**53, description="Seed of split, fit and sample.")


def demo(config: DemoConfig, *, output: OutDirectory) -> None:
    """Show the whole way on a small table of health care, in under a minute.

    It leaves a model, synthetic rows and a report, and says what to look at next.

    Args:
        output: Where everything goes.
    """
    from rich.console import Console

    from synth_components.io.dataset import write_table

    claim(output)
    _LOG.info("%s", ABOUT)
    data = output / "real.csv"
    write_table(breast_cancer(), data)
    run(_way(config), data=data, output=output)
    write_json(output / "malignant.json", {TARGET: "malignant"})
    console = Console()
    found = read_report(output / "report.json")
    console.print(score_table(found))
    console.print(_next(output), markup=False, highlight=False, soft_wrap=True)


def breast_cancer() -> pd.DataFrame:
    """Return the table, with readable column names and the diagnosis in words."""
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer(as_frame=True)
    table = pd.DataFrame(bunch.data).rename(columns=lambda name: str(name).replace(" ", "_"))
    return table.assign(**{TARGET: [str(bunch.target_names[code]) for code in bunch.target]})


def score_table(report: Report) -> Table:
    """Return the scores of the whole table, each beside its floor and ideal, to print."""
    from rich.table import Table

    table = Table(
        title=f"Overall score {quality_of(report):.3f}",
        caption="floor: the same score of real rows that nobody trained on",
    )
    table.add_column("score", no_wrap=True)
    for name in ("value", "95 % interval", "floor", "ideal"):
        table.add_column(name, justify="right", no_wrap=True)
    for score in report.scores:
        if not score.subject:
            reach = "none" if score.interval is None else "{:.3f} to {:.3f}".format(*score.interval)
            cells = (f"{score.value:.3f}", reach, f"{score.floor:.3f}", f"{score.ideal:.3f}")
            table.add_row(score.name, *cells)
    return table


def _way(config: DemoConfig) -> RunConfig:
    return RunConfig(
        split=SplitConfig(share=0.25, seed=config.seed, stratify=TARGET),
        train=TrainConfig(generator=config.generator, seed=config.seed),
        sample=SampleConfig(num_rows=config.num_rows, seed=config.seed),
        evaluate=EvaluateConfig(target=TARGET, seed=config.seed, global_columns=GLOBAL_COLUMNS),
    )


def _next(output: Path) -> str:
    here = Path(os.path.relpath(sys.executable)) if Path(sys.executable).is_relative_to(Path.cwd()) else sys.executable
    synth = "synth" if shutil.which("synth") else f"{here} -m synth_components"
    return f"""
Look at:
  {output / "report.html"}        the report; open it in a browser
  {output / "synthetic.parquet"}  the synthetic rows
  {output / "model"}/             the model: JSON and arrays, no real row

Then try:
  # only malignant tumours
  {synth} sample --model {output / "model"} --conditions {output / "malignant.json"} \\
      --synthetic {output / "malignant.csv"} --num-rows 100
  # as many malignant as benign tumours to train on
  {synth} augment --data {output / "train.parquet"} --model {output / "model"} \\
      --augmented {output / "balanced.csv"} --mode balance --columns {TARGET}
  # your own table
  {synth} run --data your.csv --output synth-run"""
