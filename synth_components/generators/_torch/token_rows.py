"""The rows of a table as tokens and scores, for a network to read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy import random
from torch import Tensor

from synth_components.encode import encode
from synth_components.generators.tabular._tokens import Tokens, split_rows
from synth_components.protocols import Dataset, Floats


def token_rows(
    features: Sequence[Tokens], values: Floats, held_out: Dataset | None, *, rng: random.Generator
) -> tuple[list[Tensor], list[Tensor] | None]:
    """Return tokens (n, d) and scores (n, m) of encoded rows (n, d), and those of rows held out, if any."""
    rows = [torch.from_numpy(part) for part in split_rows(features, values, rng=rng)]
    if held_out is None:
        return rows, None
    return rows, [torch.from_numpy(part) for part in split_rows(features, encode(held_out).values, rng=rng)]
