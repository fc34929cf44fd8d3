#!/usr/bin/env bash
# Write the lists that the images are installed from: every package with its version and hash.
#   core.lock    what synth-components needs in an image
#   torch.lock   what torch adds to that; it names the CPU build, so no image gets a CUDA build by accident
#   sbom.lock    the tool that lists an image's packages while it is built, in a stage of its own
# Run it with the image's Python version, after constraints.txt has changed, where pip finds the CPU build of torch (its
# own settings name an index or a folder of wheels); it asks pip, and installs nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
extras=fsspec,hdf5,mlflow,sagemaker,serve,sql,trainjob
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# resolved NAME REQUIREMENT...: pip's own report of what it would install, in $scratch/NAME.json.
resolved() {
  "$python" -m pip install --quiet --dry-run --ignore-installed --only-binary :all: --no-binary synth-components \
    --constraint constraints.txt --report "$scratch/$1.json" "${@:2}"
}

# lock NAME [WITHOUT]: the packages of a report as a list, less those of another report.
lock() {
  "$python" - "$scratch/$1.json" ${2:+"$scratch/$2.json"} >"containers/$1.lock" <<'PYTHON'
import json, sys

def listed(path):
    found = json.load(open(path))["install"]
    return {
        (one["metadata"]["name"], one["metadata"]["version"]): one["download_info"]["archive_info"]["hashes"]["sha256"]
        for one in found
        if one["metadata"]["name"] != "synth-components"
    }

packages, *others = map(listed, sys.argv[1:])
print("# Written by containers/lock.sh from constraints.txt; do not edit.")
for name, version in sorted(packages, key=lambda one: one[0].lower()):
    if not any((name, version) in other for other in others):
        print(f"{name}=={version} --hash=sha256:{packages[name, version]}")
PYTHON
}

resolved core ".[$extras]"
resolved torch ".[$extras,torch]"
resolved sbom cyclonedx-bom==7.5.0
lock core
lock torch core
lock sbom
