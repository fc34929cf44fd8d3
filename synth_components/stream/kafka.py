"""A stream into a Kafka topic: one message per row, its key the number of the row.

At least once: a row counts as sent when every in-sync replica has it, and whoever goes on from the row that was told
may send rows again.  Such a row has the same key and the same bytes, so a consumer drops what it has seen, and a
compacted topic keeps one of each.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from synth_components.errors import DataError, UnsupportedError
from synth_components.stream.stop import Stop
from synth_components.stream.unit import Unit

_LOG = logging.getLogger(__name__)

SCHEME = "kafka"

DEFAULTS: Mapping[str, str | int | bool] = {
    "acks": "all",
    "enable.idempotence": True,  # a retry inside the client neither repeats nor reorders
    "linger.ms": 5,
    "message.timeout.ms": 60_000,
    "queue.buffering.max.kbytes": 16_384,
}
"""Settings of the client that the address may change; the last one bounds the memory of rows under way."""

_SECONDS_PER_POLL = 0.1


class KafkaSink:
    """Sends each row as a message and waits until the brokers have all of a write."""

    def __init__(self, address: str, *, offset: int, settings: Mapping[str, str] | None = None) -> None:
        """Connect to ``kafka://host:port[,host:port]/topic``.

        Args:
            address: Brokers and topic; its query holds settings of librdkafka, such as ``compression.type=zstd``.
            offset: Number of the first row.
            settings: More of them, such as credentials, which an address on a command line would show to others.

        Raises:
            DataError: for an address without brokers or topic, or a setting that the client does not know.
            UnsupportedError: without the extra ``kafka``.
        """
        brokers, self._topic, asked = _parsed(address)
        try:
            from confluent_kafka import KafkaException, Producer
        except ModuleNotFoundError:
            raise UnsupportedError(
                "a Kafka topic needs the extra kafka: pip install 'synth-components[kafka]'"
            ) from None
        self._shown = f"{SCHEME}://{brokers}/{self._topic}"
        try:
            asked = {**asked, **(settings or {}), "bootstrap.servers": brokers}
            self._producer: Any = Producer({**DEFAULTS, **asked}, logger=_LOG)
        except KafkaException as error:
            raise DataError(f"'{self._shown}': the client refuses a setting ({_code(error)}); mend the query") from None
        self._next = offset
        self._failure = ""

    @property
    def next_row(self) -> int:
        """Number of the first row that the brokers did not confirm."""
        return self._next

    def write(self, units: Sequence[Unit], stop: Stop) -> None:
        """Send units and wait until the brokers have all of them.

        Raises:
            DataError: if the brokers did not take a row in time.
        """
        for unit in units:
            self._send(unit)
        while self._producer.flush(_SECONDS_PER_POLL) and not self._failure:
            pass
        if self._failure:
            raise DataError(f"'{self._shown}' did not take a row ({self._failure}); check brokers, topic and rights")
        self._next = units[-1].end

    def close(self, *, is_complete: bool) -> None:
        """Drop what is under way; every confirmed row is there."""
        self._producer.purge()
        self._producer.flush(_SECONDS_PER_POLL)

    def _send(self, unit: Unit) -> None:
        key = str(unit.end - 1).encode()
        while not self._failure:
            try:
                self._producer.produce(self._topic, key=key, value=unit.body.rstrip(b"\n"), on_delivery=self._note)
            except BufferError:  # the queue is full: the brokers hold the stream back
                self._producer.poll(_SECONDS_PER_POLL)
            else:
                self._producer.poll(0)
                return

    def _note(self, error: Any, _: Any) -> None:  # noqa: ANN401 - the client has no types of its own
        if error is not None and not self._failure:
            self._failure = str(error.name())


def _parsed(address: str) -> tuple[str, str, dict[str, str]]:
    """Return brokers, topic and settings."""
    parts = urlsplit(address)
    topic = parts.path.strip("/")
    # Kafka's own rule for the names of topics.
    if not parts.netloc or "@" in parts.netloc or not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic):
        raise DataError("a Kafka address is kafka://host:port[,host:port]/topic; settings go into its query")
    return parts.netloc, topic, dict(parse_qsl(parts.query))


def _code(error: Any) -> str:  # noqa: ANN401
    return str(error.args[0].name()) if error.args else type(error).__name__
