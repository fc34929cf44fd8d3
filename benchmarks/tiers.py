"""How long the tests of the SageMaker part take, tier by tier, and how much of its code they reach.

    python benchmarks/tiers.py                       every row
    python benchmarks/tiers.py contract coverage     the named ones; the others stay as they were

`contract` is what needs neither server nor fit: requests, decoding, channels, archives, definitions, policies.
`default` is all that `make test` runs of tests/sagemaker.  `images` runs in the images that containers/build.sh makes,
and `sdk` what `.ci/run sagemaker` runs, in the environments that SYNTH_SDK_ENVIRONMENTS names (without it the time is
that of installing them).  `coverage` is lines and branches of sagemaker/synth_sagemaker and synth_components/service
under the default tests of both, those that train with torch and processes that they start included: it needs
coverage and torch (pip install coverage torch==2.13.0).

Seconds are those of the clock, and depend on what else the machine does: the load is that of the start.  Seconds of
processor are of pytest and all that it started, but for containers, which are the daemon's.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import common

RESULTS = common.RESULTS / "tiers.jsonl"
TESTS = "tests/sagemaker"
CONTRACT = (
    *("algorithm", "channel", "failure", "hyperparameters", "iam", "image", "launch", "layout", "local_run"),
    *("metrics", "pipeline", "requests", "scaling", "shapes"),
)
SLOW = ["-m", "slow and not docker", "-o", "timeout=1500"]
TIERS = {
    "contract": ([f"{TESTS}/test_{name}.py" for name in CONTRACT], 10),
    "default": ([TESTS], None),
    "images": (["-m", "docker", "-o", "timeout=900", TESTS], 60),
    "sdk": ([*SLOW, f"{TESTS}/test_sdk.py", f"{TESTS}/test_tracking.py", f"{TESTS}/test_pipeline_local.py"], 180),
}
"""By name, pytest's arguments and the most seconds, if there is a target."""

WORKERS = 2
"""Processes that share the tests of `coverage`; those whose seconds are a target run in one."""

COVERED = ("sagemaker/synth_sagemaker", "synth_components/service")
MIN_PERCENT = 90


def pytest(arguments: list[str], launcher: tuple[str, ...] = ()) -> tuple[str, common.Row]:
    """Run tests; return what pytest told last, and what it took."""
    command = [sys.executable, *launcher, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    load, began = os.getloadavg()[0], perf_counter()
    process = subprocess.Popen(command, cwd=common.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{said[-6000:]}\nthe tests did not pass: {' '.join(command)}")
    (told,) = re.findall(r"^(\d+ passed.*) in [\d.]+s", said, re.MULTILINE)
    cpu = usage.ru_utime + usage.ru_stime
    return told, {"seconds": perf_counter() - began, "cpu_seconds": cpu, "load": round(load, 1)}


def timed(name: str) -> common.Row:
    """Return the row of a tier."""
    arguments, most = TIERS[name]
    told, took = pytest(arguments)
    passed = "" if most is None else "pass" if took["seconds"] < most else "**miss**"
    return {"what": name, "note": told, **took, "percent": "", "target": "" if most is None else f"{most} s: {passed}"}


def coverage() -> list[common.Row]:
    """Return a row for each package, and one for both."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "coverage.ini"
        source = "".join(f"\n    {common.ROOT / name}" for name in COVERED)
        # A server ends by os._exit, which loses what was measured unless it is patched.
        settings.write_text(
            f"[run]\nbranch = True\nparallel = True\npatch =\n    subprocess\n    _exit\n"
            f"data_file = {folder}/data\nsource ={source}\n"
        )
        option = f"--rcfile={settings}"
        report = Path(folder) / "report.json"
        tools = [sys.executable, "-m", "coverage"]
        try:
            told, took = pytest(
                [TESTS, "tests/service", "--numprocesses", str(WORKERS), "-o", "timeout=600"],
                ("-m", "coverage", "run", option),
            )
        finally:  # of tests that did not pass, too: they took long
            for words in (["combine", "-q", option], ["json", "-q", option, "-o", str(report)]):
                subprocess.run([*tools, *words], check=True, cwd=common.ROOT)
            subprocess.run([*tools, "report", "-m", "--skip-covered", option], cwd=common.ROOT)
        files = json.loads(report.read_text())["files"]
    rows = []
    for name in (*COVERED, ""):
        sums = [found["summary"] for path, found in files.items() if path.startswith(name)]
        reached = sum(one["covered_lines"] + one["covered_branches"] for one in sums)
        percent = 100 * reached / sum(one["num_statements"] + one["num_branches"] for one in sums)
        verdict = f"{MIN_PERCENT} %: {'pass' if percent >= MIN_PERCENT else '**miss**'}"
        what = f"coverage: {name or 'both'}"
        rows.append({"what": what, "note": told, **took, "percent": percent, "target": verdict})
    return rows


def main() -> None:
    """Measure the named rows, and write each as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="ROW", help=f"of {', '.join(TIERS)}, coverage; by default all")
    names = parser.parse_args().names or [*TIERS, "coverage"]
    if unknown := set(names) - {*TIERS, "coverage"}:
        parser.error(f"there is no row {', '.join(unknown)}")
    # A shell's background job ignores Ctrl-C, and so would what it starts: tests that send it would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    facts = common.machine()
    RESULTS.with_suffix(".machine.json").write_text(json.dumps(facts | {"threads": facts["cores"]}, indent=1) + "\n")
    for name in names:
        made = coverage() if name == "coverage" else [timed(name)]
        replaced = {row["what"] for row in made}
        common.write_rows(RESULTS, [*(row for row in common.read_rows(RESULTS) if row["what"] not in replaced), *made])
        for row in made:
            common.say(json.dumps(row))


if __name__ == "__main__":
    main()
