"""A table for every type of rule in which the rule is planted, and one in which it does not hold."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from synth_components.constraints import (
    ConditionalNull,
    ConstantSum,
    Derived,
    ExactlyOne,
    Expression,
    FixedCombinations,
    FunctionalDependency,
    Hierarchy,
    Implication,
    Inequality,
    Monotone,
    NotNull,
    Pattern,
    Range,
    Rule,
    Unique,
    ValueSet,
)

N = 1_500


def rng(seed=0):
    return np.random.default_rng(seed)


@dataclass(frozen=True)
class Planted:
    """A rule, a table that obeys it, and the change that breaks it in every row of a mask."""

    rule: Rule
    table: Callable[[np.random.Generator], pd.DataFrame]
    without: Callable[[np.random.Generator], pd.DataFrame]
    # The same rule as mining writes it, if it writes it otherwise.
    mined: Rule | None = None


def choice(rng, values, n=N):
    return np.array(values, dtype=object)[rng.integers(len(values), size=n)]


def gapped(values, mask):
    return pd.Series(values, dtype="float64").mask(mask)


def noise(rng):
    """Columns without any relation: what a table has beside the rule."""
    return {"noise": rng.normal(50, 9, N), "kind": choice(rng, ["p", "q", "r"])}


def shares(rng, total):
    first, second = rng.integers(0, 40, N), rng.integers(0, 40, N)
    return pd.DataFrame({"a": first, "b": second, "c": total - first - second, **noise(rng)})


PLACES = [
    (("North", "East")[i % 2], f"R{i % 4}", f"S{i % 8}", f"T{i}") for i in range(16)
]  # 2 > 4 > 8 > 16 values, each level below the one before


def places(rng):
    return pd.DataFrame([PLACES[i] for i in rng.integers(16, size=N)], columns=["zone", "region", "state", "town"])


def odometers(rng, *, sorted_readings):
    car = choice(rng, ["k1", "k2", "k3", "k4"])
    date = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 3_000, N), unit="D")
    table = pd.DataFrame({"car": car, "date": date, "reading": rng.integers(0, 200_000, N), **noise(rng)})
    if sorted_readings:
        for _, part in table.groupby("car"):
            table.loc[part.sort_values("date").index, "reading"] = np.sort(part["reading"])
    return table


CASES = {
    "range": Planted(
        Range(column="a", low=10, high=20),
        lambda rng: pd.DataFrame({"a": rng.uniform(10, 20, N).round(3), **noise(rng)}),
        lambda rng: pd.DataFrame({"a": rng.normal(15, 5, N).round(3), **noise(rng)}),
    ),
    "value_set": Planted(
        ValueSet(column="a", values=(1, 5, 10, 50)),
        lambda rng: pd.DataFrame({"a": choice(rng, [1, 5, 10, 50]).astype("int64"), **noise(rng)}),
        lambda rng: pd.DataFrame({"a": rng.integers(0, 60, N), **noise(rng)}),
    ),
    "not_null": Planted(
        NotNull(column="a"),
        lambda rng: pd.DataFrame({"a": rng.normal(size=N), "b": gapped(rng.normal(size=N), rng.random(N) < 0.3)}),
        lambda rng: pd.DataFrame(
            {
                "a": gapped(rng.normal(size=N), rng.random(N) < 0.1),
                "b": gapped(rng.normal(size=N), rng.random(N) < 0.3),
            }
        ),
    ),
    "pattern": Planted(
        Pattern(column="a", pattern="AB\\-[0-9]{4}"),
        lambda rng: pd.DataFrame({"a": [f"AB-{i:04d}" for i in rng.integers(0, 9_999, N)], **noise(rng)}),
        lambda rng: pd.DataFrame(
            {"a": [f"AB-{i:04d}" if i % 9 == 0 else f"{i:x}{'-' * (i % 3)}{i % 7}" for i in range(N)], **noise(rng)}
        ),
    ),
    "inequality": Planted(
        Inequality(low="a", high="b"),
        lambda rng: pd.DataFrame({"a": (a := rng.integers(0, 50, N)), "b": a + rng.integers(0, 30, N), **noise(rng)}),
        lambda rng: pd.DataFrame({"a": rng.integers(0, 50, N), "b": rng.integers(0, 80, N), **noise(rng)}),
    ),
    "derived": Planted(
        Derived(column="c", expression="a * b", places=2),
        lambda rng: pd.DataFrame(
            {"a": (a := rng.uniform(1, 9, N).round(1)), "b": (b := rng.integers(1, 9, N)), "c": (a * b).round(2)}
        ),
        lambda rng: pd.DataFrame(
            {
                "a": (a := rng.uniform(1, 9, N).round(1)),
                "b": (b := rng.integers(1, 9, N)),
                "c": (a * b + rng.normal(size=N)).round(2),
            }
        ),
        mined=Derived(column="c", expression="a * b", places=1),
    ),
    "constant_sum": Planted(
        ConstantSum(columns=("a", "b", "c"), total=100),
        lambda rng: shares(rng, 100),
        lambda rng: shares(rng, rng.integers(90, 110, N)),
    ),
    "functional_dependency": Planted(
        FunctionalDependency(
            determinant=("city",), dependent="land", mapping={"Bonn": "DE", "Lyon": "FR", "Nice": "FR", "Rome": "IT"}
        ),
        lambda rng: pd.DataFrame({"city": choice(rng, ["Bonn", "Lyon", "Nice", "Rome"]), **noise(rng)}).assign(
            land=lambda t: t["city"].map({"Bonn": "DE", "Lyon": "FR", "Nice": "FR", "Rome": "IT"})
        ),
        lambda rng: pd.DataFrame(
            {
                "city": choice(rng, ["Bonn", "Lyon", "Nice", "Rome"]),
                "land": choice(rng, ["DE", "FR", "IT"]),
                **noise(rng),
            }
        ),
    ),
    "fixed_combinations": Planted(
        FixedCombinations(
            columns=("a", "b"), combinations=tuple((x, y) for x in "uvw" for y in "ijk" if x + y != "ui")
        ),
        lambda rng: (
            pd.DataFrame({"a": choice(rng, list("uvw")), "b": choice(rng, list("ijk"))})
            .query("a != 'u' or b != 'i'")
            .reset_index(drop=True)
        ),
        lambda rng: pd.DataFrame({"a": choice(rng, list("uvw")), "b": choice(rng, list("ijk"))}),
    ),
    "hierarchy": Planted(
        Hierarchy(levels=("zone", "region", "state", "town"), paths=tuple(sorted(PLACES))),
        places,
        lambda rng: places(rng).assign(region=choice(rng, ["R0", "R1", "R2", "R3"]), state=choice(rng, ["S1", "S2"])),
    ),
    "unique": Planted(
        Unique(columns=("a",)),
        lambda rng: pd.DataFrame({"a": rng.permutation(4 * N)[:N], **noise(rng)}),
        lambda rng: pd.DataFrame({"a": rng.integers(0, 4 * N, N), **noise(rng)}),
    ),
    "composite_unique": Planted(
        Unique(columns=("a", "b")),
        lambda rng: pd.DataFrame({"a": (k := rng.permutation(60 * 60)[:N]) // 60, "b": k % 60, **noise(rng)}),
        lambda rng: pd.DataFrame({"a": rng.integers(0, 60, N), "b": rng.integers(0, 60, N), **noise(rng)}),
    ),
    "monotone": Planted(
        Monotone(column="reading", order="date", by=("car",)),
        lambda rng: odometers(rng, sorted_readings=True),
        lambda rng: odometers(rng, sorted_readings=False),
    ),
    "implication": Planted(
        Implication(when="age < 16", then="married == 'no'"),
        lambda rng: pd.DataFrame({"age": rng.integers(0, 60, N), **noise(rng)}).assign(
            married=lambda t: np.where(t["age"] < 16, "no", choice(rng, ["no", "yes", "once"])).astype(object)
        ),
        lambda rng: pd.DataFrame(
            {"age": rng.integers(0, 60, N), "married": choice(rng, ["no", "yes", "once"]), **noise(rng)}
        ),
    ),
    "conditional_null": Planted(
        ConditionalNull(column="wage", when="job == 'none'"),
        lambda rng: pd.DataFrame(
            {
                "job": (job := choice(rng, ["none", "part", "full"])),
                "wage": gapped(rng.uniform(9, 99, N), job == "none"),
                **noise(rng),
            }
        ),
        lambda rng: pd.DataFrame(
            {
                "job": choice(rng, ["none", "part", "full"]),
                "wage": gapped(rng.uniform(9, 99, N), rng.random(N) < 0.3),
                **noise(rng),
            }
        ),
    ),
    "exactly_one": Planted(
        ExactlyOne(columns=("a", "b", "c")),
        lambda rng: pd.DataFrame(
            {
                name: gapped(rng.uniform(0, 9, N), mask)
                for way in [rng.integers(0, 3, N)]
                for name, mask in (("a", way != 0), ("b", way != 1), ("c", way != 2))
            }
        ),
        lambda rng: pd.DataFrame({name: gapped(rng.uniform(0, 9, N), rng.random(N) < 0.66) for name in "abc"}),
    ),
    "expression": Planted(
        Expression(expression="a + b <= c"),
        lambda rng: pd.DataFrame(
            {"a": (a := rng.uniform(0, 50, N)), "b": (b := rng.uniform(0, 50, N)), "c": a + b + rng.uniform(0, 30, N)}
        ),
        lambda rng: pd.DataFrame(
            {"a": (a := rng.uniform(0, 50, N)), "b": (b := rng.uniform(0, 50, N)), "c": a + b + rng.normal(0, 30, N)}
        ),
    ),
}
