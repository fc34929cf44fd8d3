"""Differential privacy audited: how far whole fits with a canary are told apart from those without, beside the claim.

    python benchmarks/audits.py        every private generator, and the private profile and report, with their twins
    python benchmarks/audits.py --only tabular.vae report --fits 1000

What is fitted, the canary, the statistic and its threshold are those of the slow tests in tests/privacy, fixed before
any of these fits. Each row is one audit: of what is claimed (twin "none"), or of a twin that is broken on purpose.
Bounds and claims are mu of Gaussian differential privacy, and the epsilon that it stands for at the budget's delta.
With Laplace noise the claim is a trade-off curve, told as a mu at the bound's rate of false alarms, without an epsilon.
Each of a bound's two error rates holds with a confidence of 1 - 1e-4. A row with twin "none" must stay below the claim,
and each other above it: the script ends with status 1 if one does not. It needs the packages of the tests, and torch.
"""

import argparse
import contextlib
import importlib
import math
import sys
from collections.abc import Callable
from functools import partial
from time import process_time
from typing import Any

import common
import pytest
from scipy import optimize, stats

for folder in ("tests", "tests/privacy"):
    sys.path.insert(0, str(common.ROOT / folder))

_OF = ("test_domain", "test_dpsgd", "test_marginal_generators", "test_private_report")
profiles, networks, marginals, reports = map(importlib.import_module, _OF)

RESULTS = common.RESULTS / "audits.jsonl"

PURE = ", Laplace noise"

Twins = dict[str, Callable[[Any], Any]]
Audit = Callable[[int], tuple[float, float]]


def network(name: str, fits: int) -> tuple[float, float]:
    """Return the bound and the claim of a network under DP-SGD."""
    multipliers: dict[str, float] = {}
    bound = networks.mu_of_fits(name, fits, multipliers)
    return bound, networks.claimed(multipliers)


def report(fits: int) -> tuple[float, float]:
    """Return the bound and the claim of the private report."""
    return reports.mu_of_reports(reports.by_ratio, reports.told(fits)), reports.CLAIM


def audits() -> dict[str, tuple[Audit, Twins]]:
    """Return every audit by the name of what is audited, with its broken twins."""
    names = ("tabular.mst", "tabular.mst" + PURE, "tabular.aim", "tabular.aim" + PURE, "tabular.private_trees")
    counted = dict(zip(names, marginals.RECIPES, strict=True))
    profiled = {"profile": "gaussian", "profile" + PURE: "laplace"}
    of_counts, of_profiles = ({"half the noise": module.half_the_noise} for module in (marginals, profiles))
    of_networks = {"half the noise": networks.half_the_noise, "no clipping": networks.no_clipping}
    return {
        **{name: (partial(marginals.audited, recipe), of_counts) for name, recipe in counted.items()},
        **{name: (partial(profiles.audited, mechanism), of_profiles) for name, mechanism in profiled.items()},
        **{name: (partial(network, name), of_networks) for name in networks.NETWORKS},
        "report": (report, {"half the noise": reports.half_the_noise}),
    }


def epsilon(mu: float, delta: float) -> float:
    """Return the epsilon at which mu-GDP has this delta (Dong, Roth & Su 2019, Corollary 2.13)."""

    def excess(one: float) -> float:
        lost = stats.norm.cdf(-one / mu + mu / 2) - math.exp(one) * stats.norm.cdf(-one / mu - mu / 2)
        return float(lost - delta)

    return 0.0 if mu <= 0 or excess(0.0) <= 0 else float(optimize.brentq(excess, 0.0, 100.0))


def main() -> None:
    """Audit, and append a row for each."""
    found = audits()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(found), default=list(found))
    parser.add_argument("--twins", nargs="+", help="of these twins alone; none is what is claimed")
    parser.add_argument("--fits", type=int, default=300, help="with the canary, and as many without it")
    parser.add_argument("--dry", action="store_true", help="print, and write nothing")
    given = parser.parse_args()
    wrong = False
    for name in given.only:
        audit, twins = found[name]
        for twin, broken in {"none": contextlib.nullcontext, **twins}.items():
            if given.twins and twin not in given.twins:
                continue
            start = process_time()
            with pytest.MonkeyPatch.context() as patch:
                broken(patch)
                bound, claim = audit(given.fits)
            budget = marginals.PURE if name.endswith(PURE) else networks.BUDGET
            of_mu = {"epsilon_at_least": bound, "epsilon_claimed": claim} if budget is networks.BUDGET else {}
            row = {
                "generator": name,
                "twin": twin,
                "fits": given.fits,
                "mu_at_least": bound,
                "mu_claimed": claim,
                **{key: epsilon(mu, budget.delta) for key, mu in of_mu.items()},
                "budget": budget.epsilon,
                "delta": budget.delta,
                "confidence_of_each_rate": networks.SURE,
                "processor_seconds": process_time() - start,
            }
            wrong |= (bound > claim) == (twin == "none")
            common.say(str(row))
            if not given.dry:
                common.append_row(RESULTS, row)
    sys.exit(int(wrong))


if __name__ == "__main__":
    main()
