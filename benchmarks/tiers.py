"""How long the tests of the SageMaker part take, tier by tier, and how much of its code they reach.

    python benchmarks/tiers.py                       every row
    python benchmarks/tiers.py contract coverage     the named ones; the others stay as they were

`contract` is what needs neither server nor fit: requests, decoding, channels, archives, definitions, policies.
`default` is all that `make test` runs of tests/sagemaker.  `images` runs in the images that containers/build.sh makes,
and `sdk` what `.ci/run sagemaker` runs, in the environments that SYNTH_SDK_ENVIRONMENTS names (without it the time is
that of installing them).  `coverage` is lines and branches of sagemaker/synth_sagemaker and synth_components/service
under most of the default tests of both, which run at once in processes of their own, and in what they start: it needs
coverage (pip install coverage), and reaches more with torch.

Seconds are those of the clock, and depend on what else the machine does: the load is that of the start. Seconds of
processor are of pytest and all that it started; with `images` of all containers in the meantime, too, where control
groups tell them. A tier that takes longer than its target by the clock and not by the processor is said to pass so: the
machine was busy. What Python compiles is kept, as it is by default, and `contract` runs once before it is timed.
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
from typing import Any

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

PARTS = (
    ["tests/service"],
    [f"{TESTS}/test_{name}.py" for name in CONTRACT[:8]],
    [f"{TESTS}/test_{name}.py" for name in (*CONTRACT[8:], "export", "hosts", "sdk", "together", "tracking")],
    [f"{TESTS}/test_{name}.py" for name in ("process", "train")],
    [f"{TESTS}/test_{name}.py" for name in ("sealed", "serve")],
)
"""What `coverage` runs, each part in a process of its own, all at once; the other tests could only reach more."""

CONTAINERS = Path("/sys/fs/cgroup/cpuacct/docker/cpuacct.usage")

COVERED = ("sagemaker/synth_sagemaker", "synth_components/service")
MIN_PERCENT = 90


def started(arguments: list[str], launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Start tests; one that finds no image fails."""
    command = [sys.executable, *launcher, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": str(common.CACHE / "bytecode"), "REQUIRE_DOCKER": "1"}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    return subprocess.Popen(
        command, cwd=common.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ
    )


def ended(processes: list[subprocess.Popen[str]]) -> tuple[list[str], float]:
    """Return what pytest told last, of each, and the seconds of processor; leave if any test did not pass."""
    told, failed, cpu = [], "", 0.0
    for process in processes:
        said = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        cpu += usage.ru_utime + usage.ru_stime
        if process.returncode:
            failed += f"{said[-6000:]}\nthe tests did not pass: {process.args}\n"
        told += re.findall(r"^(\d+ passed.*) in [\d.]+s", said, re.MULTILINE)
    if failed:
        raise SystemExit(failed)
    return told, cpu


def timed(name: str) -> common.Row:
    """Return the row of a tier."""
    arguments, most = TIERS[name]
    if name == "contract":
        ended([started(arguments)])
    load, began, contained = os.getloadavg()[0], perf_counter(), of_containers()
    (told,), cpu = ended([started(arguments)])
    seconds = perf_counter() - began
    if name == "images":
        cpu += of_containers() - contained
    target = "" if most is None else f"{most} s: {verdict(seconds, cpu, most)}"
    took = {"seconds": seconds, "cpu_seconds": cpu, "load": round(load, 1)}
    return {"what": name, "note": told, **took, "percent": "", "target": target}


def verdict(seconds: float, cpu: float, most: float) -> str:
    """Return whether a tier keeps to its target, and by which clock."""
    return "pass" if seconds < most else "pass by the processor" if cpu < most else "**miss**"


def of_containers() -> float:
    """Return the seconds of processor of all containers of Docker since its daemon began; 0 if nothing tells them."""
    try:
        return int(CONTAINERS.read_text()) / 1e9
    except OSError:
        return 0.0


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
        load, began = os.getloadavg()[0], perf_counter()
        launcher = ("-m", "coverage", "run", option)
        try:
            told, cpu = ended([started([*part, "-o", "timeout=900"], launcher) for part in PARTS])
        finally:  # of tests that did not pass, too: they took long
            for words in (["combine", "-q", option], ["json", "-q", option, "-o", str(report)]):
                subprocess.run([*tools, *words], check=True, cwd=common.ROOT)
            subprocess.run([*tools, "report", "-m", "--skip-covered", option], cwd=common.ROOT)
            files = json.loads(report.read_text())["files"]
            for name in (*COVERED, ""):
                common.say(f"{name or 'both'}: {percent_of(files, name):.2f} %")
        took = {"seconds": perf_counter() - began, "cpu_seconds": cpu, "load": round(load, 1)}
    rows = []
    for name in (*COVERED, ""):
        percent = percent_of(files, name)
        target = f"{MIN_PERCENT} %: {'pass' if percent >= MIN_PERCENT else '**miss**'}"
        what = f"coverage: {name or 'both'}"
        passed = sum(int(text.split()[0]) for text in told)
        rows.append({"what": what, "note": f"{passed} passed", **took, "percent": percent, "target": target})
    return rows


def percent_of(files: dict[str, Any], package: str) -> float:
    """Return the share of lines and branches of a package that were reached; of all for an empty name."""
    sums = [found["summary"] for path, found in files.items() if path.startswith(package)]
    reached = sum(one["covered_lines"] + one["covered_branches"] for one in sums)
    return 100 * reached / sum(one["num_statements"] + one["num_branches"] for one in sums)


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
        kept = [row for row in common.read_rows(RESULTS) if row["what"] not in {row["what"] for row in made}]
        order = {what: place for place, what in enumerate(TIERS)}
        common.write_rows(RESULTS, sorted([*kept, *made], key=lambda row: order.get(row["what"], len(order))))
        for row in made:
            common.say(json.dumps(row))


if __name__ == "__main__":
    main()
