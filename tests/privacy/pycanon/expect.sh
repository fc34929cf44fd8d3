#!/usr/bin/env bash
# Write the tables and expected.json anew, by pycanon in an environment of its own: it pins numpy.
#
#   tests/privacy/pycanon/expect.sh [folder]      default folder: a temporary one
#
# PYTHON chooses the interpreter (3.11 or later).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=${1:-$(mktemp -d)/pycanon}

[ -x "$target/bin/python" ] || "${PYTHON:-python3.11}" -m venv "$target"
"$target/bin/python" -m pip install --quiet --disable-pip-version-check "pycanon==1.3.6"
"$target/bin/python" "$here/expect.py"
