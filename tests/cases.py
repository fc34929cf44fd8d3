"""One line per generator: `test_conformance` runs every check on each, and fails if a generator has none."""

from synth_components.generators.tabular.gaussian_copula import GaussianCopula
from synth_components.generators.tabular.independent import Independent
from synth_components.generators.tabular.trees import Trees
from synth_components.testing import Case

CASES = (
    Case("tabular.gaussian_copula", GaussianCopula(knots=50)),
    Case(
        "tabular.independent",
        Independent(knots=50),
        skip={"check_beats_independent_on_pairs": "it is the baseline"},
    ),
    Case("tabular.trees", Trees()),
)
