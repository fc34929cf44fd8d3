"""What is collected: no module that cannot be imported where an optional library is missing, and no peer's script."""

from importlib.util import find_spec

# These print what tests are held against, in environments of their own.
collect_ignore_glob = ["tests/privacy/golden/*.py", "tests/privacy/pycanon/*.py"]
if find_spec("torch") is None:
    collect_ignore_glob.append("synth_components/generators/_torch/*.py")
