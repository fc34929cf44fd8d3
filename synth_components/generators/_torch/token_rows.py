"""The rows of a table as tokens and scores, for a network to read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy import random
from torch import Tensor

from synth_components.encode import encode
from synth_components.generators.tabular._private import Start
from synth_components.generators.tabular._tokens import Tokens, split_rows
from synth_components.protocols import Dataset, Floats


def counted_rows(start: Start) -> list[Tensor]:
    """Return tokens (n, d) of the rows of a private training, and scores (n, 0): there are none."""
    tokens = torch.from_numpy(np.stack(list(start.codes.values()), axis=1).astype(np.int64))
    return [tokens, torch.zeros(len(tokens), 0)]


def token_rows(
    features: Sequence[Tokens], values: Floats, held_out: Dataset | None, *, rng: random.Generator
) -> tuple[list[Tensor], list[Tensor] | None]:
    """Return tokens (n, d) and scores (n, m) of encoded rows (n, d), and those of rows held out, if any."""
    rows = [torch.from_numpy(part) for part in split_rows(features, values, rng=rng)]
    if held_out is None:
        return rows, None
    return rows, [torch.from_numpy(part) for part in split_rows(features, encode(held_out).values, rng=rng)]
