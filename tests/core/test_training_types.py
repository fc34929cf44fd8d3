"""What `fit` makes of the types of a training table: they come back from sampling, or the table is refused."""

import pandas as pd
import pyarrow as pa
import pytest

from synth_components.errors import SchemaError
from synth_components.fitting import fit
from synth_components.model import Model
from synth_components.schema import Boolean, Categorical, Numeric, Schema


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (Boolean(dtype="object", nullable=True), ["True", "False", None]),
        (Categorical(dtype="object", nullable=True, categories=("A", "B")), ["C", "D", None]),
        (Categorical(dtype="object", nullable=True, categories=(1, 2)), ["1", "2", None]),
    ],
    ids=repr,
)
def test_column_without_any_value_of_its_profiled_schema_is_refused_rather_than_learned_as_null(column, values):
    table = pd.DataFrame({"x": pd.Series(values * 50, dtype=object), "k": range(len(values) * 50)})
    schema = Schema({"table": {"x": column, "k": Numeric(dtype="int64")}})

    with pytest.raises(SchemaError, match=r"column 'x' .* none that its schema lists"):
        fit(table, generator="tabular.independent", schema=schema, seed=0)


def test_column_without_any_value_may_be_learned_as_null():
    table = pd.DataFrame({"x": pd.Series([None] * 50, dtype=object), "k": range(50)})
    schema = Schema({"table": {"x": Boolean(dtype="object", nullable=True), "k": Numeric(dtype="int64")}})

    assert fit(table, generator="tabular.independent", schema=schema, seed=0).sample(20, seed=0)["x"].isna().all()


TEXTS = {
    "category": ["a", "b", None] * 50,
    "e-mail": [f"person.{i}@mail.test" if i % 3 else None for i in range(150)],
    "free text": [f"note {i * i} on {i}" for i in range(150)],
    "key": [f"card-{i:06d}" if i % 3 else None for i in range(150)],
}
DTYPES = {
    "python": pd.StringDtype("python"),
    "pyarrow": pd.StringDtype("pyarrow"),
    "arrow": pd.ArrowDtype(pa.string()),
}


@pytest.mark.parametrize("values", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_a_sample_has_the_text_storage_of_the_training_table(values, dtype, tmp_path):
    table = pd.DataFrame({"x": pd.Series(values, dtype=dtype), "k": [1, 2] * 75})

    made = fit(table, generator="tabular.independent", seed=0)
    made.save(tmp_path / "m")

    assert made.sample(20, seed=0)["x"].dtype == table["x"].dtype
    assert Model.load(tmp_path / "m").sample(20, seed=0)["x"].dtype == table["x"].dtype


def test_declared_categories_that_nobody_holds_come_back_from_sampling():
    table = pd.DataFrame({"x": pd.Categorical(["b", "a"] * 50, categories=["c", "b", "a"], ordered=True)})
    column = Categorical(dtype="category", categories=("c", "b", "a"), ordered=True, public=True)
    schema = Schema({"table": {"x": column}})

    made = fit(table, generator="tabular.independent", schema=schema, seed=0).sample(20, seed=0)

    assert made["x"].dtype == table["x"].dtype
