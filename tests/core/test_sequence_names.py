"""Names of drawn sequences: new ones for all sequences of a call, within what the schema allows."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.constraints import Monotone, Range, Unique
from synth_components.errors import SchemaError, UnsupportedError
from synth_components.generators.auto import AutoSampler
from synth_components.monitor import QualityMonitor
from synth_components.protocols import BLOCK_ROWS, Dataset
from synth_components.schema import Categorical, Key, Numeric, Schema, Unit, violations
from synth_components.sensitive.lexicon import family_names, given_names
from synth_components.sequence_key import PUBLIC_WORDS

BY = {"group": "pid", "order_by": "t"}


def visits(count=300, *, least=5, most=39, seed=0, name=int):
    """Return logs of persons, each of some visits."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(least, most, size=count, endpoint=True)
    return pd.DataFrame(
        {
            "pid": [name(number) for number in np.repeat(np.arange(count), sizes)],
            "t": np.concatenate([np.arange(size) for size in sizes]),
            "s": np.array(["a", "b", "c"], dtype=object)[rng.integers(3, size=sizes.sum())],
            "x": rng.normal(size=sizes.sum()).round(3),
        }
    )


def declared(table, pid):
    """Return the schema that a person declares, with this column of persons."""
    columns = {
        "pid": pid,
        "t": Numeric(public=True, dtype="int64", low=0, high=60, places=0),
        "s": Categorical(public=True, dtype=str(table["s"].dtype), categories=("a", "b", "c")),
        "x": Numeric(public=True, low=-9.0, high=9.0, places=3),
    }
    return Schema({"table": columns}, root="table")


def fitted(table, **options):
    schema = options.pop("schema", None)
    constraints = options.pop("constraints", ())
    return synth.fit(
        table, generator="tabular.markov", seed=0, schema=schema, constraints=constraints, options={**BY, **options}
    )


def require_apart(made, schema, *, name="pid"):
    """Fail unless sequences stand one after the other, each with a name of its own that the schema allows."""
    begins = np.flatnonzero(made["t"] == 0)  # as all of the rows do
    assert made["pid"].iloc[begins].is_unique
    assert (made["pid"] == np.repeat(made["pid"].iloc[begins].to_numpy(), np.diff([*begins, len(made)]))).all()
    for column, declared in schema.columns.items():
        violations(made["pid" if column == name else column], declared)


@pytest.mark.parametrize("times", [1, 2, 5])
def test_as_many_sequences_are_drawn_as_are_asked_for_where_no_person_declared_their_names(times):
    table = visits()
    model = fitted(table)
    for seed in range(5):
        made = model.sample(times * len(table), seed=seed)
        require_apart(made, model.schema)
        if times == 1:
            assert len(set(made["pid"]) & set(range(302))) > 270
        if times < 5:  # names within the bounds of the rows come first: a report on the column compares like with like
            assert made["pid"].max() < 350 * times


@pytest.mark.parametrize("auto", [False, True], ids=["markov", "auto"])
def test_no_name_recurs_in_another_block_and_shards_draw_the_same(auto):
    table = visits(2_000, least=20, most=20)
    model = fitted(table)
    if auto:
        model = replace(model, sampler=AutoSampler(model.sampler, {"generator": "tabular.markov"}))
    rows = 2 * BLOCK_ROWS + 7_232
    made = model.sample(rows, seed=1)
    require_apart(made, model.schema)
    shards = [block.table for index in (0, 1) for block in model.blocks(rows, seed=1, shard_index=index, num_shards=2)]
    pd.testing.assert_frame_equal(pd.concat(shards, ignore_index=True), made)


def test_sequences_in_the_place_of_rejected_ones_have_names_of_their_own():
    table = visits(least=4, most=8)
    rule = Range(name="mild", column="x", high=1.5, policy="reject")  # a third of the sequences break it
    for length in (0, 6):
        model = fitted(table, constraints=[rule], length=length)
        require_apart(model.sample(len(table), seed=1), model.schema)


