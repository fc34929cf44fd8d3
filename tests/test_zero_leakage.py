"""What is planted in one training row occurs in nothing that leaves: samples, models, logs, trails, reports, errors."""

import logging

import numpy as np
import pandas as pd
import pytest
from cases import CASES, LIBRARIES

from synth_components import audit
from synth_components.errors import SynthError
from synth_components.evaluation import evaluate
from synth_components.evaluation.options import FidelityConfig, PrivacyConfig
from synth_components.fitting import fit
from synth_components.model import load

PLANTED = {
    "city": "Zyzzogeton",
    "note": "quokka hid the amphora under larch nine",
    "mail": "xerxes.quill@zyzzo.example",
    "key": 918273645,
    "income": 8675309.25,
}
"""A rare category, a unique text, an e-mail address, a key and an extreme number, all in row 17."""


def planted(rows=240):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "key": np.arange(1000, 1000 + rows),
            "city": rng.choice(["Rome", "Oslo", "Lima"], rows),
            "note": [f"visit {n} was uneventful and the weather mild {n * 7}" for n in range(rows)],
            "mail": [f"person{n}@mail.example" for n in range(rows)],
            "income": rng.normal(30_000, 5_000, rows).round(2),
            "employed": rng.random(rows) < 0.6,
        }
    )
    for name, value in PLANTED.items():
        table.loc[17, name] = value
    return table


def forms():
    """Return the bytes that would give a planted value away."""
    for value in PLANTED.values():
        if isinstance(value, str):
            yield from (value.encode(), value.encode("utf-16-le"))
        else:
            whole = int(value)
            yield from (str(whole).encode(), f"{whole:,}".encode(), np.float64(value).tobytes())
            yield from (np.int64(whole).tobytes(),) if float(value).is_integer() else ()


def leaks(content):
    return [form for form in forms() if form in content]


def files(folder):
    return b"\0".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_the_forms_are_found_where_the_training_table_itself_is_released(tmp_path):
    planted().to_csv(tmp_path / "t.csv")
    assert len(leaks(files(tmp_path))) == 5
    planted()[["income"]].to_numpy().tofile(tmp_path / "floats")
    assert len(leaks(files(tmp_path))) == 6


NAMES = [pytest.param(case, id=case.name) for case in CASES if case.name != "tabular.specified"]
"""Those that learn from rows: a specification reads none."""


@pytest.mark.parametrize("case", NAMES)
def test_no_planted_value_leaves_by_any_way(case, tmp_path, caplog, monkeypatch):
    if case.name in LIBRARIES:
        pytest.importorskip(LIBRARIES[case.name], reason="the library of the generator is not installed")
    caplog.set_level(logging.DEBUG)
    table = planted()
    recipe = case.recipe
    if getattr(recipe, "order_by", None):  # sequences: the planted row is the last of them
        recipe = recipe.model_copy(update={"order_by": "income"})
    kept = [caplog.text]
    # So much that the bounds of every column are found: at 5 those of one are not in 1 of 10,000 fits.
    budget = {"epsilon": 50.0, "units": len(table)} if case.private else {"seed": 0}
    with audit.trail(tmp_path / "audit.jsonl"):
        try:
            model = fit(table, generator=recipe, **budget)
        except SynthError as error:  # a table that the generator refuses: then the refusal must be silent about it
            model = None
            kept.append(str(error))
        if model is not None:
            rows = model.sample(400, seed=1)
            model.save(tmp_path / "model")
            load(tmp_path / "model")
            kept += [rows.to_csv(), repr(model), repr(rows), str(model.schema.to_json())]
            for asked in ({"city": PLANTED["city"]}, {"income": PLANTED["income"]}, {"mail": PLANTED["mail"]}):
                try:
                    model.sample(1, seed=0, conditions=asked)
                except SynthError as error:
                    kept.append(str(error))
    text = "\0".join([*kept, caplog.text])
    assert leaks(text.encode()) == []
    assert leaks(files(tmp_path)) == []
    assert model is not None, "the generator refuses the table"


def test_no_planted_value_leaves_by_a_report(tmp_path):
    table = planted()
    rows = fit(table, generator="tabular.independent", seed=0).sample(240, seed=1)
    quick = {"replicates": 10}
    fidelity = FidelityConfig(detector_rows=60, detector_folds=2, manifold_rows=60, **quick)
    for name, config in (("fidelity", fidelity), ("privacy", PrivacyConfig(**quick))):
        evaluate(table.iloc[:160], table.iloc[160:], rows, config=config).save(tmp_path / name)
    assert leaks(files(tmp_path)) == []


def test_no_planted_value_leaves_by_an_error_about_the_table():
    table = planted()
    wrong = {
        "income": table["income"].astype(object).where(table.index != 17, "8675309.25"),
        "key": table["key"].astype(object).where(table.index != 17, "918273645"),
        "city": table["city"].astype(object).where(table.index != 18, 3),
    }
    for name, values in wrong.items():
        with pytest.raises(SynthError) as raised:
            fit(table.assign(**{name: values}), generator="tabular.independent", seed=0)
        assert leaks(str(raised.value).encode()) == []
