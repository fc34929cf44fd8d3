"""A genetic search for orderings: the slower method, offered for comparison."""

from __future__ import annotations

import numpy as np
from numpy import random

from synth_components.preserve.frame import Aim, Frame, Order
from synth_components.preserve.options import PreserveConfig
from synth_components.protocols import Floats

_CONTEST = 3  # orderings among which a parent is the fittest


def search(
    units: list[list[int]], frame: Frame, aim: Aim, *, config: PreserveConfig, rng: random.Generator
) -> list[Order]:
    """Return an order for each unit of columns that moves as one.

    An individual is one permutation a unit.  A child takes each unit from one of two parents, or from one alone; each
    of its units is disturbed with the chance ``mutation``: the values of a random share of rows trade places.  Fitness
    weighs closeness, the share of the mean distance from the aim that is gone, against the share of values left in
    place.

    Source: Holland 1975, "Adaptation in natural and artificial systems"; elitism after De Jong 1975.
    """
    n, width = frame.codes.shape
    moving = sorted(place for unit in units for place in unit)
    counted = np.zeros_like(aim.strength, dtype=np.bool_)
    counted[moving] = counted[:, moving] = True
    counted = np.triu(counted, 1)
    wanted = aim.strength[np.triu_indices(width, 1)]
    matters = counted[np.triu_indices(width, 1)]

    def distance(made: Frame) -> float:
        return float(np.abs(made.pairs.association - wanted)[matters].mean())

    identity = np.arange(n)
    start = distance(frame) if matters.any() else 0.0
    if start == 0:
        return [identity for _ in units]

    def fitness(individual: list[Order]) -> float:
        made = frame.reordered({c: order for unit, order in zip(units, individual, strict=True) for c in unit})
        closeness = 1 - distance(made) / start
        still = float(np.mean([(order == identity).mean() for order in individual]))
        return config.quality_weight * closeness + (1 - config.quality_weight) * still

    people = [[identity] * len(units)]
    people += [[_disturbed(identity, rng) for _ in units] for _ in range(config.population - 1)]
    scores = np.array([fitness(one) for one in people])
    kept = max(1, round(config.elite * config.population))
    affordable = config.max_cells // max(n * width * (config.population - kept), 1)
    for _ in range(int(min(config.generations, affordable))):
        ranking = np.argsort(-scores, kind="stable")
        people, scores = [people[place] for place in ranking], scores[ranking]
        children = [_child(people, config, rng) for _ in range(config.population - kept)]
        made: Floats = np.array([fitness(one) for one in children])
        people, scores = people[:kept] + children, np.concatenate([scores[:kept], made])
    return people[int(np.argmax(scores))]


def _child(people: list[list[Order]], config: PreserveConfig, rng: random.Generator) -> list[Order]:
    """Return a child of the fittest of a few; ``people`` stand by falling fitness."""
    mother, father = (people[int(rng.integers(len(people), size=_CONTEST).min())] for _ in range(2))
    if rng.random() < config.crossover:
        child = [one if rng.random() < 0.5 else other for one, other in zip(mother, father, strict=True)]
    else:
        child = list(mother)
    return [_disturbed(order, rng) if rng.random() < config.mutation else order for order in child]


def _disturbed(order: Order, rng: random.Generator) -> Order:
    """Return the order with the values of a random share of rows, at most a tenth, in other places."""
    n = len(order)
    rows = rng.choice(n, size=min(n, max(2, int(n * 0.1 * rng.random()))), replace=False)
    made = order.copy()
    made[rows] = order[np.roll(rows, 1)]
    return made