DECLARED = {
    "numbers": (int, Numeric(public=True, dtype="int64", low=0, high=299, places=0), "wider bounds"),
    "categories": (
        "p{:03d}".format,
        Categorical(public=True, categories=tuple(f"p{number:03d}" for number in range(300))),
        "more categories",
    ),
}


@pytest.mark.parametrize("kind", DECLARED)
def test_names_that_a_person_declared_are_kept_to_and_more_sequences_are_refused(kind):
    name, column, remedy = DECLARED[kind]
    table = visits(name=name)
    column = replace(column, dtype=str(table["pid"].dtype))
    model = fitted(table, schema=declared(table, column))
    assert model.schema.columns["pid"] == column
    for seed in range(10):  # half of the times lengths would make more than 300 sequences
        require_apart(model.sample(len(table), seed=seed), model.schema)
    for conditions in (None, {"s": "a"}):
        with pytest.raises(SchemaError, match=f"column 'pid' has 300; draw fewer rows, .*{remedy}"):
            model.sample(2 * len(table), seed=1, conditions=conditions)


def test_blocks_share_names_that_a_person_declared():
    table = visits(2_000, least=20, most=20)
    column = Numeric(public=True, dtype="int64", low=0, high=2_499, places=0)
    model = fitted(table, schema=declared(table, column))
    require_apart(model.sample(len(table), seed=1), model.schema)
    with pytest.raises(SchemaError, match="its share of column 'pid'"):
        model.sample(2 * len(table), seed=1)


def test_names_end_where_numbers_of_the_column_do():
    table = visits(100, least=8, most=8).astype({"pid": "int8"})
    model = fitted(table, length=8)
    require_apart(model.sample(8 * 120, seed=1), model.schema)
    with pytest.raises(SchemaError, match="column 'pid' has 128"):
        model.sample(8 * 200, seed=1)


PROFILED = {
    "texts that enough rows share": ("p{:03d}".format, {}),
    "texts that few rows share": ("p{:03d}".format, {"least": 2, "most": 9}),
    "a person's texts": ("person {}".format, {"least": 2, "most": 9}),
    "identifiers by their name": (lambda number: 7 * number + 3, {"least": 2, "most": 9}),
}


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("kind", PROFILED)
def test_sequences_by_text_or_a_key_that_a_profile_found_are_drawn_as_many_as_are_asked_for(kind, times, tmp_path):
    name, sizes = PROFILED[kind]
    table = visits(name=name, **sizes).rename(columns={"pid": "person_id"})
    options = {"group": "person_id", "order_by": "t"}
    model = synth.fit(table, generator="tabular.markov", seed=0, options=options)
    assert isinstance(model.schema.columns["person_id"], Key)
    for seed in range(5):
        made = model.sample(times * len(table), seed=seed)
        assert made["person_id"].dtype == table["person_id"].dtype
        require_apart(made.rename(columns={"person_id": "pid"}), model.schema, name="person_id")
        if table["person_id"].dtype.kind != "i":  # the least numbers are new ones that somebody may have
            assert not set(made["person_id"]) & set(table["person_id"])
    model.save(tmp_path / "m")
    loaded = synth.load(tmp_path / "m")
    assert loaded.schema == model.schema
    pd.testing.assert_frame_equal(loaded.sample(2_000, seed=3), model.sample(2_000, seed=3))


def test_a_rule_within_sequences_by_text_sees_them():
    table = visits(name="p{:03d}".format, least=2, most=9)
    rule = Monotone(name="rises", column="x", order="t", by=("pid",), policy="reject")
    model = fitted(table, constraints=[rule])
    made = model.sample(300, seed=1)
    require_apart(made, model.schema)
    assert (made.groupby("pid")["x"].diff().dropna() >= 0).all()


def test_a_key_of_sequences_makes_no_rows_unique_by_construction():
    table = visits(name="p{:03d}".format, least=2, most=9)
    model = fitted(table, constraints=[Unique(name="once", columns=("pid", "s"))])
    made = model.sample(200, seed=1)
    assert not made.duplicated(["pid", "s"]).any()


