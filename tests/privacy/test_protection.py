"""A policy applied: any order of layers, audited after the last; swapping and synthesis; the step."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_components.__main__ import main
from synth_components.errors import BudgetExceededError, PolicyError, SchemaError, ThresholdError
from synth_components.policy import OF_LEVEL, TECHNIQUES, Policy
from synth_components.policy.protection import protect
from synth_components.privacy.anonymity.swapping import resynthesise, swap
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Budget
from synth_components.schema import TABLE, Categorical, Numeric, Schema, Text, Unit
from synth_components.steps.protect import ProtectConfig
from synth_components.steps.protect import protect as step

WITHOUT_NOISE = tuple(name for name in TECHNIQUES if name != "differential_privacy")


@pytest.fixture
def table():
    rng = np.random.default_rng(5)
    n = 200
    age = rng.integers(18, 90, n)
    return pd.DataFrame(
        {
            "name": [f"Canary {number}" for number in range(n)],
            "age": age,
            "sex": rng.choice(["f", "m"], n),
            "illness": np.where(rng.random(n) < age / 100, "gout", "flu"),
            "pay": (age * 100 + rng.integers(0, 500, n)).astype(float),
        }
    )


@pytest.fixture
def crowd(table):
    """So many rows that noise finds the bounds of every column: of 200 it misses those of one in thirty runs."""
    return pd.concat([table] * 10, ignore_index=True)


def policy(**changed):
    held = {
        "identifiers": ("name",),
        "quasi_identifiers": ("age", "sex"),
        "sensitive": {"illness": "high", "pay": "high"},
        "max_suppressed": 1.0,
    }
    return Policy.parse(held | changed)


@pytest.mark.timeout(240)  # the longest of the fast tests
@settings(max_examples=10, deadline=None)
@given(st.permutations(WITHOUT_NOISE))
def test_layers_apply_in_any_order_and_the_audit_is_of_the_last(layers):
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"age": rng.integers(18, 60, 120), "illness": rng.choice(["flu", "gout"], 120)})
    rules = Policy(
        quasi_identifiers=("age",), sensitive={"illness": "high"}, layers=tuple(layers), max_suppressed=1.0, t=0.4
    )
    try:
        made = protect(table, rules, seed=0)
    except PolicyError:
        # Before anything is generalised every row may be one of a kind, and suppression leaves nobody.
        assert layers.index("suppression") < max(layers.index("k_anonymity"), layers.index("generalisation"))
        return
    named = [name for one in made.audit.applied for name in one.techniques]
    assert named == list(layers)
    last = max(layers.index(name) for name in ("swapping", "synthesis", "generalisation"))
    if all(layers.index(name) > last for name in ("k_anonymity", "l_diversity", "t_closeness")):
        assert made.audit.holds
    assert {promise.technique for promise in made.audit.promises} >= {"k_anonymity", "l_diversity", "t_closeness"}


def test_a_later_layer_that_undoes_a_promise_is_found_by_the_audit(table):
    """The broken twin: synthesis after l-diversity and t-closeness, which had set their classes right."""
    strict = {"t": 0.2, "sensitive": {"illness": "high"}}
    good = protect(table, policy(layers=["synthesis", "k_anonymity", "t_closeness"], **strict), seed=0)
    bad = protect(table, policy(layers=["k_anonymity", "t_closeness", "synthesis"], **strict), seed=0)
    assert good.audit.holds
    assert [promise.technique for promise in bad.audit.missed] == ["t_closeness"]


def test_identifiers_leave_at_every_level(table):
    made = protect(table, policy(sensitive={"illness": "low"}), seed=0)
    assert list(made.table.columns) == ["age", "sex", "illness", "pay"]


def test_the_audit_holds_numbers_and_names_and_no_cell(table):
    said = json.dumps(protect(table, policy(), seed=0).audit.to_json(), allow_nan=False)
    assert "Canary" not in said
    assert "gout" not in said


def test_the_audit_tells_loss_before_and_after(table):
    told = protect(table, policy(), seed=0).audit.to_json()
    assert told["before"]["k"] < told["after"]["k"] >= 3
    loss = next(one["loss"] for one in told["layers"] if "k_anonymity" in one["techniques"])
    assert set(loss) == {"discernibility_per_row", "normalised_certainty_penalty", "suppressed_share"}


def test_differential_privacy_behind_a_layer_that_looked_at_several_rows_is_no_promise(crowd):
    pytest.importorskip("opendp")
    made = protect(
        crowd,
        policy(layers=["swapping", "differential_privacy"], epsilon=5.0, private_generator="tabular.mst"),
    )
    (missed,) = made.audit.missed
    assert missed.technique == "differential_privacy"
    assert "put differential_privacy first" in missed.reason


def test_differential_privacy_behind_representatives_is_no_promise(crowd):
    """One stands for a value that is the middle one of all rows of its group, so that each row moves others."""
    pytest.importorskip("opendp")
    (missed,) = protect(
        crowd,
        policy(
            layers=["generalisation", "differential_privacy"],
            hierarchies={"age": {"type": "intervals", "widths": [10]}},
            generalise={"age": 1},
            values="representatives",
            epsilon=5.0,
        ),
    ).audit.missed
    assert missed.technique == "differential_privacy"


DECLARED = {
    "age": Numeric(dtype="int64", low=0, high=120, places=0, public=True),
    "sex": Categorical(categories=("f", "m"), public=True),
    "illness": Categorical(categories=("flu", "gout"), public=True),
    "pay": Numeric(low=0, high=20_000, public=True),
}


def test_a_declared_schema_holds_behind_layers_that_keep_the_cells_of_a_column(table):
    """Of 20 rows, of which noise finds no bounds."""
    pytest.importorskip("opendp")
    rows = table.drop(columns="name").head(20)
    made = protect(
        rows,
        policy(identifiers=[], layers=["swapping", "synthesis", "differential_privacy"]),
        schema=Schema({TABLE: DECLARED}),
    )
    assert [promise.technique for promise in made.audit.missed] == ["differential_privacy"]


def test_rows_too_few_to_draw_from_behind_a_layer_are_refused_with_a_remedy(table):
    """Nobody can declare the labels that a layer made, as the profile of the fit would have asked for."""
    pytest.importorskip("opendp")
    with pytest.raises(PolicyError, match=r"what k_anonymity left of the rows: .* Put differential_privacy first"):
        protect(table.head(20), policy(layers=["k_anonymity", "differential_privacy"]), schema=None)


def test_the_critical_level_draws_rows_and_then_sets_their_classes_right(crowd):
    pytest.importorskip("opendp")
    made = protect(crowd, policy(sensitive={"illness": "critical"}, epsilon=5.0, t=1.0, l=1))
    assert made.audit.holds
    assert made.audit.before is None  # counts of the real rows are outside epsilon
    private = made.audit.applied[0]
    assert private.epsilon <= 5.0
    assert private.delta <= 1e-5


def test_a_number_that_no_layer_asks_for_is_told_to_be_idle(table, caplog):
    policy = Policy(level="low", quasi_identifiers=("age",), detect=False, k=2, t=0.1)
    (note,) = [one for one in protect(table, policy, seed=0).audit.notes if "not enforced" in one]
    assert note.startswith("the policy sets t, and no layer asks for t_closeness")
    assert note in caplog.text


def test_a_policy_of_other_columns_is_refused(table):
    with pytest.raises(SchemaError, match="column 'zip' is not in the table"):
        protect(table, policy(quasi_identifiers=("zip",)))
    with pytest.raises(PolicyError, match="names no quasi_identifiers"):
        protect(table, Policy())
    with pytest.raises(PolicyError, match="no rows"):
        protect(table.head(0), policy())


def test_a_hidden_value_that_all_rows_share_is_told_by_count_alone(table):
    with pytest.raises(PolicyError) as raised:
        protect(table.assign(illness="Atlantis fever"), policy(layers=["l_diversity"]))
    assert "Atlantis" not in str(raised.value)


def test_swapping_keeps_marginals_and_moves_ranks_no_farther_than_asked():
    rng = np.random.default_rng(2)
    table = pd.DataFrame({"pay": rng.permutation(500).astype(float), "city": rng.choice(list("abc"), 500)})
    table.loc[:9, "pay"] = np.nan
    made = swap(table, ["pay", "city"], reach=0.04, rng=np.random.default_rng(0))
    for name in table:
        assert sorted(made[name].dropna()) == sorted(table[name].dropna())
        assert (made[name].isna() == table[name].isna()).all()
    moved = (made["pay"].rank() - table["pay"].rank()).abs().dropna()
    assert 0 < moved.max() <= 0.04 * 490 + 1
    assert (made["city"] != table["city"]).mean() <= 0.04


@pytest.mark.parametrize("n", [2, 3, 20, 21])
@pytest.mark.parametrize("is_ordered", [True, False], ids=["ranks", "categories"])
def test_swapping_swaps_however_few_rows_there_are(n, is_ordered):
    values = np.arange(n).astype(float) if is_ordered else [f"v{number}" for number in range(n)]
    made = swap(pd.DataFrame({"x": values}), ["x"], reach=0.05, rng=np.random.default_rng(0))
    moved = (made["x"] != pd.Series(values)).sum()
    assert moved >= 2
    assert moved == n // 2 * 2 if is_ordered else moved <= 2
    assert sorted(made["x"]) == sorted(values)


def test_a_value_alone_is_not_left_where_it_stands_in_silence():
    for table in (pd.DataFrame({"x": ["a"]}), pd.DataFrame({"x": [None, 1.5, None]})):
        with pytest.raises(PolicyError, match="one value alone") as raised:
            swap(table, ["x"], reach=0.05, rng=np.random.default_rng(0))
        assert raised.value.column == "x"
    nothing = pd.DataFrame({"x": [None, None]})
    assert swap(nothing, ["x"], reach=0.05, rng=np.random.default_rng(0)).equals(nothing)


def test_synthesis_draws_cells_from_rows_like_them(table):
    """Pay is 100 times the age, give or take 250: drawn from a leaf of at least 10 rows it must stay near."""
    made = resynthesise(table.drop(columns="name"), ["pay"], rng=np.random.default_rng(0))
    assert (made["pay"] != table["pay"]).mean() > 0.5
    assert np.corrcoef(made["pay"], table["age"])[0, 1] > 0.9
    assert set(made["pay"]) <= set(table["pay"])


def test_synthesis_draws_no_cell_from_fewer_rows_than_are_asked_for(table):
    with pytest.raises(PolicyError, match="has 9 rows, and synthesis draws a cell from 10 rows or more"):
        resynthesise(table.head(9), ["pay"], rng=np.random.default_rng(0))


@pytest.fixture
def unnamed():
    """A table of a contact, a postcode, a diagnosis and a class, for a policy that knows the age alone."""
    rng = np.random.default_rng(3)
    n = 120
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, n),
            "zip": rng.choice(["10115", "20095", "80331"], n),
            "kontakt": [f"canary{number}@example.org" for number in range(n)],
            "x2": rng.choice(["E11.9", "I10.1", "J45.0"], n),
            "visits": rng.integers(1, 4, n),
        }
    )


@pytest.mark.parametrize(("level", "expected"), [("low", "high"), ("high", "high"), ("critical", "critical")])
def test_the_level_of_what_was_found_chooses_the_techniques(unnamed, level, expected):
    """A diagnosis is of level high by itself; the level of the policy is the least."""
    if expected == "critical":
        pytest.importorskip("opendp")
    audit = protect(unnamed, Policy(level=level, quasi_identifiers=("age",), t=1.0, l=1, epsilon=50.0)).audit
    assert audit.sensitive == {"x2": expected}
    assert {name for one in audit.applied for name in one.techniques} == set(OF_LEVEL[expected])
    assert next(one for one in audit.applied if "t_closeness" in one.techniques).columns == ("x2",)
    told = any("epsilon covers the drawn rows, not that choice" in note for note in audit.notes)
    assert told == (expected == "critical")


def test_a_named_column_keeps_its_level(unnamed):
    audit = protect(unnamed, Policy(quasi_identifiers=("age",), sensitive={"x2": "low"})).audit
    assert audit.sensitive == {"x2": "low"}
    assert [one.techniques for one in audit.applied] == [("k_anonymity",)]


def test_what_seems_to_name_a_person_is_left_out_and_told(unnamed):
    made = protect(unnamed, Policy(quasi_identifiers=("age",), t=1.0), seed=0)
    assert list(made.table.columns) == ["age", "zip", "x2", "visits"]
    said = json.dumps(made.audit.to_json())
    assert "canary" not in said
    assert "left out, as it seems to name a person: 'kontakt' (e-mail address)" in said
    assert "others may know 'zip' of a person" in said
    kept = protect(unnamed, Policy(quasi_identifiers=("age",), sensitive={"kontakt": "low"}, t=1.0), seed=0)
    assert "kontakt" in kept.table


def test_nothing_is_looked_for_if_the_policy_forbids_it(unnamed):
    made = protect(unnamed, Policy(quasi_identifiers=("age",), detect=False))
    assert made.audit.sensitive == {}
    assert list(made.table.columns) == list(unnamed.columns)
    assert any("were not looked for" in note for note in made.audit.notes)


def test_the_search_is_charged_before_it_reads(unnamed):
    spent = Ledger()
    protect(unnamed, Policy(quasi_identifiers=("age",), t=1.0), ledger=spent)
    assert [entry.label for entry in spent.entries if entry.covered] == ["detection of sensitive columns"]
    with pytest.raises(BudgetExceededError):
        protect(unnamed, Policy(quasi_identifiers=("age",)), ledger=Ledger(Budget(1.0, 1e-6)))
    bounded = Ledger(Budget(1.0, 1e-6))
    protect(unnamed, Policy(quasi_identifiers=("age",), detect=False), ledger=bounded)
    assert [entry.label for entry in bounded.entries] == ["protect: rows"]  # and not how many


def test_a_policy_without_quasi_identifiers_is_told_of_columns_that_may_be(unnamed):
    with pytest.raises(PolicyError, match="as 'zip' may be"):
        protect(unnamed.drop(columns="age"), Policy())


def test_the_step_writes_table_and_audit(table, tmp_path):
    table.to_csv(tmp_path / "in.csv", index=False)
    config = ProtectConfig(identifiers=("name",), quasi_identifiers=("age", "sex"), sensitive={"illness": "low"})
    step(config, data=tmp_path / "in.csv", protected=tmp_path / "out.csv", evidence=tmp_path / "audit.json")
    assert len(pd.read_csv(tmp_path / "out.csv")) == 200
    assert json.loads((tmp_path / "audit.json").read_text())["holds"]


def test_the_step_writes_no_table_whose_promises_do_not_hold(table, tmp_path):
    table.to_csv(tmp_path / "in.csv", index=False)
    rules = policy(layers=["k_anonymity", "t_closeness", "synthesis"], sensitive={"illness": "high"})
    (tmp_path / "policy.json").write_text(json.dumps(rules.to_json()))
    places = {"data": tmp_path / "in.csv", "policy": tmp_path / "policy.json", "protected": tmp_path / "out.csv"}
    with pytest.raises(ThresholdError, match="t_closeness of 'illness'"):
        step(ProtectConfig(), **places, evidence=tmp_path / "audit.json")
    assert not (tmp_path / "out.csv").exists()
    assert not json.loads((tmp_path / "audit.json").read_text())["holds"]


@pytest.mark.parametrize("is_file", [False, True], ids=["an option", "an option file"])
def test_the_command_takes_its_policy_and_no_other(table, tmp_path, is_file):
    """``--policy`` is also an option of every other command, of the guard: here it is the policy that is applied."""
    table.to_csv(tmp_path / "in.csv", index=False)
    rules = {"identifiers": ["name"], "quasi_identifiers": ["age", "sex"], "k": 7, "level": "low", "detect": False}
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    names = {"data": "in.csv", "policy": "rules.json", "protected": "out.csv", "evidence": "audit.json"}
    places = {name: str(tmp_path / file) for name, file in names.items()}
    (tmp_path / "options.json").write_text(json.dumps(places))
    words = [word for name, place in places.items() for word in (f"--{name}", place)]
    assert main(["protect", *([str(tmp_path / "options.json")] if is_file else words)]) == 0
    audit = json.loads((tmp_path / "audit.json").read_text())
    assert audit["policy"]["k"] == 7
    assert audit["after"]["k"] >= 7


def test_nothing_that_is_released_under_epsilon_tells_how_many_rows_there_were(crowd):
    # Laplace noise of scale 1 / (.01 * 5) = 20 rows: that it is 0 in all of four runs has a chance of 4e-7.
    pytest.importorskip("opendp")
    found = []
    for _ in range(4):
        made = protect(
            crowd,
            policy(
                layers=["generalisation", "differential_privacy"],
                hierarchies={"sex": {"type": "tree", "tree": {"any": ["f", "m"]}}},
                generalise={"sex": 1},
                epsilon=5.0,
            ),
        )
        told = made.audit.to_json()
        assert made.audit.holds
        assert told["rows"] == len(made.table) == told["layers"][0]["rows_before"] == told["layers"][1]["rows_after"]
        assert "loss" not in told["layers"][0]  # exact, of real rows
        assert told["layers"][1]["epsilon"] <= 5.0
        found.append(len(made.table))
    assert set(found) != {len(crowd)}


def test_behind_epsilon_what_was_found_is_told_without_shares_of_real_rows(crowd):
    pytest.importorskip("opendp")
    held = crowd.assign(mail=[f"p{number % 700}@example.org" for number in range(len(crowd))])
    shares = {"share", "contains", "distinct"}
    (told,) = protect(held, policy(layers=["differential_privacy"], epsilon=5.0)).audit.to_json()["found"]
    assert told["column"] == "mail"
    assert not shares & set(told)
    (plain,) = protect(held, policy(layers=["k_anonymity"])).audit.to_json()["found"]
    assert shares <= set(plain)


def test_a_unit_named_by_an_identifier_is_bounded_before_that_is_left_out(table, monkeypatch):
    pytest.importorskip("opendp")
    import synth_components as synth

    read = []
    honest = synth.fit
    monkeypatch.setattr(synth, "fit", lambda rows, **said: read.append((rows, said["schema"])) or honest(rows, **said))
    visits = table.assign(name=[f"Canary {number // 20}" for number in range(200)])  # ten persons of twenty rows
    schema = Schema({TABLE: {"name": Text(public=True), **DECLARED}}, unit=Unit(TABLE, ("name",), max_rows=3))
    made = protect(visits, policy(layers=["differential_privacy"], epsilon=5.0), schema=schema)
    ((rows, known),) = read
    assert len(rows) == 30
    assert known.unit == Unit(TABLE, (), max_rows=3)
    assert made.audit.applied[0].unit == "all rows of table 'table' that share ['name'], at most 3"
