"""Synthetic data: train a generator, sample from it, judge the result.

    import synth_components as synth

    model = synth.fit(table)
    rows = model.sample(1000)
    report = synth.evaluate(table, synthetic=rows, target="income")

Everything is loaded when it is first asked for: importing the package loads nothing else.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

    from synth_components import errors as errors
    from synth_components.augment import augment as augment
    from synth_components.evaluation import Report as Report
    from synth_components.evaluation.options import JudgeConfig
    from synth_components.fitting import fit as fit
    from synth_components.generators import names as generators
    from synth_components.model import Model as Model
    from synth_components.model import load as load
    from synth_components.preserve import preserve as preserve
    from synth_components.profile import profile as profile
    from synth_components.protocols import Dataset
    from synth_components.schema import Schema as Schema
    from synth_components.specification import specify as specify

__all__ = [
    "Model",
    "Report",
    "Schema",
    "augment",
    "errors",
    "evaluate",
    "fit",
    "generators",
    "load",
    "preserve",
    "profile",
    "specify",
]

_HOMES = {
    "Model": "model",
    "Report": "evaluation",
    "Schema": "schema",
    "fit": "fitting",
    "load": "model",
    "specify": "specification",
}
"""The module of each name that is not a module's own."""

_CALLS = {"augment": "augment", "generators": "names", "preserve": "preserve", "profile": "profile"}
"""Modules that share their name with a function, and that function: ``synth.profile(table)`` calls it."""


def evaluate(
    train: DataFrame | Dataset | None,
    holdout: DataFrame | Dataset | None = None,
    synthetic: DataFrame | Dataset | None = None,
    *,
    target: str = "",
    schema: Schema | None = None,
    config: JudgeConfig | None = None,
    model: Model | None = None,
) -> Report:
    """Return the report on synthetic rows: fidelity, utility, privacy and validity, beside their floors.

    Args:
        train: The real rows that the model was trained on.  ``None`` judges all but privacy by the holdout alone.
        holdout: Real rows that it never saw.  ``None`` sets some of ``train`` aside, and the report says so.
        synthetic: The rows to judge.
        target: Column to predict, for utility.
        schema: The schema of all tables; ``None`` takes a dataset's own, or profiles ``train``.
        config: All further options; see ``synth_components.evaluation.EvaluateConfig``.
        model: The model that drew the rows, for the report to name: it is evidence on that model, and on no other.

    Raises:
        SchemaError: for a table that lacks a column, or a target that is none.
        DataError: for a table without rows, or without ``synthetic``.
    """
    from synth_components import evaluation
    from synth_components.errors import DataError

    if synthetic is None:
        raise DataError("there are no synthetic rows to judge; give them as `synthetic=`")
    chosen = evaluation.EvaluateConfig() if config is None else config
    return evaluation.evaluate(train, holdout, synthetic, schema=schema, config=chosen, target=target, model=model)


class _Callable(ModuleType):
    """A module that can be called."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - those of the function
        return self.__wrapped__(*arguments, **options)

    @property
    def __wrapped__(self) -> Any:  # noqa: ANN401 - `inspect.signature` and `help` follow it
        return getattr(self, _CALLS[self.__name__.rpartition(".")[2]])


class _Package(ModuleType):
    """This package: a submodule in ``_CALLS`` becomes callable as it is imported, whoever imports it."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _CALLS and type(value) is ModuleType:
            value.__class__ = _Callable
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'; it offers {', '.join(__all__)}")
    module = importlib.import_module(f"{__name__}.{_HOMES.get(name, name)}")
    return getattr(module, name) if name in _HOMES else module


def __dir__() -> list[str]:
    return sorted(__all__)
