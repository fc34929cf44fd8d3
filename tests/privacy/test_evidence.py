"""A report is evidence on the model and the rows that it names, on every platform, and on nothing else."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.__main__ import main
from synth_components.chain import Chain
from synth_components.circumstances import Circumstances, within
from synth_components.errors import GuardError
from synth_components.evaluation import PrivacyConfig, evaluate
from synth_components.evaluation.judged import Judged, bound, digest_of
from synth_components.evaluation.report import Report
from synth_components.io import artifact
from synth_components.io.dataset import read_dataset, read_table, write_table
from synth_components.policy import guard
from synth_components.protocols import Dataset, Score
from synth_components.schema import TABLE as ROOT
from synth_components.schema import Schema, Text
from synth_components.steps.report_file import reported

TABLE = pd.DataFrame({"city": ["Rome", "Oslo", "Bern"] * 40, "age": np.arange(120) % 17})
TABLE.loc[3, "city"] = None
CHEAP = PrivacyConfig(attacks=(), replicates=10)
SMALL = ["--attacks", "[]", "--replicates", "10"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNTH_AUDIT", "audit.jsonl")
    monkeypatch.delenv("SYNTH_POLICY", raising=False)
    TABLE.to_csv("real.csv", index=False)
    return tmp_path


@pytest.fixture(scope="module")
def model():
    return synth.fit(TABLE, generator="tabular.independent", seed=0)


@pytest.fixture(scope="module")
def other():
    return synth.fit(TABLE, generator="tabular.independent", seed=1)


def judge(rows, model=None):
    return evaluate(TABLE, TABLE, rows, config=CHEAP, model=model)


def test_a_model_keeps_its_fingerprint_saved_copied_and_sealed_and_no_two_fits_share_one(folder, model, other):
    model.save(folder / "model")
    loaded = synth.load(folder / "model")
    loaded.save(folder / "again")
    artifact.copy(folder / "again", folder / "copy")
    (folder / "key").write_text(bytes(range(135, 167)).hex())
    (folder / "key").chmod(0o600)
    with within(Circumstances(encrypt="models", encrypt_key="file:key")):
        loaded.save(folder / "sealed")
        sealed = artifact.fingerprint_of(folder / "sealed"), synth.load(folder / "sealed").fingerprint
    plain = [artifact.fingerprint_of(folder / name) for name in ("model", "again", "copy")]
    assert {model.fingerprint, loaded.fingerprint, *plain, *sealed} == {model.fingerprint}
    assert model.fingerprint != other.fingerprint
    assert (
        replace(loaded, schema=other.schema.with_constraints(())).fingerprint == loaded.fingerprint
    )  # the same schema
    assert replace(loaded, manifest=other.manifest).fingerprint != loaded.fingerprint


def test_private_fits_whose_manifests_are_equal_have_fingerprints_of_their_own(model):
    twin = replace(model, sampler=synth.fit(TABLE.iloc[:60], generator="tabular.independent", seed=0).sampler)
    assert twin.manifest == model.manifest
    assert twin.fingerprint != model.fingerprint


def test_the_digest_of_rows_is_that_of_their_values_in_any_format(folder):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "x": rng.normal(size=300),
            "n": pd.array(rng.integers(0, 5, 300), dtype="Int64"),
            "b": rng.random(300) < 0.5,
            "t": pd.date_range("2020-01-01", periods=300, freq="7h"),
            "d": pd.date_range("2020-01-01", periods=300),
            "z": pd.date_range("2020-01-01", periods=300, freq="7h", tz="UTC"),
            "c": pd.Categorical(rng.choice(["a", "b,", "001"], 300)),
            "none": pd.Series([None] * 300, dtype=object),
        }
    )
    for name in ("x", "n", "t", "c"):
        rows.loc[5:9, name] = None
    rows.to_csv("rows.csv", index=False)
    rows.to_parquet("rows.parquet")
    parquet = synth.profile(rows).schema
    found = {digest_of(read_table(f"rows.{ending}")) for ending in ("csv", "parquet")}
    found |= {digest_of(read_dataset(f"rows.{ending}", schema=parquet)) for ending in ("csv", "parquet")}
    assert found == {digest_of(rows)}
    changed = rows.copy()
    changed.loc[7, "x"] = 0.0
    others = [rows.iloc[::-1], rows.iloc[1:], changed, rows.rename(columns={"b": "bb"}), rows[rows.columns[::-1]]]
    assert len({digest_of(one) for one in (rows, *others)}) == 1 + len(others)


def test_the_digest_tells_apart_numbers_that_no_float_does(folder):
    ids = [110101199003071231 + place for place in range(4)]
    rows = pd.DataFrame({"id": ids, "x": [0.1, 1e300, 1e17, -3.0]})
    texts = pd.DataFrame({"id": [str(one) for one in ids], "x": ["0.1", "1e300", "1e17", "-3.0"]})
    rows.to_csv("ids.csv", index=False)
    rows.to_parquet("ids.parquet")
    text = synth.profile(texts).schema
    found = {digest_of(read_table(f"ids.{ending}")) for ending in ("csv", "parquet")}
    found |= {digest_of(read_dataset("ids.csv", schema=text)), digest_of(texts), digest_of(rows)}
    assert len(found) == 1
    others = [rows.assign(id=[ids[0], *ids[:3]]), texts.assign(id=[str(ids[0]), *texts["id"][:3]])]
    assert digest_of(others[0]) == digest_of(others[1]) not in found
    some = texts.assign(id=[None, *texts["id"][1:]])
    assert digest_of(some) == digest_of(rows.assign(id=pd.array([None, *ids[1:]], dtype="Int64"))) not in found
    assert digest_of(some) != digest_of(some.assign(id=[None, texts["id"][2], *texts["id"][2:]]))
    long = pd.DataFrame({"x": ["0.1234567890123456789", "1e999999999", "True"]})
    assert digest_of(long) != digest_of(long.assign(x=["0.1234567890123456788", "1e999999999", "True"]))
    time = pd.DataFrame({"t": pd.to_datetime(["2020-01-01T00:00:00.000000001", None]).astype("M8[ns]")})
    assert digest_of(time) != digest_of(time.assign(t=time["t"].dt.floor("us")))
    assert digest_of(time) == digest_of(time.assign(t=["2020-01-01T00:00:00.000000001", None]))


@pytest.mark.parametrize("dtype", ["float32", "Float32"])
def test_the_digest_of_single_precision_is_that_of_what_files_hold_of_it(folder, dtype):
    rng = np.random.default_rng(0)
    values = np.concatenate([[0.1, 1 / 3, 16_777_216.0, -0.0], rng.normal(size=300), 10.0 ** rng.integers(-30, 30, 99)])
    rows = pd.DataFrame({"x": pd.Series(values).astype(dtype), "row": range(len(values))})
    rows.loc[5, "x"] = None
    schema = synth.profile(rows).schema
    found = {digest_of(rows)}
    for name in ("rows.csv", "rows.json", "rows.jsonl", "rows.parquet", "rows.h5"):
        write_table(rows, name)
        found |= {digest_of(read_table(name)), digest_of(read_dataset(name, schema=schema))}
    rows.to_csv("rows.csv", index=False)  # as pandas writes it
    found.add(digest_of(read_table("rows.csv")))
    assert len(found) == 1
    steps = np.nextafter(rows["x"].to_numpy(dtype=np.float32, na_value=np.nan), np.float32(np.inf))
    others = [rows.assign(x=rows["x"].where(np.arange(len(rows)) != row, steps[row])) for row in (0, 1, 2, 50)]
    assert [str(one["x"].dtype) for one in others] == [dtype] * 4
    assert len({*found, *map(digest_of, others)}) == 5


@pytest.mark.parametrize("texts", [("true", "false"), ("TRUE", "FALSE"), ("True", "False"), ("true", "False")])
def test_the_digest_of_truth_values_is_that_of_text_that_is_read_as_them(folder, texts):
    rows = pd.DataFrame({"b": [True, False, None, True]}).astype("boolean")
    text = pd.DataFrame({"b": [texts[0], texts[1], None, texts[0]]})
    write_table(text, "rows.csv")
    write_table(text, "rows.parquet")
    found = {digest_of(one) for one in (rows, text, read_table("rows.csv"), read_table("rows.parquet"))}
    assert len(found) == 1
    for other in (["true", "false", None, "false"], ["true", "false", "false", "true"], ["true", "false", None, "yes"]):
        assert digest_of(pd.DataFrame({"b": other})) not in found


COLUMNS = {
    "codes, and a late one that is no number": ["011", "250", "401", "011", "E11", "250"],
    "codes, all numbers": ["011", "250", "401", "11", "1e1", "-0"],
    "nulls first": [None, None, None, "1", "a", None],
    "nulls last": ["2", "1", "a", None, None, None],
    "nulls alone": [None] * 6,
    "truth values": ["True", "False", None, "True", "1", "0"],
    "truth values, and a word": ["True", "False", None, "True", "1", "yes"],
    "truth values and what equals them": [True, 1, 1.0, False, "yes", 0],
    "dates": ["2020-01-01", None, "2020-01-01 00:00:00", "1999-12-31T23:59:59.000000001", "2021-05-06", "2020-01-02"],
    "dates of which one has a zone": ["2020-01-01", "2020-01-01T10:00:00+02:00", "2020-01-01T00:00:00.000000001"] * 2,
    "dates, and no date": ["2020-01-01", "2020-01-02", "2020-01-01", "2020-01-03", "never", None],
    "dates, and days of no calendar": ["2020-01-01", "2020-13-32", None, "2020-01-03", "2020-13-33", "2020-01-02"],
    "numbers, and a date": ["1", "2", "3", "4", "5", "2020-01-01"],
    "excess decimals": ["0.1234567890123456789", "1e999999999", "0.1", None, "110101199003071231", "2"],
    "excess decimals, and a word": ["0.1234567890123456789", "0.10", None, "0.1234567890123456788", "0.1", "none"],
    "identifiers": [5, 110101199003071231, 7, 110101199003071233, 2**60 + 1, 2**60 + 3],
}


class InBatches(Dataset):
    size = 1

    def batches(self, table=ROOT, rows=1):
        del rows
        return super().batches(table, self.size)


def test_the_digest_does_not_depend_on_batches(monkeypatch):
    # Beside each other, too: of what no float64 holds the digest is by row, over the columns.
    everything = pd.DataFrame(COLUMNS)
    tables = [everything, *(everything[[name]] for name in COLUMNS)]
    for rows in tables:
        for size in (1, 2, 3, 4, 5, 6):
            monkeypatch.setattr(InBatches, "size", size)
            whole = InBatches({ROOT: rows}, Schema({ROOT: {name: Text() for name in rows}}))
            assert digest_of(whole) == digest_of(rows), (list(rows), size)
    assert len({digest_of(rows.set_axis(["x"], axis=1)) for rows in tables[1:]}) == len(COLUMNS)


def test_the_digest_of_ordinary_rows_is_that_of_released_reports():
    rows = pd.DataFrame(
        {
            "x": [0.1, None, -2.5],
            "n": [1, 2, 2**60 + 1],
            "code": ["011", "250", None],
            "word": ["a", "011", None],
            "t": ["2020-01-01", "2020-01-01T00:00:00.000000001", None],
            "b": [True, False, True],
        }
    )
    assert digest_of(rows) == "3f7e0971f9ab316ea649ad57426a2b50b3b65818f5a94896417537f1d17925fd"


def test_the_digest_is_of_every_column_whatever_its_name():
    names = [1, "1"]
    rows = [pd.DataFrame([[first, 5], [second, 6]], columns=names) for first, second in ((1, 2), (9, 9))]
    assert digest_of(rows[0]) != digest_of(rows[1])


def test_a_report_names_what_it_judged_and_keeps_it(model):
    rows = model.sample(120, seed=0)
    report = judge(rows, model)
    assert report.judged == Judged(model.fingerprint, digest_of(rows))
    assert Report.from_json(json.loads(json.dumps(report.to_json()))).judged == report.judged
    assert judge(rows).judged == Judged("", digest_of(rows))
    assert f"model {model.fingerprint[:12]}" in report.to_markdown()
    older = {name: value for name, value in report.to_json().items() if name != "judged"}
    assert Report.from_json(older).judged == Judged()


def test_what_names_something_else_is_missed_and_what_names_nothing_is_unproven():
    of_both = Judged("m", "r")
    assert bound((of_both,), model="m", rows="r")[0] == bound((of_both,), model="m")[0] == "passed"
    assert bound((Judged(rows="r"),), model="m", rows="r")[0] == "passed"
    assert bound((of_both,), model="n", rows="r")[0] == bound((of_both,), model="m", rows="s")[0] == "missed"
    assert bound((of_both, Judged("n")), model="m")[0] == "missed"
    assert bound((Judged(),), model="m")[0] == bound((Judged("m"),), model="m", rows="r")[0] == "unproven"
    assert bound((of_both, Judged()), model="m")[0] == bound((of_both,))[0] == bound((), model="m")[0] == "unproven"


def test_a_shadow_audit_is_about_the_rows_of_a_model_beside_a_report_that_names_both():
    evaluation, audit = Judged("m", "r"), Judged("m")
    assert bound((evaluation, audit), rows="r")[0] == bound((audit, evaluation), model="m", rows="r")[0] == "passed"
    for others in ((), (Judged(rows="r"),), (evaluation, Judged())):
        assert bound((audit, *others), rows="r")[0] == "unproven"
    for other in (Judged("m", "s"), Judged("n", "r")):  # of other rows; of these, which another model drew
        assert bound((audit, other), rows="r")[0] == "missed"
    assert bound((audit, evaluation), model="n", rows="r")[0] == "missed"


def test_a_model_is_not_released_by_the_report_of_another_one(folder, model, other):
    report = judge(other.sample(120, seed=0), other)
    with pytest.raises(GuardError, match=r"the report is of rows .* evaluate again") as raised:
        guard.release(model, reported(report), to="x")
    assert raised.value.checks == ("evidence",)
    assert guard.release(other, reported(report), to="x")
    lines = [line for line in Chain(folder / "audit.jsonl").lines() if line["event"] == "guard"]
    assert [line["passed"] for line in lines] == [False, True]


def test_a_report_that_names_no_model_is_evidence_under_no_policy(model, monkeypatch, caplog):
    told = reported(judge(model.sample(120, seed=0)))
    told = replace(told, scores={**told.scores, "privacy.risk": 0.0})
    with pytest.raises(GuardError, match=r"does not name the model that it judged; evaluate again.*allow_unnamed"):
        guard.release(model, told, to="x")
    found = guard.release(model, told, to="x", allow_unnamed=True)
    assert "evidence" in {one.check for one in found if one.state == "unproven"}
    assert "does not name the model" in caplog.text
    monkeypatch.setenv("SYNTH_POLICY", "low")
    with pytest.raises(GuardError, match=r"does not name the model that it judged; evaluate again, .*--model`\)$"):
        guard.release(model, told, to="x", allow_unnamed=True)


def test_who_has_no_report_or_no_model_at_hand_left_nothing_out_of_one(model):
    told = reported(judge(model.sample(120, seed=0)))
    told = replace(told, scores={**told.scores, "privacy.risk": 0.0})
    for at_hand, said in ((model, None), (model, replace(told, judged=())), (None, told)):
        assert {one.state for one in guard.release(at_hand, said, to="x")} >= {"unproven"}


def test_differential_privacy_needs_no_report_and_takes_none_of_another_model(model, other):
    stated = model.manifest.privacy.model_copy(update={"epsilon": 0.5, "delta": 1e-6})
    private = replace(model, manifest=model.manifest.model_copy(update={"privacy": stated}))
    assert guard.release(private, reported(judge(TABLE)), to="x")
    with pytest.raises(GuardError, match="the report is of"):
        guard.release(private, reported(judge(TABLE, other)), to="x")


@pytest.mark.parametrize("step", ["evaluate", "evaluate-privacy", "evaluate-fidelity", "evaluate-tstr"])
def test_each_step_that_judges_names_the_model_and_the_rows(folder, model, step):
    model.save(folder / "model")
    words = ["--model", "model", "--num-rows", "120", "--quiet"]
    assert main(["sample", *words, "--synthetic", "drawn.parquet"]) == 0
    assert main(["sample", *words, "--synthetic", "drawn.csv"]) == 0
    few = {"evaluate": SMALL, "evaluate-privacy": SMALL}.get(step, [])
    target = ["--target", "city"] if step == "evaluate-tstr" else []
    for ending in ("parquet", "csv"):
        places = ["--train", "real.csv", "--holdout", "real.csv", "--synthetic", f"drawn.{ending}", "--model", "model"]
        assert main([step, *places, "--report", "r.json", *few, *target, "--quiet"]) == 0
        told = json.loads((folder / "r.json").read_text())["judged"]
        assert told == {"model": model.fingerprint, "rows": digest_of(model.sample(120, seed=0))}


def test_the_gate_takes_the_report_of_this_model_and_of_these_rows_alone(folder, model, other, capsys):
    model.save(folder / "model")
    other.save(folder / "other")
    rows = model.sample(120, seed=0)
    rows.to_csv("rows.csv", index=False)
    model.sample(120, seed=1).to_csv("others.csv", index=False)
    (folder / "r.json").write_text(json.dumps(judge(rows, model).to_json()))
    gate = ["gate", "--report", "r.json", "--quiet"]
    for given in ([], ["--model", "model"], ["--model", "model", "--data", "rows.csv"]):
        assert main([*gate, *given]) == 0
    capsys.readouterr()
    assert main([*gate, "--model", "other"]) == 3
    assert f"this is model {other.fingerprint[:12]}" in capsys.readouterr().err
    assert main([*gate, "--data", "others.csv"]) == 3
    assert "evaluate these" in capsys.readouterr().err
    mute = judge(rows, model).to_json()
    del mute["judged"]  # what a report leaves out does not make it better
    (folder / "r.json").write_text(json.dumps(mute))
    assert main(gate) == 0
    for given in (["--model", "model"], ["--data", "rows.csv"]):
        assert main([*gate, *given]) == 3
        assert f"does not name the {'model' if '--model' in given else 'rows'}" in capsys.readouterr().err
        assert main([*gate[:-1], *given, "--allow-unnamed", "true"]) == 0
        assert "not proven for the gate: the report does not name the" in capsys.readouterr().err
    (folder / "r.json").write_text(json.dumps(judge(rows, model).to_json()))
    assert main([*gate, "--model", "other", "--allow-unnamed", "true"]) == 3


def test_the_gate_holds_thresholds_for_a_shadow_audit_beside_an_evaluation_of_the_rows(folder, model, other, capsys):
    rows = model.sample(120, seed=0)
    rows.to_csv("rows.csv", index=False)
    judged = judge(rows, model)
    (folder / "r.json").write_text(json.dumps(judged.to_json()))

    def gate(risk, of, *options, upper=0.2, report="r.json"):
        score = Score("privacy.risk", risk, (0.0, upper), 0.0, 0.0, 0.0)
        audit = replace(judged, scores=(score,), judged=Judged(of.fingerprint))
        (folder / "a.json").write_text(json.dumps(audit.to_json()))
        code = main(["gate", "--report", report, "--audits", "a.json", "--data", "rows.csv", *options, "--quiet"])
        return code, capsys.readouterr().err

    assert gate(0.1, model)[0] == 0
    model.save(folder / "model")
    assert gate(0.1, model, "--policy", "medium", "--model", "model") == (0, "")
    code, told = gate(0.5, model)
    assert (code, "privacy.risk is 0.5, at most 0.3 is allowed" in told) == (3, True)
    code, told = gate(0.1, model, "--max-risk-upper", "0.15")
    assert (code, "could be as large as 0.2" in told) == (3, True)
    for options in ((), ("--allow-unnamed", "true")):
        code, told = gate(0.1, other, *options)
        assert (code, "the rows were drawn by another" in told) == (3, True)
    code, told = gate(0.1, model, report="a.json")
    assert (code, "does not name the rows" in told) == (3, True)
