"""A model without data is logged, registered and loaded like any other, with its promise."""

import mlflow
import pandas as pd

import mlflow_flavor
import synth_components as synth


def test_a_specified_model_is_registered_and_comes_back_with_epsilon_0():
    model = synth.specify({"columns": {"x": {"type": "numeric", "low": 0, "high": 9, "places": 0, "dtype": "int64"}}})
    with mlflow.start_run():
        mlflow_flavor.log_model(model, name="specified", registered_model_name="specified")
    back = mlflow_flavor.load_model("models:/specified/1")
    assert back.privacy.epsilon == 0.0
    assert back.ledger.entries == ()
    pd.testing.assert_frame_equal(back.sample(50, seed=1), model.sample(50, seed=1))
