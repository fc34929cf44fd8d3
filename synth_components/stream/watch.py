"""What a stream does when a block drifts: it warns, ends before the block, or turns knobs down."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import pandas as pd

from synth_components.errors import ThresholdError
from synth_components.stream.drift import Reference
from synth_components.stream.pace import Pace

_LOG = logging.getLogger(__name__)

Action: TypeAlias = Literal["alert", "stop", "adjust"]


@dataclass(frozen=True)
class Knob:
    """A number that an alarm turns down and a chunk without alarm turns back, between bounds.

    Attributes:
        value: Its present value.
        low: Least value.
        high: Largest value.
    """

    value: float
    low: float
    high: float

    def turned(self, *, is_drifting: bool) -> Knob:
        """Return the knob after a chunk: halved if the chunk drifted, else doubled, within the bounds."""
        return replace(self, value=min(max(self.value * (0.5 if is_drifting else 2.0), self.low), self.high))


@dataclass
class Watch:
    """Compares the blocks of a stream with a reference and acts.

    Attributes:
        reference: What the rows were like without drift.
        action: What an alarm does.
        start: Number of the first block that is compared; those before it may be the reference.
        knobs: What ``adjust`` turns, by name; a caller who draws chunks himself reads his own from here.
    """

    reference: Reference
    action: Action
    start: int
    knobs: Mapping[str, Knob]

    def __call__(self, table: pd.DataFrame, number: int, pace: Pace) -> None:
        """Look at block ``number`` before any of its rows is sent.

        Raises:
            ThresholdError: if it drifted and the action is ``stop``.
        """
        if number < self.start:
            return
        alarms = self.reference.alarms(table, chunk=number - self.start + 1)
        for alarm in alarms:
            _LOG.warning("%s", alarm)
        if alarms and self.action == "stop":
            raise ThresholdError(f"the stream drifted, and its rows from there on were not sent: {alarms[0]}")
        if self.action == "adjust":
            self._turn(pace, is_drifting=bool(alarms))

    def _turn(self, pace: Pace, *, is_drifting: bool) -> None:
        turned = {name: knob.turned(is_drifting=is_drifting) for name, knob in self.knobs.items()}
        for name, knob in turned.items():
            if knob != self.knobs[name]:
                _LOG.warning("knob '%s' turned from %g to %g", name, self.knobs[name].value, knob.value)
        self.knobs = turned
        if "rate" in turned:
            pace.rate = turned["rate"].value
