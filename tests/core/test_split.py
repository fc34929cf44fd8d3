import numpy as np
import pandas as pd
import pytest

from synth_components.errors import DataError, SchemaError
from synth_components.protocols import Dataset
from synth_components.schema import TABLE, Numeric, Schema, Unit
from synth_components.split import (
    folds,
    in_time,
    last_rows,
    past_and_future,
    reduced,
    sides_of,
    split,
    together,
    units,
    units_of,
)
from synth_components.steps.run import RunConfig
from synth_components.steps.split import STRATA, SplitConfig, split_for
from synth_components.steps.split import split as split_step


def table(n=100):
    return pd.DataFrame(
        {"row": range(n), "person": np.arange(n) // 4, "kind": ["a"] * (n - n // 10) + ["b"] * (n // 10)}
    )


def test_the_sides_are_disjoint_and_whole():
    train, holdout = split(table(), share=0.2, rng=np.random.default_rng(0))
    assert sorted([*train["row"], *holdout["row"]]) == list(range(100))
    assert len(holdout) == 20


def test_a_person_stands_on_one_side_only():
    train, holdout = split(table(), share=0.2, rng=np.random.default_rng(0), unit=("person",))
    assert not set(train["person"]) & set(holdout["person"])
    assert holdout["person"].nunique() == 5


def test_persons_of_the_pandas_dtype_category_are_told_apart_as_others_are():
    names = pd.Series(np.arange(3_000) // 3).map("p{}".format)
    rows = pd.DataFrame({"bank": pd.Categorical(names), "person": pd.Categorical(names), "plain": names})
    # Of 1000 categories each there are 10^6 combinations, and 1000 persons.
    assert units(rows, ("bank", "person")).tolist() == (np.arange(3_000) // 3).tolist()
    assert units(rows, ("plain",)).tolist() == (np.arange(3_000) // 3).tolist()


def test_rows_without_a_person_form_one_unit():
    rows = table().assign(person=[None] * 8 + list(range(92)))
    train, holdout = split(rows, share=0.5, rng=np.random.default_rng(1), unit=("person",))
    assert train["person"].isna().all() != holdout["person"].isna().any() or {
        int(train["person"].isna().sum()),
        int(holdout["person"].isna().sum()),
    } == {0, 8}


def test_strata_keep_their_shares():
    _, holdout = split(table(), share=0.2, rng=np.random.default_rng(0), stratify="kind")
    assert (holdout["kind"] == "b").sum() == 2


def test_the_same_seed_gives_the_same_split_and_another_does_not():
    first, again, other = (split(table(), share=0.3, rng=np.random.default_rng(s))[1] for s in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(other)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_that_empties_a_side_is_refused(share):
    with pytest.raises(DataError, match="share"):
        split(table(), share=share, rng=np.random.default_rng(0))


def test_some_rows_keep_the_unit_that_a_key_tells():
    whole = Dataset({TABLE: table()[["row"]]}, Schema({TABLE: {"row": Numeric()}}), owners=np.arange(100) // 4)
    sides = sides_of(whole, share=0.2, rng=np.random.default_rng(0), least=5)
    for side, count in zip(sides, (20, 5), strict=True):
        assert np.bincount(side.owners).tolist() == [4] * count
        assert (side.table["row"].to_numpy() // 4 == np.repeat(side.table["row"].to_numpy()[::4] // 4, 4)).all()
    torn = Dataset({TABLE: table()[["row"]][:50]}, whole.schema, owners=whole.owners)
    with pytest.raises(DataError, match="units of 100 rows are told, and there are 50 rows"):
        units_of(torn)


def test_parts_of_one_sequence_follow_each_other():
    rows = pd.DataFrame({"at": [5, 1, 3, 1, 4], "x": list("edacb")})
    assert [part.tolist() for part in in_time(rows, 3, order="at")] == [[1, 3], [2, 4], [0]]
    assert [part.tolist() for part in in_time(rows, 2, order="")] == [[0, 1, 2], [3, 4]]
    past, future = past_and_future(rows, share=0.4, order="at")
    assert (past["at"].tolist(), future["at"].tolist()) == ([1, 1, 3], [4, 5])
    assert last_rows(rows, 2, order="at")["at"].tolist() == [4, 5]
    with pytest.raises(DataError, match="6 parts of a sequence"):
        in_time(rows, 6, order="at")
    with pytest.raises(SchemaError, match="'when'"):
        in_time(rows, 2, order="when")


def test_a_single_unit_cannot_be_split():
    with pytest.raises(DataError, match="at least 2"):
        split(table().assign(person=1), share=0.5, rng=np.random.default_rng(0), unit=("person",))


def test_an_unknown_column_is_refused_by_name():
    with pytest.raises(SchemaError, match="'nobody'"):
        split(table(), share=0.5, rng=np.random.default_rng(0), unit=("nobody",))


def test_two_rows_give_one_to_each_side():
    train, holdout = split(table(2), share=0.01, rng=np.random.default_rng(0))
    assert (len(train), len(holdout)) == (1, 1)


@pytest.mark.parametrize("unit", [(), ("person",)], ids=["row", "person"])
def test_one_unit_more_moves_no_other_if_hashes_decide(unit):
    # Otherwise a private fit on training rows says little of the table: with the same seed most rows change sides.
    more = pd.concat([pd.DataFrame({"row": [-1], "person": [-1], "kind": ["c"]}), table()], ignore_index=True)

    def kept(rows, **how):
        train, _ = split(rows, share=0.3, rng=np.random.default_rng(0), unit=unit, **how)
        return set(train["row"]) - {-1}

    assert kept(table(), hashed=True) == kept(more, hashed=True)
    assert len(kept(table()) ^ kept(more)) > 20


def test_hashes_meet_the_share_on_average_and_keep_both_sides_and_no_strata():
    train, holdout = split(table(2_000), share=0.3, rng=np.random.default_rng(0), hashed=True)
    assert sorted([*train["row"], *holdout["row"]]) == list(range(2_000))
    assert abs(len(holdout) - 600) < 5 * (2_000 * 0.3 * 0.7) ** 0.5
    with pytest.raises(DataError, match="keeps no strata"):
        split(table(), share=0.3, rng=np.random.default_rng(0), stratify="kind", hashed=True)
    with pytest.raises(DataError, match="would be empty"):
        split(table(2), share=1e-9, rng=np.random.default_rng(0), hashed=True)


def test_a_run_under_epsilon_splits_by_hashes_unless_it_is_told_how():
    def asked(privacy="dp", **options):
        config = RunConfig.parse({"train": {"privacy": privacy}, "split": options})
        return split_for(config.split, config.train.privacy).is_hashed

    assert asked()
    assert not asked("none")
    assert not asked(hashed=False)
    assert not asked(stratify="kind")
    said = SplitConfig.parse({"hashed": True})
    assert split_for(said, "dp").privacy == "dp"  # it refuses what one row could change as any private split does
    assert split_for(said, "none") == said


def test_the_step_splits_by_hashes_for_a_private_fit_and_says_what_strata_cost(tmp_path, caplog):
    table(400).to_parquet(tmp_path / "rows.parquet")

    def kept(**options):
        config = SplitConfig(share=0.3, seed=1, **options)
        places = {name: tmp_path / f"{name}.parquet" for name in ("train", "holdout")}
        split_step(config, data=tmp_path / "rows.parquet", **places)
        return set(pd.read_parquet(places["train"])["row"])

    assert kept(privacy="dp") == kept(hashed=True) != kept()
    assert STRATA not in caplog.text
    assert kept(privacy="dp", stratify="kind") == kept(stratify="kind")
    assert STRATA in caplog.text


def test_rows_fall_alike_whether_or_not_their_types_hold_nulls_and_there_is_one():
    plain = pd.DataFrame({"i": np.arange(-200, 200), "f": np.arange(400) / 7, "b": np.arange(400) % 3 == 0})
    plain["u"] = plain["i"].astype("int8")
    typed = plain.astype({"i": "Int64", "f": "Float64", "b": "boolean", "u": "Int8"})
    missing = typed.reindex(range(401))
    held = [split(one, share=0.3, rng=np.random.default_rng(0), hashed=True)[1] for one in (plain, typed, missing)]
    assert set(held[0]["i"]) == set(held[1]["i"]) == set(held[2]["i"].dropna())


@pytest.mark.parametrize("unit", [(), ("person",)], ids=["row", "person"])
def test_another_seed_moves_hashed_numbers_to_other_sides(unit):
    numbers = table()[["row", "person"]]
    rngs = [np.random.default_rng(seed) for seed in (0, 1)]
    held = [split(numbers, share=0.3, rng=rng, unit=unit, hashed=True)[1] for rng in rngs]
    assert set(held[0]["row"]) != set(held[1]["row"])


def counted():
    whole = Numeric(places=0)
    return Dataset({TABLE: table()[["row", "person"]]}, Schema({TABLE: {"row": whole, "person": whole}}))


def test_a_person_is_in_one_fold_and_every_row_in_some():
    parts = folds(table(), 3, rng=np.random.default_rng(0), unit=("person",))
    assert sorted(np.concatenate(parts)) == list(range(100))
    persons = [set(table()["person"].iloc[part]) for part in parts]
    assert sorted(len(one) for one in persons) == [8, 8, 9]
    assert len(set.union(*persons)) == 25


def test_folds_of_rows_are_those_of_a_permutation():
    order = np.random.default_rng(7).permutation(100)
    expected = [np.sort(part) for part in np.array_split(order, 3)]
    assert all(map(np.array_equal, folds(table(), 3, rng=np.random.default_rng(7)), expected))


def test_more_folds_than_units_are_refused():
    with pytest.raises(DataError, match="3 folds need as many different values of kind, and there are 2"):
        folds(table(), 3, rng=np.random.default_rng(0), unit=("kind",))


class InBatches(Dataset):
    """A table that is read in parts."""

    @property
    def is_lazy(self):
        return True

    def batches(self, name=TABLE, rows=7):
        return (self.tables[name].iloc[start : start + rows] for start in range(0, 100, rows))


@pytest.mark.parametrize("kind", [Dataset, InBatches], ids=["in memory", "in batches"])
def test_fewer_rows_are_those_of_whole_persons_drawn_at_random(kind):
    data = kind(counted().tables, counted().schema)
    kept = [reduced(data, 42, rng=np.random.default_rng(seed), unit=("person",)).table for seed in range(3)]
    assert all(set(one.groupby("person").size()) == {4} and len(one) == 40 for one in kept)
    assert len({tuple(one["row"]) for one in kept}) == 3
    assert all(one["row"].is_monotonic_increasing for one in kept)


def test_persons_of_more_rows_than_are_wanted_still_give_two_sides():
    kept = reduced(counted(), 3, rng=np.random.default_rng(0), unit=("person",)).table
    assert kept["person"].nunique() == 2


def test_the_unit_comes_before_the_sequence_if_it_names_columns():
    class Sequences:
        group = "row"

    plain = counted().schema
    by_person = Schema(plain.tables, unit=Unit(TABLE, ("person",)))
    assert together(plain) == ()
    assert together(plain, Sequences()) == together(Schema(plain.tables, unit=Unit(TABLE)), Sequences()) == ("row",)
    assert together(by_person, Sequences()) == ("person",)


def test_both_zeros_are_one_unit_on_one_side():
    table = pd.DataFrame({"who": [0.0, -0.0, *np.arange(1.0, 60.0)]})
    for seed in range(20):
        kept, held = split(table, share=0.5, rng=np.random.default_rng(seed), unit=("who",), hashed=True)
        assert {(kept["who"] == 0).sum(), (held["who"] == 0).sum()} == {0, 2}
