#!/usr/bin/env bash
# Write containers/core.lock: every package of the core image with its version and hashes.
# Run it with the image's Python version, after constraints.txt has changed; it asks pip, and installs nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
report=$(mktemp)
trap 'rm -f "$report"' EXIT
"$python" -m pip install --quiet --dry-run --ignore-installed --only-binary :all: --no-binary synth-components \
  --constraint constraints.txt --report "$report" '.[mlflow]'
"$python" - "$report" >containers/core.lock <<'PYTHON'
import json, sys

print("# Written by containers/lock.sh from constraints.txt; do not edit.")
found = json.load(open(sys.argv[1]))["install"]
for one in sorted(found, key=lambda one: one["metadata"]["name"].lower()):
    name, version = one["metadata"]["name"], one["metadata"]["version"]
    if name != "synth-components":
        print(f"{name}=={version} --hash=sha256:{one['download_info']['archive_info']['hashes']['sha256']}")
PYTHON
