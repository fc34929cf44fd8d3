#!/usr/bin/env bash
# Make the environment of the peers, apart from ours: CTGAN and TVAE (ctgan), TabularARGN (mostlyai-engine),
# ARF (arfpy), GaussianCopula (sdv). Some of their licences are BUSL-1.1: never a dependency of ours.
#
#   benchmarks/peers.sh [folder]      default folder: benchmarks/.venv-peers (ignored by git)
#
# PYTHON chooses the interpreter (3.11 or later). Needs about 3 GB of disk.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=${1:-$here/.venv-peers}

"${PYTHON:-python3.11}" -m venv "$target"
pip() { "$target/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
pip --upgrade pip
# torch first, pinned: otherwise a peer drags another build of it in.
pip "torch==2.13.0"
pip -r "$here/peers.txt"
# The engine imports torchvision only where it is installed, and fails when its build does not match torch.
"$target/bin/python" -m pip uninstall --quiet --yes torchvision || true
"$target/bin/python" -m pip freeze > "$here/peers.freeze.txt"
"$target/bin/python" -P - <<'PY'
import importlib
for name in ("ctgan", "mostlyai.engine", "arfpy.arf", "sdv.single_table"):
    importlib.import_module(name)
    print("imports:", name)
PY
