"""Smoke tests of privacy: direct identifiers, rows that stand alone, copies of real rows.

They find what is plainly wrong and prove nothing else.  A row that stands alone need be nobody: without the real rows
nothing tells whether it is somebody's.

Source: Sweeney 2002, "k-anonymity: a model for protecting privacy", for classes of rows that share quasi-identifiers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synth_components.errors import SchemaError
from synth_components.evaluation import PrivacyConfig, evaluate
from synth_components.evaluation.card import DCR_LABEL
from synth_components.privacy.ledger import Ledger
from synth_components.profile import Profile
from synth_components.schema import Schema
from synth_components.validation.options import ValidateConfig
from synth_components.validation.tally import Tally, measure, share

NO_REAL = (
    "No real rows were given, so that nothing was looked for copies of: the privacy verdict rests on direct "
    "identifiers and, where quasi-identifiers were named, on rows that stand alone. Neither says whether a row is "
    "somebody's."
)

_SHARE = "privacy.dcr.share"


def identifiers(found: Profile, *, config: ValidateConfig) -> Tally:
    """Return which columns look like direct identifiers, but those that are known."""
    tally = Tally("smoke test")
    columns = [warning.column for warning in found.warnings if warning.kind == "identifier"]
    known = [name for name in columns if name in config.known_identifiers]
    unknown = [name for name in columns if name not in known]
    for name in unknown:
        tally.advise(
            (name,),
            f"column '{name}' looks like a direct identifier",
            "drop or replace it, or list it in known_identifiers if its values are made up",
            weight=2.0,
        )
    if known:
        tally.notes.append(f"Known to hold direct identifiers, and not counted: {', '.join(known)}.")
    tally.check(
        "columns of direct identifiers", measure("privacy.identifiers", float(len(unknown)), ideal=0.0), "<=", 0.0
    )
    return tally


def anonymity(table: pd.DataFrame, *, config: ValidateConfig) -> Tally:
    """Return how many rows share their quasi-identifiers with fewer rows than asked.

    Raises:
        SchemaError: for a quasi-identifier that the table does not have.
    """
    tally, columns = Tally("smoke test"), config.quasi_identifiers
    for name in columns:
        if name not in table:
            raise SchemaError(
                f"the table has no column '{name}', or none that a schema can hold, to be a quasi-identifier",
                column=name,
            )
    if not columns:
        tally.leave_out("privacy.exposed", "", "no quasi-identifiers were named")
        return tally
    sizes = class_sizes(table, columns)
    rows = len(sizes)
    few = int((sizes < config.min_class_size).sum())
    together = ", ".join(columns)
    tally.scores += [
        share("privacy.unique", int((sizes == 1).sum()), rows, ideal=0.0),
        measure("privacy.k", float(sizes.min()), ideal=float(config.min_class_size)),
    ]
    tally.check(
        f"rows that fewer than {config.min_class_size} share {together} with",
        share("privacy.exposed", few, rows, ideal=0.0),
        "<=",
        config.max_exposed,
        finding=f"{few:,} rows share {together} with fewer than {config.min_class_size} rows",
        change="coarsen these columns, or leave rare combinations out",
    )
    tally.notes.append(
        f"Rows that share {together} are one class of k-anonymity. A small class is no disclosure by itself, and a "
        "large one no protection of what its rows have in common."
    )
    return tally


def class_sizes(table: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.int64]:
    """Return how many rows, itself among them, share ``columns`` with each row, (n,); null equals null."""
    group = np.zeros(len(table), dtype=np.int64)
    for name in columns:
        codes, distinct = pd.factorize(table[name])
        _, group = np.unique(group * (len(distinct) + 1) + codes + 1, return_inverse=True)
    sizes: NDArray[np.int64] = np.bincount(group)[group]
    return sizes


def memorisation(
    table: pd.DataFrame, real: pd.DataFrame, schema: Schema, *, config: ValidateConfig, ledger: Ledger
) -> Tally:
    """Return how many rows copy, or lie too close to, real rows, against real rows that were set aside.

    Args:
        schema: The columns that both tables hold as declared.
    """
    tally = Tally("smoke test")
    if not schema.modelled.columns:
        tally.fail(
            "exact copies",
            "<=",
            0.0,
            finding="the table and the real rows have no column in common that could be compared",
            change="give tables of the same columns",
        )
        return tally
    # Real rows that were set aside now are no non-members: whoever made the table may have seen them.
    judge = PrivacyConfig(seed=config.seed, min_category_count=config.min_category_count, attacks=())
    judged = evaluate(real, None, table, schema=schema, config=judge, ledger=ledger)
    tally.take(judged, without=(_SHARE, DCR_LABEL))
    tally.leave_out(
        _SHARE, "", "both sides are random parts of one table of real rows, so that it is a half whatever was copied"
    )
    return tally
