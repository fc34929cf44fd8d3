"""The errors a caller can handle.  A message names table, column, rule and remedy, and never a cell value."""

from __future__ import annotations


class SynthError(Exception):
    """Bad input or an impossible request; the message says what to do next.  Exit status 2."""


class SchemaError(SynthError):
    """A table does not fit its schema, or a schema contradicts itself.

    Attributes:
        column: Name of the offending column, ``None`` if the error is not about one column.
        table: Name of the offending table, ``None`` if there is only one.
    """

    def __init__(self, message: str, *, column: str | None = None, table: str | None = None) -> None:
        super().__init__(message)
        self.column = column
        self.table = table


class UnsupportedError(SynthError):
    """A valid request that this generator, sampler or platform cannot serve."""


class BudgetExceededError(SynthError):
    """A read of private rows would spend more than the ledger has left; nothing was read.

    Attributes:
        requested: Epsilon that the total would reach (``inf`` for a read without differential privacy).
        available: Epsilon that the budget allows in total.
        remaining: Epsilon that is left of it; ``None`` where only a part of a budget was asked.
    """

    def __init__(self, message: str, *, requested: float, available: float, remaining: float | None = None) -> None:
        super().__init__(message)
        self.requested = requested
        self.available = available
        self.remaining = remaining


class UnitError(SynthError):
    """Charges of different privacy units, in one ledger or budget file: their sum holds for neither.

    Attributes:
        unit: Whom the ledger or file is of; empty if nobody said.
        charged: Whom the charge is of; empty if nobody said.
    """

    def __init__(self, message: str, *, unit: str, charged: str) -> None:
        super().__init__(message)
        self.unit = unit
        self.charged = charged


class DeltaError(SynthError):
    """Delta is 1 over the number of privacy units or more: it would let one of them be shown to everybody.

    Attributes:
        delta: The delta that was asked for.
        units: How many units there are at least.
    """

    def __init__(self, message: str, *, delta: float, units: int) -> None:
        super().__init__(message)
        self.delta = delta
        self.units = units


class ConstraintError(SynthError):
    """A rule cannot be met, or was broken.

    Attributes:
        constraint: Name of the rule.
        acceptance: Share of drawn rows that obeyed it, in [0, 1]; ``None`` if it was not sampled.
    """

    def __init__(self, message: str, *, constraint: str, acceptance: float | None = None) -> None:
        super().__init__(message)
        self.constraint = constraint
        self.acceptance = acceptance


class ConditionError(SynthError):
    """A condition on an unknown column, a value outside the schema, or an event without mass."""

    def __init__(self, message: str, *, columns: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.columns = columns


class ArtifactError(SynthError):
    """A saved model or dataset is damaged, incomplete, too new, or not ours."""


class TamperedError(ArtifactError):
    """An audit trail or a budget file is not as it was written.

    Attributes:
        line: The first line that is wrong, from 1; ``None`` if it is not known which.
    """

    def __init__(self, message: str, *, line: int | None) -> None:
        super().__init__(message)
        self.line = line


class EncryptionError(ArtifactError):
    """What is encrypted cannot be opened: without its key, or after it was tampered with."""


class DataError(SynthError):
    """A file cannot be read or written as asked: format, encoding, duplicate or empty column names."""


class PolicyError(SynthError):
    """A privacy policy does not suit the table, or its rows cannot meet it; nothing was released.

    Attributes:
        column: Name of the column that the error is about, ``None`` if it is about the whole table.
    """

    def __init__(self, message: str, *, column: str | None = None) -> None:
        super().__init__(message)
        self.column = column


class ThresholdError(SynthError):
    """A report missed a threshold that was asked for.  Exit status 3 on the command line."""


class GuardError(ThresholdError):
    """A privacy policy does not allow a fit or a release.  Exit status 3 on the command line.

    Attributes:
        checks: What was missed, or could not be proven.
    """

    def __init__(self, message: str, *, checks: tuple[str, ...]) -> None:
        super().__init__(message)
        self.checks = checks


class StoppedError(SynthError):
    """Work ended early because ``run.should_stop()`` said so; nothing half-written is left behind.

    Attributes:
        signal: Number of the signal that asked for it, 0 for none.  On the command line the exit status is 128 more.
    """

    def __init__(self, message: str, *, signal: int = 0) -> None:
        super().__init__(message)
        self.signal = signal


class LimitError(SynthError):
    """Work ended early because it passed its limit of memory or time; nothing half-written is left behind.

    Attributes:
        option: The limit: ``max_memory`` or ``max_seconds``.
        stage: The stage of work that was reached.
    """

    def __init__(self, message: str, *, option: str, stage: str) -> None:
        super().__init__(message)
        self.option = option
        self.stage = stage
