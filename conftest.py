"""What is collected where an optional library is missing: no module that cannot be imported there."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") else ["synth_components/generators/_torch/*.py"]
