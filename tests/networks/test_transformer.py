"""The causal transformer: what it knows of a row, and that numpy draws by the laws that torch learnt."""

import numpy as np
import pytest

from synth_components.config import ConfigError
from synth_components.encode import encode
from synth_components.generators.tabular._forward import Weights, silu
from synth_components.generators.tabular._grid import grids_of
from synth_components.generators.tabular._tokens import scored, split_rows, tokens_of
from synth_components.generators.tabular.transformer import Attention, Transformer
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Run
from synth_components.toy import toy_table


def network_and_rows():
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    from synth_components.generators._torch.causal import CausalTransformer

    features = encode(toy_table(0, rows=50))
    tokens = tokens_of(grids_of(features, knots=20, min_count=2), cells=4)
    rows = [torch.from_numpy(part) for part in split_rows(tokens, features.values, rng=np.random.default_rng(0))]
    network = CausalTransformer(tokens, hidden=16, depth=2, heads=4, dropout=0.0, seed=0).eval()
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    return torch, tokens, rows, network


def test_a_feature_knows_those_before_it_and_neither_itself_nor_those_after_it():
    torch, tokens, (chosen, scores), network = network_and_rows()
    place = len(tokens) // 2
    other = chosen.clone()
    other[:, place] = (chosen[:, place] + 1) % len(tokens[place].mass)
    with torch.no_grad():
        ours, theirs = (network(held, scores, torch.Generator())[0] for held in (chosen, other))
    for feature, (before, after) in enumerate(
        zip(ours.split(network.segments.counts, dim=1), theirs.split(network.segments.counts, dim=1), strict=True)
    ):
        assert torch.equal(before, after) == (feature <= place), feature


def test_numpy_has_the_laws_of_torch_place_by_place():
    torch, tokens, (chosen, scores), network = network_and_rows()
    from synth_components.generators._torch.layers import arrays

    with torch.no_grad():
        logits, law = network(chosen, scores, torch.Generator())
    weights: Weights = arrays(network)
    having, attention = scored(tokens), Attention(weights, len(chosen), len(tokens), 4)
    told, start = np.zeros((len(chosen), 16), dtype=np.float32), 0
    for place, one in enumerate(tokens):
        state = attention.state(told + weights["place.weight"][:, place] + weights["place.bias"])
        where = slice(start, start + len(one.mass))
        made = state @ weights["write.weight"][where].T + weights["write.bias"][where]
        assert np.allclose(made, logits[:, where].numpy(), atol=1e-4), place
        told = weights["token.weight"].T[start + chosen[:, place].numpy()] + weights["token.bias"]
        start = where.stop
        if place in having:
            number = having.index(place)
            rows = [number, len(having) + number]
            centre = silu(state + told) @ weights["law.weight"][rows].T + weights["law.bias"][rows]
            assert np.allclose(centre, law[:, rows].numpy(), atol=1e-4), place
            is_open = one.is_scored[chosen[:, place].numpy()].astype(np.float32)
            told = told + (scores[:, number].numpy() * is_open)[:, None] * weights["score.weight"][:, number]


def test_a_width_that_heads_do_not_share_evenly_is_refused():
    pytest.importorskip("torch", reason="the extra torch is not installed")
    with pytest.raises(ConfigError, match="multiple of the 3 heads"):
        Transformer(hidden=16, heads=3).fit(
            toy_table(0, rows=50), rng=np.random.default_rng(0), ledger=Ledger(), run=Run()
        )
