"""Full-domain recoding: every column is recoded to one level of its hierarchy, the same in all rows.

Source: Samarati 2001 (doi:10.1109/69.971193) for the lattice of levels; El Emam et al. 2009
    (doi:10.1197/jamia.M3144) for the search of the node of least loss.
Differs: nodes are visited in the order of the loss of their levels alone, which no suppression makes less, and the
    search ends where that reaches the best loss found: the result is the optimum whether or not the criteria are
    monotone.  A node below one in which too many rows are in classes under k is passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

import numpy as np

from synth_components.errors import PolicyError, UnsupportedError
from synth_components.privacy.anonymity.classes import Ints, classes_of
from synth_components.privacy.anonymity.criteria import Criteria, survivors
from synth_components.privacy.anonymity.domain import Domain

MAX_NODES = 200_000


def search(domains: Sequence[Domain], criteria: Criteria, *, max_suppressed: float) -> tuple[tuple[int, ...], Ints]:
    """Return the level of each column, and the rows (m,) that are kept, with the least loss.

    A row that is left out loses 1, as if each of its values became ``*``.

    Raises:
        PolicyError: if no level of any column meets the criteria with so few rows left out.
        UnsupportedError: if there are too many combinations of levels.
    """
    heights = [len(one.nodes) for one in domains]
    if prod(heights) > MAX_NODES:
        raise UnsupportedError(
            f"the hierarchies have {prod(heights)} combinations of levels and full_domain tries at most {MAX_NODES}; "
            "declare fewer levels, or take recoding: local"
        )
    n = len(domains[0].codes)
    most = int(np.floor(max_suppressed * n + 1e-9))
    # What a level costs does not depend on the others: the loss of a node is the mean of its columns'.
    costs = [one.costs[:, one.codes].mean(axis=1) for one in domains]
    nodes = np.array(list(product(*map(range, heights))), dtype=np.int64)
    bounds = np.mean([cost[nodes[:, at]] for at, cost in enumerate(costs)], axis=0)
    best, found, kept = np.inf, None, np.empty(0, dtype=np.int64)
    failed: list[Ints] = []
    for at in np.lexsort((nodes.sum(axis=1), bounds)):
        if bounds[at] >= best:
            break
        if failed and bool((np.array(failed) >= nodes[at]).all(axis=1).any()):
            continue
        group, count = classes_of([one.nodes[level, one.codes] for one, level in zip(domains, nodes[at], strict=True)])
        sizes = np.bincount(group, minlength=count)
        if int(sizes[sizes < criteria.k].sum()) > most:
            failed = [one for one in failed if not bool((one <= nodes[at]).all())] + [nodes[at]]
            continue
        rows = survivors(group, criteria)
        if n - len(rows) > most or len(rows) == 0:
            continue
        per_row = np.mean([one.costs[level, one.codes] for one, level in zip(domains, nodes[at], strict=True)], axis=0)
        loss = (float(per_row[rows].sum()) + n - len(rows)) / n
        if loss < best:
            best, found, kept = loss, tuple(int(level) for level in nodes[at]), rows
    if found is None:
        raise PolicyError(
            f"no combination of levels meets the policy with at most {max_suppressed:.1%} of the rows left out; raise "
            "max_suppressed, lower k, l or the demand for t, or take recoding: local"
        )
    return found, kept
