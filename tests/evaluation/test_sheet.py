import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from synth_components.evaluation import evaluate
from synth_components.evaluation.options import EvaluateConfig, FidelityConfig
from synth_components.evaluation.sheet import sheets

SVG = "{http://www.w3.org/2000/svg}"
QUICK = {"replicates": 10, "detector_rows": 60, "detector_folds": 2, "manifold_rows": 60}


def rows(seed):
    rng = np.random.default_rng(seed)
    city = rng.choice(["x", "y"], 160)
    return pd.DataFrame({"a<b & c": rng.normal(size=160) + 3 * (city == "x"), "東京": city, "z": rng.normal(size=160)})


@pytest.fixture(scope="module")
def drawn():
    return sheets(evaluate(rows(0), rows(1), rows(2), config=EvaluateConfig(target="東京", **QUICK)))


def test_every_kind_of_plot_becomes_a_file_of_its_own(drawn):
    assert list(drawn) == ["columns", "pairs", "detection", "tasks", "distances"]


@pytest.mark.parametrize("name", ["columns", "pairs", "detection", "tasks", "distances"])
def test_a_file_is_whole_xml_that_draws_needs_nothing_and_runs_nothing(drawn, name):
    root = ElementTree.fromstring(drawn[name])
    assert root.tag == f"{SVG}svg"
    plots = root.findall(f"{SVG}svg")
    assert plots
    assert all(list(plot) for plot in plots)
    assert "href" not in drawn[name]
    assert "<script" not in drawn[name]
    assert "url(" not in drawn[name]


@pytest.mark.parametrize("name", ["columns", "pairs", "detection", "tasks", "distances"])
def test_panels_lie_within_the_sheet_and_do_not_overlap(drawn, name):
    root = ElementTree.fromstring(drawn[name])
    boxes = [tuple(float(plot.get(key)) for key in ("x", "y", "width", "height")) for plot in root.findall(f"{SVG}svg")]
    for x, y, w, h in boxes:
        assert x >= 0
        assert x + w <= float(root.get("width"))
        assert y + h <= float(root.get("height"))
    for i, (x, y, w, h) in enumerate(boxes):
        for a, b, c, d in boxes[:i]:
            assert x + w <= a or a + c <= x or y + h <= b or b + d <= y


def test_every_mark_has_a_colour_of_the_style(drawn):
    for text in drawn.values():
        style = text[text.index("<style>") : text.index("</style>")]
        for kinds in set(re.findall(r'class="((?:fill|area|line) [a-z ]+)"', text)):
            assert all(f".{kind}" in style for kind in kinds.split())


def test_what_was_not_scored_is_not_drawn():
    made = evaluate(rows(0), rows(1), rows(2), config=FidelityConfig(**QUICK))
    assert list(sheets(made)) == ["columns", "pairs", "detection"]


def test_a_wide_table_shows_its_worst_columns():
    rng = np.random.default_rng(0)
    real, other, drawn = (pd.DataFrame(rng.normal(size=(60, 30))).add_prefix("c") for _ in range(3))
    drawn["c29"] += 3
    config = FidelityConfig(replicates=10, detector_rows=50, detector_folds=2, manifold_rows=50, pair_columns=2)
    shown = sheets(evaluate(real, other, drawn, config=config))["columns"]
    headings = re.findall(r'class="head"[^>]*>([^<]+)<', shown)
    assert len(headings) == 24
    assert headings[0] == "c29"
