"""One line per generator: `test_conformance` runs every check on each, and fails if a generator has none."""

from importlib.util import find_spec

from synth_components.generators.auto import Auto
from synth_components.generators.tabular.aim import AIM
from synth_components.generators.tabular.autoregressive import Autoregressive
from synth_components.generators.tabular.bayesian_network import BayesianNetwork
from synth_components.generators.tabular.circuit import ProbabilisticCircuit
from synth_components.generators.tabular.copula_gan import CopulaGAN
from synth_components.generators.tabular.ctgan import CTGAN
from synth_components.generators.tabular.diffusion import Diffusion
from synth_components.generators.tabular.ensemble import Ensemble
from synth_components.generators.tabular.gaussian_copula import GaussianCopula
from synth_components.generators.tabular.hybrid import Hybrid
from synth_components.generators.tabular.independent import Independent
from synth_components.generators.tabular.latent_diffusion import LatentDiffusion
from synth_components.generators.tabular.markov import Markov
from synth_components.generators.tabular.mixture import Mixture
from synth_components.generators.tabular.mst import MST
from synth_components.generators.tabular.private_trees import PrivateTrees
from synth_components.generators.tabular.smote import Smote
from synth_components.generators.tabular.specified import Specified
from synth_components.generators.tabular.table_gan import TableGAN
from synth_components.generators.tabular.transformer import Transformer
from synth_components.generators.tabular.trees import Trees
from synth_components.generators.tabular.vae import VAE
from synth_components.testing import Case

JOINED = {
    "probabilities": [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1],
    "values": ["2015-01-01", "2015-07-09", "2016-04-28", "2017-03-04", "2018-03-14", "2019-10-12", "2022-10-21"],
}
TOY = Specified.parse(
    {
        "marginals": {
            "age": {"family": "normal", "mean": 42, "sd": 13.6},
            "income": {"family": "lognormal", "mean_log": 10.5, "sd_log": 0.44},
            "skill": {"family": "normal", "mean": 0, "sd": 1},
            "education": {
                "family": "weights",
                "weights": {"none": 1, "school": 2, "college": 2, "doctorate": 1},
            },
            "city": {
                "family": "weights",
                "weights": {"Ålesund": 0.18, "東京": 0.29, "São Paulo": 0.29, "Łódź": 0.18, "Zürich": 0.06},
            },
            "employed": {"family": "bernoulli", "p": 0.66},
            "smoker": {"family": "bernoulli", "p": 0.3},
            "visits": {
                "family": "quantiles",
                "probabilities": [0, 0.4, 0.41, 0.55, 0.7, 0.9, 1],
                "values": [0, 0, 1, 3, 5, 8, 13],
            },
            "joined": {"family": "quantiles", **JOINED},
            "seen": {"family": "quantiles", **JOINED},
        },
        "null_shares": {"income": 0.2, "city": 0.1, "smoker": 0.15, "visits": 0.1, "seen": 0.2},
        "correlations": [
            {"columns": ["skill", "income"], "value": 0.9, "measure": "spearman"},
            {"columns": ["skill", "education"], "value": 0.82, "measure": "spearman"},
            {"columns": ["income", "education"], "value": 0.74, "measure": "spearman"},
            {"columns": ["education", "city"], "value": 0.6, "measure": "spearman"},
            {"columns": ["skill", "city"], "value": 0.5, "measure": "spearman"},
            {"columns": ["income", "city"], "value": 0.45, "measure": "spearman"},
            {"columns": ["joined", "seen"], "value": 0.998, "measure": "spearman"},
        ],
    }
)
"""What a person who knows how the toy table is made would declare of it."""

LIBRARIES = {
    "tabular.aim": "opendp",
    "tabular.autoregressive": "torch",
    "tabular.copula_gan": "torch",
    "tabular.ctgan": "ctgan",
    "tabular.diffusion": "torch",
    "tabular.latent_diffusion": "torch",
    "tabular.mst": "opendp",
    "tabular.private_trees": "opendp",
    "tabular.table_gan": "torch",
    "tabular.transformer": "torch",
    "tabular.vae": "torch",
}
"""The optional library that a generator is fitted with; its cases are skipped where that is not installed, and private
ones where OpenDP is not, too."""

NOISY = {
    "check_beats_independent_on_pairs": "on 400 rows epsilon 1 buys less of the pairs than its noise takes; "
    "tests/privacy/test_marginal_generators.py compares where it does not"
}

PRIVATE = {"private_steps": 3, "private_hidden": 4, "private_bins": 4}
"""Options with which a fit under DP-SGD takes no time."""

PLAIN = {
    "check_beats_independent_on_pairs": "the library writes every column from scratch, and on 400 rows is further from "
    "their marginals than independent columns are from their pairs; tests/networks/test_ctgan.py gives it one pair"
}

ORDERED = {
    "check_beats_independent_on_pairs": "the column that orders rows is drawn by itself, and in this table another one "
    "is hardly ever far from it; tests/networks/test_sequences.py judges rows in sequence"
}

BRIEF = {
    "check_beats_independent_on_pairs": "two networks that play need thousands of steps to learn pairs, too many "
    "to take for every check; tests/networks/test_gans.py takes them once"
}

