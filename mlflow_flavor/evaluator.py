"""The ``mlflow.models.evaluate`` plug-in: fidelity, utility and privacy of a generator.  Not written yet."""

from __future__ import annotations

from typing import Any

from mlflow.models.evaluation import EvaluationResult, ModelEvaluator


class SyntheticEvaluator(ModelEvaluator):  # type: ignore[misc]
    """Judges synthetic rows."""

    @classmethod
    def can_evaluate(cls, *, model_type: str, evaluator_config: Any, **kwargs: Any) -> bool:  # noqa: ANN401
        """Return whether the model is a generator of ours."""
        return model_type == "synthetic-tabular"

    def evaluate(self, **kwargs: Any) -> EvaluationResult:  # noqa: ANN401
        """Raise: not written yet."""
        raise NotImplementedError
