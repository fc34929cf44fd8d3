"""Who may ask, and how often: bearer tokens, compared in constant time, and a token bucket for each caller."""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from synth_components.config import ConfigError
from synth_components.service.options import ServeConfig
from synth_components.service.refusal import Refusal

VARIABLE = "SYNTH_SERVE_TOKEN"
"""The variable of the environment that holds a token."""

MIN_LENGTH = 16
MAX_CALLERS = 10_000
"""Callers whose requests are counted; of more, those who came longest ago start anew."""


def read_tokens(config: ServeConfig) -> tuple[bytes, ...]:
    """Return the digests of the tokens that callers must bring; none if the service is open.

    Raises:
        ConfigError: for a token file without tokens, a short token, or an open service that others can reach.
    """
    said = [os.environ[VARIABLE].strip()] if os.environ.get(VARIABLE) else []
    if config.token_file:
        lines = Path(config.token_file).expanduser().read_text(encoding="utf-8").splitlines()
        held = [line.strip() for line in lines if line.strip()]
        if not held:
            raise ConfigError("token_file holds no token; put one on a line of its own", option="token_file")
        said += held
    if any(len(token) < MIN_LENGTH for token in said):
        raise ConfigError(
            f"a token has at least {MIN_LENGTH} characters; make one with `openssl rand -hex 32`", option="token_file"
        )
    if not said and not config.anonymous and not _is_loopback(config.host):
        raise ConfigError(
            "the service would answer anyone who reaches this machine; give token_file or SYNTH_SERVE_TOKEN, listen on "
            "127.0.0.1, or say anonymous",
            option="anonymous",
        )
    return tuple(_digest(token.encode()) for token in said)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


@dataclass
class Access:
    """Lets callers in.

    Attributes:
        tokens: Digests of the tokens; empty lets everyone in.
        rate: Requests per second of one caller; 0 for no limit.
        burst: Requests that may come at once.
        clock: Seconds that never go back.
    """

    tokens: tuple[bytes, ...]
    rate: float
    burst: int
    clock: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def require(self, authorization: str | None, address: str) -> None:
        """Return if the caller may go on.

        Args:
            authorization: The ``Authorization`` header.
            address: Where the caller is.

        Raises:
            Refusal: 401 without a right token, 429 for too many requests, failed ones included.
        """
        who = self._token(authorization)
        self._count(f"address {address}" if who is None else f"token {who}")
        if self.tokens and who is None:
            raise Refusal(
                401,
                "Unauthorized",
                "bring a token: Authorization: Bearer TOKEN",
                {"WWW-Authenticate": 'Bearer realm="synth"'},
            )

    def _token(self, authorization: str | None) -> int | None:
        """Return the number of the caller's token; every token is compared, whichever is right."""
        scheme, _, token = (authorization or "").partition(" ")
        given = _digest(token.strip().encode("utf-8", "surrogateescape"))
        is_right = [hmac.compare_digest(given, known) for known in self.tokens]
        return is_right.index(True) if scheme.lower() == "bearer" and any(is_right) else None

    def _count(self, caller: str) -> None:
        if self.rate == 0:
            return
        now = self.clock()
        level, then = self._buckets.pop(caller, (float(self.burst), now))
        level = min(float(self.burst), level + (now - then) * self.rate)
        self._buckets[caller] = (level - 1 if level >= 1 else level, now)
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        if level < 1:
            wait = math.ceil((1 - level) / self.rate)
            raise Refusal(
                429,
                "TooManyRequests",
                f"at most {self.rate:g} requests per second are answered, {self.burst} at once; wait, then ask again",
                {"Retry-After": str(max(wait, 1))},
            )