def test_a_monitor_leaves_out_the_names_of_sequences():
    table = visits(name="p{:03d}".format)
    model, schema = fitted(table), synth.profile(table).schema
    assert isinstance(schema.columns["pid"], Categorical)
    rest = table.drop(columns="pid")
    scores = [
        QualityMonitor(Dataset({"table": rows}, known)).judge(model.sampler, 1)
        for rows, known in ((table, schema), (rest, synth.profile(rest).schema))
    ]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("generator", ["auto", "tabular.markov", "tabular.trees"])
def test_no_person_of_a_sequence_or_a_unit_is_named_however_many_rows_are_his(generator, tmp_path):
    """All rows that support a name are one person's: it has the support of one."""
    table = visits(12, least=40, most=40, name="PATIENT-{:04d}".format)
    table["pid"] = pd.Categorical(table["pid"]) if generator == "auto" else table["pid"]
    schema = synth.profile(table).schema
    assert isinstance(schema.columns["pid"], Categorical)
    schema = replace(schema, unit=Unit(schema.root, ("pid",), max_rows=40), order={schema.root: "t"})
    options = BY | {"length": 40} if generator == "tabular.markov" else {}
    model = synth.fit(table, generator=generator, seed=0, schema=schema, options=options)
    made = model.sample(480, seed=1)
    persons = set(table["pid"])
    assert not persons & set(made["pid"])
    assert made["pid"].astype(str).str.startswith("PATIENT-").all()
    model.save(tmp_path / "m")
    held = b"".join(one.read_bytes() for one in (tmp_path / "m").rglob("*") if one.is_file())
    assert not [one for one in persons if one.encode() in held]


@pytest.mark.parametrize(
    ("prefix", "kept"),
    [
        ("AnnaMeier", ""),
        ("anna", ""),
        ("Li-", ""),
        ("A. M. ", ""),
        ("Zoë", ""),
        ("李", ""),
        ("patient Anna Meier ", ""),
        ("PATIENTMEIER", ""),
        ("p", "p"),
        ("C-", "C-"),
        ("patientId_", "patientId_"),
        ("Person #", "Person #"),
    ],
)
def test_what_sequences_are_called_before_their_number_is_kept_only_if_it_is_no_name(prefix, kept):
    table = visits(12, least=12, most=12, name=lambda number: f"{prefix}{number}")
    model = fitted(table, length=12)
    assert model.schema.columns["pid"].prefix == kept
    assert model.sample(60, seed=1)["pid"].str.fullmatch(re.escape(kept) + r"\d+").all()


def test_no_word_that_a_prefix_may_hold_is_a_known_name():
    assert not PUBLIC_WORDS & (given_names() | family_names())


def test_keys_with_nulls_tell_no_sequences_apart():
    table = visits(name="p{:03d}".format, least=2, most=9)
    table.loc[3, "pid"] = None
    with pytest.raises(SchemaError, match=r"'pid' cannot be group: .* without nulls"):
        fitted(table)


def test_auto_takes_persons_of_a_key_as_sequences():
    table = visits(least=2, most=9)
    schema = replace(declared(table, Key(public=True)), order={"table": "t"}, unit=Unit("table", ("pid",), max_rows=9))
    model = synth.fit(table, generator="auto", seed=0, schema=schema, options={"time_limit": 30})
    assert model.manifest.choice["options"] == {"group": "pid"}
    require_apart(model.sample(len(table), seed=1), model.schema)


def test_a_model_saves_and_draws_the_same_names(tmp_path):
    model = fitted(visits())
    model.save(tmp_path / "m")
    loaded = synth.load(tmp_path / "m")
    assert loaded.schema == model.schema
    pd.testing.assert_frame_equal(loaded.sample(9_000, seed=3), model.sample(9_000, seed=3))


def test_too_few_sequences_to_learn_lengths_of_are_told_with_what_helps():
    table = visits(6, least=30)
    with pytest.raises(UnsupportedError, match="set length and name no order_by, or lower min_cat"):
        fitted(table)
    with pytest.raises(UnsupportedError, match="set length, or lower min_category_count"):
        fitted(table, order_by="")
    made = fitted(table, order_by="", length=10).sample(60, seed=1)
    assert made["pid"].nunique() == 6
    assert fitted(table, min_category_count=1).sample(60, seed=1)["pid"].nunique() > 1
