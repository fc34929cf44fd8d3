"""What looks like a secret, in what everyone reads who may describe a job: options, environment, arguments, tags."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from synth_components.config import ConfigError
from synth_sagemaker.residency import opened

ENCRYPT_KEY = "SYNTH_ENCRYPT_KEY"
"""The variable that says with which key models and tables are encrypted and opened."""

_NAME = re.compile(
    r"(?:passw(?:or)?d|passphrase)s?(?:[^a-z]|$)"  # PGPASSWORD, too
    r"|(?:^|[^a-z])(?:secret|credentials?|auth|(?:private|api|access|secret)[_.-]?keys?)(?:[^a-z]|$)"
    r"|(?:^|[^a-z])(?:pwd|token|(?:access|auth|refresh|session)[_.-]?tokens?)$"
    r"|(?:^|[^a-z])(?<!low.)(?<!high.)(?<!band.)pass$"
)
"""A name that says that its value is secret, in small letters, its words apart; ``secrets`` is an option of ours."""
_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
"""Where the next word of a name in camel case begins."""
_WORKING_DIRECTORY = "PWD"
_ARN = re.compile(r"(?:^|[^a-z])arn$")
"""The name of an address, of a secret perhaps: whoever reads it needs a right to read the secret."""
_VALUE = re.compile(
    r"(?<![A-Z0-9])(AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])"  # an AWS key
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}"
    r"|\bxox[abpsr]-[A-Za-z0-9-]{10,}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\."  # a JSON web token
    r"|[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@"  # an address with a password
)


def secret_in(name: str, value: str) -> bool:
    """Return whether a name says that its value is secret, or a value looks like a key or password."""
    words = _BORDER.sub("_", name).lower()
    is_told = name != _WORKING_DIRECTORY and not _ARN.search(words) and _NAME.search(words)
    return bool(is_told or _VALUE.search(value))


def exposed_key(variables: Mapping[str, Any]) -> str:
    """Return the variable among these that ``SYNTH_ENCRYPT_KEY`` says holds a key; empty if none does."""
    kind, _, name = str(variables.get(ENCRYPT_KEY, "")).partition(":")
    return name if kind == "env" and name in variables else ""


def refuse_secrets(request: Mapping[str, Any]) -> None:
    """Refuse a request that carries something like a secret where everyone reads it.

    Raises:
        ConfigError: naming the place, and not the value.
    """
    for place, name, value in _open(request, ""):
        if secret_in(name, value):
            raise ConfigError(
                f"{place}: this looks like a secret, and everyone who may describe the job reads it; leave it to the "
                "role, or to AWS Secrets Manager",
                option=name,
            )


def _open(value: Any, path: str) -> Iterator[tuple[str, str, str]]:  # noqa: ANN401 - any JSON value
    """Yield place, name and text of every option, variable, argument and tag."""
    if isinstance(value, list):
        for place, part in enumerate(value):
            yield from _open(part, f"{path}[{place}]")
    if not isinstance(value, Mapping):
        return
    for name, part in value.items():
        where = f"{path}.{name}" if path else name
        if name in {"HyperParameters", "StaticHyperParameters", "Environment"} and isinstance(part, Mapping):
            exposed = exposed_key(part)
            yield from (
                (f"{where}.{key}", "secret" if key == exposed else str(key), str(text)) for key, text in part.items()
            )
        elif name == "ContainerArguments" and isinstance(part, list):
            flags = ["", *part[:-1]]
            for place, (flag, word) in enumerate(zip(flags, part, strict=True)):
                yield f"{where}[{place}]", str(flag).removeprefix("--") if str(flag).startswith("--") else "", str(word)
        elif name == "Tags" and isinstance(part, list):
            yield from ((f"{where}.{tag['Key']}", str(tag["Key"]), str(tag["Value"])) for tag in part)
        else:
            yield from _open(opened(name, part), where)
