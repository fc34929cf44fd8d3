"""A model is immutable: drawing from it in many threads at once gives what one thread draws."""

import threading

import numpy as np
import pandas as pd
import pytest
from cases import LIBRARIES

from synth_components.constraints import Inequality
from synth_components.fitting import fit

CALLS = 100


def rows(n=400):
    rng = np.random.default_rng(0)
    start = rng.integers(0, 50, n)
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "mail": [f"person{number}@example.org" for number in range(n)],
            "start": start,
            "end": start + rng.integers(1, 20, n),
            "city": rng.choice(["Rome", "Oslo", "Bonn"], n),
            "gap": np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n).round(2)),
        }
    )


@pytest.mark.parametrize(
    ("generator", "options"),
    [
        ("tabular.trees", {"correction_trees": 2, "correction_rounds": 1, "n_trees": 2}),
        pytest.param("tabular.independent", {}, marks=pytest.mark.slow),
        pytest.param("tabular.gaussian_copula", {}, marks=pytest.mark.slow),
        pytest.param("tabular.autoregressive", {"epochs": 1, "hidden": 16}, marks=pytest.mark.slow),
    ],
)
def test_a_hundred_simultaneous_draws_give_the_serial_bytes(generator, options):
    if generator in LIBRARIES:
        pytest.importorskip(LIBRARIES[generator], reason="the extra that it needs is not installed")
    rule = Inequality(name="order", low="start", high="end", strict=True)
    model = fit(rows(), generator=generator, seed=0, options=options, constraints=[rule])
    seeds = [number % 4 for number in range(CALLS)]
    serial = {seed: drawn(model, seed) for seed in set(seeds)}
    together: dict[int, bytes] = {}
    start = threading.Barrier(CALLS)

    def work(number):
        start.wait()
        together[number] = drawn(model, seeds[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CALLS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(serial.values())) == 4
    assert [together.get(number) for number in range(CALLS)] == [serial[seed] for seed in seeds]


def drawn(model, seed):
    """Return the rows as bytes: under a condition where the seed is odd."""
    conditions = {"city": "Rome"} if seed % 2 else None
    table: pd.DataFrame = model.sample(20, seed=seed, conditions=conditions)
    return table.to_csv(index=False).encode()
