"""What a person of many rows gives to a network: no more rows than each of some others."""

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.generators import make
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Dataset, Run
from synth_components.schema import TABLE, Categorical, Key, Schema, Unit
from synth_components.support import evened_out

torch = pytest.importorskip("torch", reason="the extra torch is not installed")

PERSONS, EACH, HIS = 120, 4, 80
LEAST = 12
SMALL = {
    "tabular.autoregressive": {"hidden": 8, "epochs": 1},
    "tabular.copula_gan": {"hidden": 8, "depth": 1, "latent": 4, "epochs": 2, "critic_steps": 2},
    "tabular.ctgan": {"generator_widths": (8,), "critic_widths": (8,), "latent": 4, "epochs": 1, "batch_rows": 50},
    "tabular.diffusion": {"hidden": 8, "depth": 1, "epochs": 1},
    "tabular.latent_diffusion": {"hidden": 8, "depth": 1, "latent": 2, "epochs": 1, "autoencoder_epochs": 1},
    "tabular.table_gan": {"channels": 2, "latent": 4, "epochs": 1},
    "tabular.transformer": {"hidden": 8, "heads": 1, "depth": 1, "epochs": 1},
    "tabular.vae": {"hidden": 8, "depth": 1, "epochs": 1},
}
WHO = np.append(np.repeat(np.arange(PERSONS), EACH), np.full(HIS, PERSONS))
IS_HIS = WHO == PERSONS


def towns_and_jobs():
    """Return towns and jobs of persons, four rows each, and of one more, who has 80."""
    rng = np.random.default_rng(0)
    return pd.DataFrame({"town": rng.integers(10, size=len(WHO)), "job": rng.integers(12, size=len(WHO))}).astype(str)


def learnt(recipe, table, *, owners):
    """Return all that a model says of pairs, as arrays by name."""
    columns = {name: Categorical(categories=tuple(sorted(set(table[name])))) for name in table}
    data = Dataset({TABLE: table}, Schema({TABLE: columns}), owners=owners)
    return recipe.fit(data, rng=np.random.default_rng(0), ledger=Ledger(), run=Run()).weights


@pytest.mark.parametrize("name", SMALL)
def test_of_a_person_of_many_rows_a_network_reads_as_many_as_of_others(name):
    if name == "tabular.ctgan":
        pytest.importorskip("ctgan", reason="the extra ctgan is not installed")
    recipe = make(name, {**SMALL[name], "min_category_count": LEAST})
    table = towns_and_jobs()
    unread = np.flatnonzero(IS_HIS & ~evened_out(WHO, least=LEAST))
    assert len(unread) == HIS - EACH
    other = table.copy()  # each column by itself is what it was
    other.loc[unread, "job"] = np.random.default_rng(1).permutation(table.loc[unread, "job"])
    for owners in (WHO, None):
        told, otherwise = (learnt(recipe, rows, owners=owners) for rows in (table, other))
        is_same = all(np.array_equal(array, otherwise[key]) for key, array in told.items())
        assert is_same == (owners is not None)


def test_the_pair_that_one_person_has_is_drawn_as_if_he_were_like_others():
    table = towns_and_jobs()
    table.loc[~IS_HIS & (table["town"] == "3") & (table["job"] == "5"), "job"] = "6"
    table[IS_HIS] = ["3", "5"]
    columns = {name: Categorical(categories=tuple(sorted(set(table[name])))) for name in table}
    table["who"] = WHO.astype(str)
    columns["who"] = Key(dtype=str(table["who"].dtype))
    drawn = []
    for unit in (None, Unit(TABLE, ("who",), HIS)):
        options = {"hidden": 32, "epochs": 30, "batch_rows": 128, "holdout_share": 0}  # he may be held out
        schema = Schema({TABLE: columns}, unit=unit)
        made = synth.fit(table, generator="tabular.autoregressive", schema=schema, seed=0, options=options)
        made = made.sample(10 * len(table), seed=1)
        drawn.append(((made["town"] == "3") & (made["job"] == "5")).mean())
    assert drawn[0] > 0.9 * HIS / len(table)
    assert drawn[1] < 0.2 * HIS / len(table)


def test_a_fit_of_two_stages_tells_once_how_many_rows_it_leaves_out(caplog):
    table = towns_and_jobs()
    columns = {name: Categorical(categories=tuple(sorted(set(table[name])))) for name in table}
    table["who"] = WHO.astype(str)
    columns["who"] = Key(dtype=str(table["who"].dtype))
    schema = Schema({TABLE: columns}, unit=Unit(TABLE, ("who",), HIS))
    options = {**SMALL["tabular.vae"], "min_category_count": LEAST}
    model = synth.fit(table, generator="tabular.vae", schema=schema, seed=0, options=options)
    caplog.clear()
    synth.fit(table, generator="tabular.vae", seed=0, options=options, start=model)  # encoder, then both
    assert len([told for told in caplog.messages if "not learnt from" in told]) == 1
