"""What the benchmark scripts share: JSON lines, children with a time cap, facts of the machine, README sections."""

import hashlib
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = HERE / "results"
CACHE = HERE / ".cache"
Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a JSON-lines file; none if it is not there."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def append_row(path: Path, row: Row) -> None:
    """Append one row; numbers keep six digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(_rounded(row), sort_keys=True) + "\n")


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a JSON-lines file anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(_rounded(row), sort_keys=True) + "\n" for row in rows))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


@dataclass(frozen=True)
class Child:
    """How a child process ended. ``code`` is None where it was stopped at the cap."""

    code: int | None
    seconds: float
    cpu_seconds: float
    peak_mib: float
    error: str


def run_child(command: Sequence[str], *, cap: float, threads: int, clock: str = "wall") -> Child:
    """Run a command in a process group of its own and stop the group after ``cap`` seconds.

    They are seconds of the wall's clock, or of ``"processor"``: those that the child itself ran for, so that what else
    the machine does costs it nothing.

    ``peak_mib`` is the high-water mark of the child's own memory, read every 50 ms: the kernel's ``ru_maxrss`` would
    count the memory of this process too, from which the child was forked.
    """
    environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore"}
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        environment[name] = str(threads)
    with tempfile.TemporaryFile("w+") as errors:
        start = perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=errors, env=environment, start_new_session=True
        )
        peak, late = 0.0, False
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            peak = max(peak, high_water(process.pid))
            spent = perf_counter() - start if clock == "wall" else processor_seconds(process.pid)
            if not late and spent > cap:
                late = True
                os.killpg(process.pid, signal.SIGKILL)
            sleep(0.05)
        seconds = perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        text = errors.read()
    cpu = usage.ru_utime + usage.ru_stime
    return Child(None if late else process.returncode, seconds, cpu, peak, text[-2000:])


def processor_seconds(pid: int) -> float:
    """Return the seconds that a process has run for, all its threads together; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def high_water(pid: int | str = "self") -> float:
    """Return the largest resident set so far of a process, in MiB; 0 where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def machine() -> Row:
    """Return the facts that a timing depends on, without names of hosts, users or folders."""
    models = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    totals = [int(line.split()[1]) / 2**20 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    names = ("numpy", "pandas", "scipy", "scikit-learn", "pyarrow", "xgboost")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": next(iter(models), platform.machine()),
        "memory_gib": round(next(iter(totals), 0.0), 1),
        "python": platform.python_version(),
        "versions": {name: version for name in names if (version := _version(name))},
        "commit": commit(),
        "load": round(os.getloadavg()[0], 2),
    }


def _version(name: str) -> str:
    """Return the version of a distribution; empty for one that is not installed, as a peer's may be."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


def commit() -> str:
    """Return the abbreviated commit, with ``+`` where the package has uncommitted changes; ``?`` outside git."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--", "synth_components")
    except (OSError, subprocess.CalledProcessError):
        return "?"
    return head + ("+" if changed else "")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def code_digest() -> str:
    """Return eight hex digits over the package's sources: rows of other code are not mistaken for finished ones."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "synth_components").rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:8]


def render(section: str, text: str) -> None:
    """Replace what stands in ``README.md`` between ``<!-- section -->`` and ``<!-- /section -->``."""
    path = HERE / "README.md"
    old = path.read_text()
    opening, closing = f"<!-- {section} -->", f"<!-- /{section} -->"
    before, rest = old.split(opening, 1)
    path.write_text(f"{before}{opening}\n\n{text.strip()}\n\n{closing}{rest.split(closing, 1)[1]}")


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; the first column stands left, the others right."""
    align = ["---", *["--:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, align, *rows))


def say(text: str) -> None:
    """Write one line at once, so that a log shows how far a long run is."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
