import mlflow
import pandas as pd

import mlflow_flavor


def test_a_logged_model_gives_the_rows_of_the_model(model):
    with mlflow.start_run():
        info = mlflow_flavor.log_model(model, name="g")
    wanted = model.sample(5, seed=1)
    pd.testing.assert_frame_equal(mlflow_flavor.load_model(info.model_uri).sample(5, seed=1), wanted)
    got = mlflow.pyfunc.load_model(info.model_uri).predict(pd.DataFrame(), params={"num_rows": 5, "seed": 1})
    pd.testing.assert_frame_equal(got, wanted)
