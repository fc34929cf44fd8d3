"""Every generator passes every check, and every check catches the generator that is broken for it."""

import pytest
from cases import CASES

from synth_components import generators
from synth_components.testing import yield_checks


def test_every_generator_has_a_case():
    assert sorted(case.name for case in CASES) == list(generators.names())


@pytest.mark.parametrize("check", [bound for case in CASES for bound in yield_checks(case)], ids=str)
def test_conforms(check):
    check()