CASES = (
    Case(
        "auto",
        Auto(),
        skip={"check_fit_respects_the_budget": "under a budget it chooses a generator that keeps it"}
        if find_spec("opendp")
        else {},
    ),
    Case("tabular.aim", AIM(bins=4, rounds=1, iterations=50), private=True, skip=NOISY),
    Case("tabular.private_trees", PrivateTrees(bins=4, iterations=50), private=True, skip=NOISY),
    Case("tabular.autoregressive", Autoregressive(hidden=32, epochs=8, batch_rows=64, learning_rate=0.02), dual=True),
    Case(
        "tabular.autoregressive",
        Autoregressive(**PRIVATE),
        private=True,
        dual=True,
        skip=NOISY,
    ),
    Case(
        "tabular.ensemble",
        Ensemble(
            generators=("tabular.gaussian_copula", "tabular.independent"),
            options=({"knots": 50}, {"knots": 20}),
            weights=(5, 1),
        ),
        skip={"check_goes_on_from_its_own_model": "weights are given, and going on it finds them"},
    ),
    Case("tabular.bayesian_network", BayesianNetwork(cells=8)),
    Case("tabular.circuit", ProbabilisticCircuit(states=16, epochs=3, batch_rows=128, min_state_rows=10)),
    Case("tabular.copula_gan", CopulaGAN(hidden=16, depth=1, latent=4, epochs=2, batch_rows=64), dual=True, skip=BRIEF),
    Case(
        "tabular.copula_gan",
        CopulaGAN(hidden=16, depth=1, latent=4, **PRIVATE),
        private=True,
        dual=True,
        skip=NOISY,
    ),
    Case(
        "tabular.ctgan",
        CTGAN(
            generator_widths=(16,),
            critic_widths=(16,),
            latent=4,
            epochs=12,
            batch_rows=100,
            learning_rate=0.005,
            critic_learning_rate=0.005,
        ),
        skip=PLAIN,
    ),
    Case(
        "tabular.diffusion",
        Diffusion(hidden=32, depth=1, epochs=12, batch_rows=64, learning_rate=0.02, steps=12),
        dual=True,
    ),
    Case("tabular.diffusion", Diffusion(steps=4, **PRIVATE), private=True, dual=True, skip=NOISY),
    Case("tabular.gaussian_copula", GaussianCopula(knots=50)),
    Case(
        "tabular.hybrid",
        Hybrid(
            first="tabular.gaussian_copula",
            first_options={"knots": 50},
            second_options={"states": 16, "epochs": 3, "batch_rows": 128, "min_state_rows": 10},
        ),
    ),
    Case(
        "tabular.independent",
        Independent(knots=50),
        skip={"check_beats_independent_on_pairs": "it is the baseline"},
    ),
    Case(
        "tabular.latent_diffusion",
        LatentDiffusion(
            hidden=32,
            depth=1,
            latent=8,
            autoencoder_epochs=12,
            denoiser_hidden=32,
            denoiser_depth=1,
            epochs=12,
            batch_rows=64,
            learning_rate=0.02,
            steps=8,
            cells=8,
        ),
        dual=True,
    ),
    Case(
        "tabular.latent_diffusion",
        LatentDiffusion(private_latent=2, steps=4, **PRIVATE),
        private=True,
        dual=True,
        skip=NOISY,
    ),
    Case("tabular.markov", Markov(cells=8)),
    Case("tabular.markov", Markov(cells=8, order_by="joined"), skip=ORDERED),
    Case("tabular.mixture", Mixture(components=8, iterations=10)),
    Case("tabular.mst", MST(bins=4, iterations=50), private=True, skip=NOISY),
    Case("tabular.smote", Smote(keep_rows=True)),
    Case(
        "tabular.specified",
        TOY,
        skip={
            "check_fit_charges_the_ledger": "it reads no row, so that there is nothing to charge",
            "check_fit_respects_the_budget": "it spends nothing, so that no budget is too small",
        },
    ),
    Case("tabular.table_gan", TableGAN(channels=2, latent=4, epochs=2, batch_rows=64), dual=True, skip=BRIEF),
    Case("tabular.table_gan", TableGAN(channels=2, latent=4, **PRIVATE), private=True, dual=True, skip=NOISY),
    Case(
        "tabular.transformer",
        Transformer(hidden=32, heads=2, depth=1, epochs=12, batch_rows=64, learning_rate=0.01, cells=8),
        dual=True,
    ),
    Case("tabular.transformer", Transformer(heads=2, **PRIVATE), private=True, dual=True, skip=NOISY),
    Case(
        "tabular.transformer",
        Transformer(hidden=16, heads=2, depth=1, epochs=2, batch_rows=64, cells=8, order_by="joined", order=2),
        skip=ORDERED,
    ),
    Case("tabular.trees", Trees()),
    Case(
        "tabular.vae",
        VAE(hidden=32, depth=1, latent=8, epochs=12, batch_rows=64, learning_rate=0.02, cells=8),
        dual=True,
    ),
    Case("tabular.vae", VAE(private_latent=2, **PRIVATE), private=True, dual=True, skip=NOISY),
)
