"""``python -m synth_kubeflow ...`` is ``synth kubeflow ...``."""

import sys

from synth_components.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["kubeflow", *sys.argv[1:]]))
