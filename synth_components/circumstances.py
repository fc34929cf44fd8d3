"""How a step is run, whichever step it is: its limits, the cache of its results, and where a fit keeps its state."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from pydantic import Field, field_validator

from synth_components.config import Config, from_strings
from synth_components.limits import bytes_of

PREFIX = "SYNTH_"
"""Of the environment variables that platforms set: ``SYNTH_MAX_MEMORY`` is ``max_memory``."""


class Circumstances(Config):
    """What every command takes beside its own options; each also by an environment variable."""

    max_memory: str = Field(
        "",
        description="Most memory of the process, such as 500MB or 2GiB (without a unit MiB); beyond it the work ends "
        "with an error and nothing half-written. Also SYNTH_MAX_MEMORY.",
    )
    max_seconds: float = Field(
        0.0,
        ge=0,
        description="Most time, in seconds; beyond it the work ends likewise; 0 for no limit. Also SYNTH_MAX_SECONDS.",
    )
    cache: str = Field(
        "",
        description="Folder that keeps profiles, models and samples, to be taken from there when asked for again. A "
        "profile of private rows is private: whoever reads the folder reads it. Also SYNTH_CACHE.",
    )
    checkpoint: str = Field(
        "",
        description="Folder that keeps the state of an unfinished fit, of generators that train step by step and of "
        "members of another that are fitted: read if there, written while it trains and when Ctrl-C or SIGTERM stops "
        "it, removed when the model is saved. It is as private as the rows. Also SYNTH_CHECKPOINT.",
    )

    audit: str = Field(
        "",
        description="File of the audit trail, to which every access, fit, draw, charge and gate decision is added. "
        "Also SYNTH_AUDIT.",
    )
    budget_file: str = Field(
        "",
        description="File of the privacy budget that all work on one data set shares, as `synth budget create` makes "
        "it; what is not differentially private is then refused. Also SYNTH_BUDGET_FILE.",
    )
    chain_key: str = Field(
        "",
        description="File with a key, kept from those who can write to audit trail and budget file, that seals their "
        "lines. Also SYNTH_CHAIN_KEY.",
    )

    encrypt: Literal["none", "models", "all"] = Field(
        "none",
        description="What is written encrypted, with encrypt_key: models, or all, which is models and tables. What is "
        "read may be encrypted in any case. Also SYNTH_ENCRYPT.",
    )
    encrypt_key: str = Field(
        "",
        description="Key that models and tables are encrypted and opened with: file:PATH (32 bytes, or those in "
        "hexadecimal or base64), env:NAME, or kms:KEY of AWS. Also SYNTH_ENCRYPT_KEY.",
    )

    policy: str = Field(
        "",
        description="Privacy policy, held against every fit before it reads and every release: a file, or low, medium, "
        "high or critical. Empty leaves what SYNTH_POLICY says; without any, releases are held against medium. "
        "off turns the guard off, which the trail tells. Also SYNTH_POLICY.",
    )

    @field_validator("max_memory")
    @classmethod
    def _means_bytes(cls, text: str) -> str:
        bytes_of(text)
        return text


_AROUND: ContextVar[Circumstances | None] = ContextVar("circumstances", default=None)


def around() -> Circumstances:
    """Return the circumstances that the work is in: those of the step around, else the environment's.

    Raises:
        ConfigError: for a variable of the environment that breaks its option's rule.
    """
    held = _AROUND.get()
    if held is not None:
        return held
    names = {name: f"{PREFIX}{name.upper()}" for name in Circumstances.model_fields}
    return from_strings(Circumstances, {name: os.environ[key] for name, key in names.items() if os.environ.get(key)})


def circumstance(name: str) -> str:
    """Return one circumstance that is text, whether or not the others of the environment are right."""
    held = _AROUND.get()
    return str(getattr(held, name)) if held is not None else os.environ.get(f"{PREFIX}{name.upper()}", "")


@contextmanager
def within(circumstances: Circumstances) -> Iterator[None]:
    """Run the steps within the block under these circumstances.

    What these do not say is as those around say it: ``Circumstances(encrypt="models", encrypt_key=...)`` leaves policy,
    audit trail and budget file as they are; ``budget_file=""`` says that there is none.  An empty policy says nothing:
    that the guard is off is said by ``off``, and stands in the trail.

    A thread, and the threads of an executor, begin without the circumstances of the block, which Python does not carry
    there: they are under those of the environment alone.  To carry them, start what
    ``contextvars.copy_context().run`` runs, with a copy for each thread.

    Raises:
        ConfigError: for a variable of the environment that breaks its option's rule.
    """
    said = {name: getattr(circumstances, name) for name in circumstances.model_fields_set}
    if said.get("policy") == "":
        del said["policy"]
    token = _AROUND.set(around().model_copy(update=said))
    try:
        yield
    finally:
        _AROUND.reset(token)
