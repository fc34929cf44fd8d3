"""Which options answer which shortfall: the one table of it.

An option without a generator's name is answered by every generator that has one of that name; where the model is known,
``Change.resolved`` leaves what it has not, and finds the values within the option's own bounds.  What an option calls a
privacy knob ``loosens`` where it is moved to the rows.
"""

from __future__ import annotations

from collections.abc import Mapping

from synth_components.evaluation.change import Change

TREES = "tabular.trees"
TAKE_TREES = Change("take", TREES)

MORE_CATEGORIES = Change("lower", "", "min_category_count", loosens=True)
FEWER_CATEGORIES = Change("raise", "", "min_category_count")
LARGER_LEAVES = (
    Change("raise", TREES, "min_leaf"),
    Change("raise", "", "min_state_rows"),
    Change("raise", "", "min_component_rows"),
)

_TRAINED_LONGER = (Change("raise", "", "epochs"), Change("raise", "", "autoencoder_epochs"))
_LARGER = (
    Change("raise", "", "hidden"),
    Change("raise", "", "denoiser_hidden"),
    Change("raise", "", "channels"),
    Change("raise", "", "states"),
    Change("raise", "", "components"),
    Change("raise", "", "max_parents"),
)
_LESS_HELD_BACK = (
    Change("lower", "", "dropout", loosens=True),
    Change("lower", "", "weight_decay", loosens=True, factor=10.0),
    Change("lower", "", "prior", loosens=True),
    Change("lower", "", "smoothing", loosens=True),
    Change("lower", "", "min_state_rows", loosens=True),
    Change("lower", "", "min_component_rows", loosens=True),
)

ANSWERS: Mapping[str, tuple[Change, ...]] = {
    "a number's shape": (
        Change("raise", "", "knots", loosens=True),
        Change("raise", "", "cells"),
        Change("raise", "", "steps"),
    ),
    "a category's shape": (MORE_CATEGORIES, Change("raise", "", "steps")),
    "coverage": (MORE_CATEGORIES,),
    "nulls": (TAKE_TREES,),
    "pairs": (
        Change("lower", TREES, "min_leaf", loosens=True),
        Change("lower", TREES, "min_evidence", loosens=True),
        Change("raise", TREES, "correction_rounds", loosens=True),
        *_TRAINED_LONGER,
        *_LESS_HELD_BACK,
        TAKE_TREES,
    ),
    "detection": (*_TRAINED_LONGER, *_LARGER),
    "a task": (
        Change("raise", TREES, "correction_trees", loosens=True),
        Change("raise", TREES, "correction_rounds", loosens=True),
        Change("lower", TREES, "min_leaf", loosens=True),
        *_TRAINED_LONGER,
        *_LARGER,
        *_LESS_HELD_BACK,
        Change("raise", "", "classification"),
        TAKE_TREES,
    ),
    "rare records": (FEWER_CATEGORIES,),
    "small groups": LARGER_LEAVES,
    "privacy": (
        *LARGER_LEAVES,
        Change("raise", TREES, "min_evidence"),
        FEWER_CATEGORIES,
        Change("lower", "", "knots"),
        Change("lower", TREES, "correction_trees"),
        Change("raise", "", "dropout"),
        Change("raise", "", "weight_decay", factor=10.0),
        Change("lower", "", "patience"),
        Change("raise", "", "prior"),
        Change("raise", "", "smoothing"),
        Change("raise", "", "delta_mean"),
        Change("raise", "", "delta_sd"),
        TAKE_TREES,
    ),
}
"""What to change, by what a report finds to fall short."""
