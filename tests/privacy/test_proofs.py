"""The page of proofs: what charges a ledger has its row there, whole, and the tests of a row reach what it is about."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from synth_components.privacy import noise

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "synth_components" / "privacy" / "README.md").read_text(encoding="utf-8")
CODE = [
    path
    for folder in ("synth_components", "mlflow_flavor", "kubeflow/synth_kubeflow", "sagemaker/synth_sagemaker")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
TESTS = sorted(path for path in (ROOT / "tests").rglob("test_*.py") if path.name != Path(__file__).name)

HEAD = ["mechanism", "where", "charged as", "theorem", "unit", "neighbours", "audited by"]
CITED = re.compile(r"\b(19|20)\d\d\b")
NEIGHBOURS = re.compile(r"\b(row|unit) added or removed$")


def labelled(label: ast.expr) -> str:
    """Return a label as the page has it: what is filled in is three dots."""
    if isinstance(label, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in label.values)
    return str(ast.literal_eval(label))


def calls(source: str) -> Iterator[tuple[ast.Call, ast.FunctionDef | None]]:
    """Yield every call, and the innermost function that it stands in."""
    stack: list[tuple[ast.AST, ast.FunctionDef | None]] = [(ast.parse(source), None)]
    while stack:
        node, within = stack.pop()
        if isinstance(node, ast.Call):
            yield node, within
        inner = node if isinstance(node, ast.FunctionDef) else within
        stack += [(child, inner) for child in ast.iter_child_nodes(node)]


def charges(sources: list[str]) -> set[str]:
    """Return the labels of all charges that claim something: those of another curve than that of a plain read.

    Where a function hands on a label that it was given, its callers are asked; of a charge that was planned, whoever
    planned it.
    """
    found: set[str] = set()
    asked, known = ["spend", "Planned"], {"spend", "Planned"}
    while asked:
        name = asked.pop()
        for source in (one for one in sources if f"{name}(" in one):
            for call, within in calls(source):
                of = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
                if of != name or not call.args:
                    continue
                if len(call.args) > 1 and isinstance(call.args[1], ast.Name) and call.args[1].id == "not_private":
                    continue
                label = call.args[0]
                is_text = isinstance(label, ast.Constant | ast.JoinedStr)
                if isinstance(call.func, ast.Attribute) and name != "spend" and not is_text:
                    continue  # a method of that name
                if is_text:
                    found.add(labelled(label))
                elif ast.unparse(label) in {"planned.label", "kept.label"}:
                    continue  # made before: planned by a call that is looked at, or of a member fitted before a stop
                elif within is not None and within.name not in known:
                    assert isinstance(label, ast.Name), f"{name}() in {within.name}: a label is text, or handed on"
                    assert label.id == within.args.args[0].arg, f"{within.name} takes its label first"
                    known.add(within.name)
                    asked.append(within.name)
    return found


def functions(path: Path) -> dict[str, ast.stmt]:
    """Return what a test file defines at its top, by name: what pytest collects of it is among that."""
    made: dict[str, ast.stmt] = {}
    for part in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(part, ast.FunctionDef | ast.ClassDef):
            made[part.name] = part
        for target in part.targets if isinstance(part, ast.Assign) else ():
            made |= {name.id: part for name in ast.walk(target) if isinstance(name, ast.Name)}
    return made


def reached(name: str, held: dict[str, ast.stmt]) -> str:
    """Return the source of a test with all that it uses of its own file, decorators and fixtures included."""
    seen: dict[str, str] = {}
    asked = [name]
    while asked:
        one = asked.pop()
        if one in held and one not in seen:
            seen[one] = ast.unparse(held[one])
            asked += re.findall(r"\w+", seen[one])
    return "\n".join(seen.values())


def is_skipped(test: ast.stmt) -> bool:
    marks = [ast.unparse(one) for one in getattr(test, "decorator_list", ())]
    return any(re.search(r"mark\.(skip\b|xfail)", one) for one in marks)


COLLECTED: dict[str, str] = {}
"""What each collected test reaches, by its name; those of one name together."""
for file in TESTS:
    there = functions(file)
    for title, part in there.items():
        if title.startswith("test_") and isinstance(part, ast.FunctionDef) and not is_skipped(part):
            COLLECTED[title] = COLLECTED.get(title, "") + reached(title, there)


def plain(text: str) -> str:
    return re.sub(r"[_\W]", "", text).lower()


def rows(page: str) -> list[list[str]]:
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]


def faults(page: str, charged: set[str]) -> list[str]:
    """Return what the page lacks."""
    head, *table = rows(page)
    if head != HEAD:
        return [f"the columns are {head}"]
    made: list[str] = []
    told: set[str] = set()
    for row in table:
        if len(row) != len(HEAD) or not row[0]:
            made.append(f"a row has not the columns of the table: {row}")
            continue
        mechanism, where, labels, theorem, unit, neighbours, audit = row
        told |= set(re.findall(r"`([^`]+)`", labels))
        if not CITED.search(theorem):
            made.append(f"{mechanism}: no theorem with its source")
        claims = not (unit.startswith("none:") and neighbours == "none" and labels == "-")
        if claims and not re.search(r"\b(row|rows|unit|charges)\b", unit):
            made.append(f"{mechanism}: no unit")
        if claims and not NEIGHBOURS.search(neighbours):
            made.append(f"{mechanism}: no neighbouring relation")
        tests = re.findall(r"`(test_\w+)`", audit)
        made += [f"{mechanism}: no test {name} is collected" for name in tests if name not in COLLECTED]
        kept = plain("".join(COLLECTED.get(name, "") for name in tests))
        named = re.findall(r"`([\w./]+)`", where)
        if not named:
            made.append(f"{mechanism}: no place in the code")
        about = [name.removesuffix(".py").rpartition("/")[2].rpartition(".")[2] for name in named]
        about += [label.partition("…")[0] for label in re.findall(r"`([^`]+)`", labels)]
        if not tests or not any(plain(name) in kept for name in about):
            made.append(f"{mechanism}: no test of its own reaches {' or '.join(about)}")
        if "`noise." in where and not re.search(r"caught: `test_\w+`", audit):
            made.append(f"{mechanism}: no broken twin is caught")
    made += [f"'{label}' is charged and has no row" for label in sorted(charged - told)]
    made += [f"'{label}' has a row and is never charged" for label in sorted(told - charged)]
    return made


CHARGED = charges([path.read_text(encoding="utf-8") for path in CODE])


def test_the_page_lacks_nothing():
    assert faults(PAGE, CHARGED) == []


def test_the_walk_finds_charges_wherever_they_are_made():
    assert {"fit tabular.mst", "fit tabular.vae", "domain of column '…'", "number of rows"} <= CHARGED
    assert "profile" not in CHARGED  # a plain read claims nothing
    source = "def paid(label, ledger):\n    ledger.spend(label, pure(1.0))\n\nclass A:\n    def f(self):\n        "
    assert charges([source + "paid(f'a {self} b', L)\n", "x.spend('plain', not_private)\ny.spend('sum', curve)"]) == {
        "a … b",
        "sum",
    }
    assert charges(["x.spend(planned.label, planned.rdp)\nPlanned('later', curve, 0.0)"]) == {"later"}


@pytest.mark.parametrize("place", range(1, len(rows(PAGE))), ids=lambda place: rows(PAGE)[place][0])
@pytest.mark.parametrize("column", range(1, len(HEAD)), ids=lambda column: HEAD[column])
def test_a_row_that_lacks_a_cell_is_found(place, column):
    row = rows(PAGE)[place]
    if row[column] in {"-", "none"} or row[column].startswith("none:"):
        broken = ["a claim", *row[1:4], "", "", row[6]]  # what claims nothing of a row may say so, and no less
    else:
        broken = [*row[:column], "-", *row[column + 1 :]]
    page = PAGE.replace(f"| {' | '.join(row)} |", f"| {' | '.join(broken)} |")
    assert page != PAGE
    assert faults(page, CHARGED)


@pytest.mark.parametrize("place", range(1, len(rows(PAGE))), ids=lambda place: rows(PAGE)[place][0])
def test_a_row_that_is_missing_or_names_a_test_that_is_not_there_is_found(place):
    row = rows(PAGE)[place]
    line = f"| {' | '.join(row)} |"
    for name in re.findall(r"`(test_\w+)`", row[-1]):
        assert any(name in one for one in faults(PAGE.replace(line, line.replace(name, f"{name}_no_more")), CHARGED))
    if row[2] != "-":
        assert any("has no row" in one for one in faults(PAGE.replace(f"{line}\n", ""), CHARGED))


def test_a_test_that_is_there_and_reaches_something_else_is_found():
    other = PAGE.replace("`test_the_best_score_wins_as_often_as_what_is_paid_lets_it`", "`test_the_page_lacks_nothing`")
    assert any("the noisy maximum: no test" in one for one in faults(other, CHARGED))
    (row,) = [one for one in rows(PAGE) if one[0] == "the noisy maximum"]
    elsewhere = re.sub(r"`test_\w+`", "`test_gaussian_noise_needs_delta`", row[-1])
    assert any("reaches noisy_best" in one for one in faults(PAGE.replace(row[-1], elsewhere), CHARGED))


def test_a_charge_without_a_row_is_found():
    assert faults(PAGE, CHARGED | {"a new mechanism"}) == ["'a new mechanism' is charged and has no row"]


def test_a_test_that_is_always_skipped_audits_nothing():
    skipped, run = ast.parse(
        "@pytest.mark.skip(reason='x')\ndef test_a(): ...\n@pytest.mark.slow\ndef test_b(): ..."
    ).body
    assert is_skipped(skipped)
    assert not is_skipped(run)


def test_every_function_that_adds_noise_has_a_row():
    made = [
        name
        for name, one in vars(noise).items()
        if inspect.isfunction(one) and one.__module__ == noise.__name__ and "_count_noise" in inspect.getsource(one)
    ]
    public = {name for name in [*made, "noisy_best", "kept_keys"] if not name.startswith("_")}
    assert public >= {"noisy_counts", "charged_counts"}
    assert not [name for name in public if f"`noise.{name}`" not in PAGE]


def test_every_private_generator_has_a_row():
    from cases import CASES

    assert not [case.name for case in CASES if case.private and f"`{case.name}`" not in PAGE]
