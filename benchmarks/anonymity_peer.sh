#!/usr/bin/env bash
# Add anjana's rows to results/anonymity.jsonl, by an environment of its own: it pins numpy, pandas and scipy.
#
#   benchmarks/anonymity_peer.sh [folder]      default folder: a temporary one
#
# Run it after anonymity.py, which writes the file anew. PYTHON chooses the interpreter (3.11) of the peer,
# OURS that of this package.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=${1:-$(mktemp -d)/anjana}
table=$(mktemp --suffix .csv)
trap 'rm -f "$table"' EXIT

[ -x "$target/bin/python" ] || "${PYTHON:-python3.11}" -m venv "$target"
"$target/bin/python" -m pip install --quiet --disable-pip-version-check "anjana==1.2.3"
"${OURS:-python}" "$here/anonymity.py" --write "$table"
"$target/bin/python" "$here/anonymity_peer.py" "$table" "$here/results/anonymity.jsonl"
