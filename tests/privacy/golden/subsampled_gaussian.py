"""Print what dp-accounting says of the Poisson-subsampled Gaussian; run it where that is installed."""

import json
import sys
from importlib.metadata import version

import dp_accounting
from dp_accounting import pld, rdp

ORDERS = (2, 3, 4, 8, 16, 32, 63)
DELTA = 1e-6
CASES = ((0.05, 2.0, 300), (0.05, 4.1, 300), (0.01, 1.0, 1000), (0.005, 0.8, 2000), (0.1, 8.0, 100), (1.0, 20.0, 10))

found = []
for sample_rate, noise_multiplier, steps in CASES:
    one = dp_accounting.PoissonSampledDpEvent(sample_rate, dp_accounting.GaussianDpEvent(noise_multiplier))
    event = dp_accounting.SelfComposedDpEvent(one, steps)
    renyi = rdp.RdpAccountant(ORDERS)
    renyi.compose(event)
    tight = pld.PLDAccountant(value_discretization_interval=1e-4)
    tight.compose(event)
    found.append(
        {
            "sample_rate": sample_rate,
            "noise_multiplier": noise_multiplier,
            "steps": steps,
            "rdp": [float(value) for value in renyi._rdp],
            "epsilon": float(tight.get_epsilon(DELTA)),
        }
    )
made = {"dp_accounting": version("dp-accounting"), "orders": ORDERS, "delta": DELTA, "cases": found}
sys.stdout.write(json.dumps(made, indent=1) + "\n")
