"""How long ``import synth_components`` and ``synth_sagemaker`` take beside ``import pandas``, and what they load.

    python benchmarks/import_time.py

Each import is a fresh process; all take turns.  Targets: under one second for the first, under half a second for the
second, and none of the heavy libraries.  ``synth_sagemaker.training`` is what makes requests: it needs pandas too.
Milliseconds of processor are of the import alone; those of the clock depend on what else the machine does.
"""

import argparse
import json
import subprocess
import sys
from statistics import median

import common

RESULTS = common.RESULTS / "import_time.jsonl"
HEAVY = ("torch", "mlflow", "kfp", "boto3", "sagemaker.core", "matplotlib", "sklearn", "pyarrow.dataset", "scipy.stats")
PROBE = """
import json, sys, time
start, cpu = time.perf_counter(), time.process_time()
import {module}
taken, used = time.perf_counter() - start, time.process_time() - cpu
print(json.dumps([taken, used, len(sys.modules), [name for name in {heavy!r} if name in sys.modules]]))
"""


def main() -> None:
    """Measure the imports and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=11)
    modules = ("pandas", "synth_components", "synth_sagemaker", "synth_sagemaker.training")
    found: dict[str, list[tuple[float, float, int, list[str]]]] = {module: [] for module in modules}
    for _ in range(parser.parse_args().repeats):
        for module in modules:
            probe = PROBE.format(module=module, heavy=HEAVY)
            run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
            found[module].append(tuple(json.loads(run.stdout)))
    rows = [
        {
            "module": module,
            "median_ms": 1e3 * median(taken for taken, *_ in runs),
            "best_ms": 1e3 * min(taken for taken, *_ in runs),
            "cpu_ms": 1e3 * median(used for _, used, *_ in runs),
            "modules": runs[0][2],
            "heavy": runs[0][3],
        }
        for module, runs in found.items()
    ]
    common.write_rows(RESULTS, rows)
    RESULTS.with_suffix(".machine.json").write_text(json.dumps(common.machine(), indent=1) + "\n")
    for row in rows:
        common.say(json.dumps(row))


if __name__ == "__main__":
    main()
