"""Every generator passes every check, and every check catches the generator that is broken for it."""

from importlib.util import find_spec

import pytest
from broken import BROKEN, CORRECT, CORRECT_PRIVATE
from cases import CASES, LIBRARIES

from synth_components import generators
from synth_components.testing import CHECKS, Case, CheckError, check_loads_in_fresh_process, yield_checks


def test_every_generator_has_a_case():
    assert sorted({case.name for case in CASES}) == list(generators.names())


def test_every_generator_says_which_packages_its_fit_needs():
    said = {name: generators.recipe_type(name).needs for name in generators.names()}
    assert {name: needs for name, needs in said.items() if needs} == {n: (package,) for n, package in LIBRARIES.items()}


def marks(case):
    """Return the mark of a case that is fitted with torch, and the one that skips where a library is missing."""
    libraries = [LIBRARIES.get(case.name), "opendp" if case.private else None]
    made = [pytest.mark.networks] if {"torch", "ctgan"} & set(libraries) else []
    absent = [library for library in libraries if library is not None and find_spec(library) is None]
    if absent:
        made.append(pytest.mark.skip(reason=f"it is fitted with {absent[0]}, which is not installed"))
    return made


@pytest.mark.parametrize(
    "check", [pytest.param(bound, id=str(bound), marks=marks(case)) for case in CASES for bound in yield_checks(case)]
)
def test_conforms(check):
    check()


@pytest.mark.parametrize("check", [b for case in (CORRECT, CORRECT_PRIVATE) for b in yield_checks(case)], ids=str)
def test_the_correct_small_generators_pass(check):
    check()


def test_every_check_has_a_generator_that_is_broken_for_it():
    assert {name for name, _ in BROKEN} == {check.__name__ for check in CHECKS}


def fails(bound):
    try:
        bound()
    except CheckError:
        return True
    return False


@pytest.mark.parametrize(("name", "case"), BROKEN, ids=[str(case) for _, case in BROKEN])
def test_a_broken_generator_fails_its_check_and_no_other(name, case):
    # A fresh process takes a second, so only the generator that is broken for it is loaded in one.
    bounds = [b for b in yield_checks(case) if b.check is not check_loads_in_fresh_process or b.check.__name__ == name]
    assert [bound.check.__name__ for bound in bounds if fails(bound)] == [name]


def test_a_skipped_check_that_passes_fails():
    case = Case("stratified", CORRECT.recipe, skip={"check_is_documented": "not yet"})
    bound = next(bound for bound in yield_checks(case) if bound.check.__name__ == "check_is_documented")
    with pytest.raises(CheckError, match="remove the exception"):
        bound()


def test_a_skip_of_a_check_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="check_nothing"):
        next(yield_checks(Case("stratified", CORRECT.recipe, skip={"check_nothing": "a slip"})))
