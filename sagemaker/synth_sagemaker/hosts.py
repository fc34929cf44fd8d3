"""Hosts that share a training job: the leader writes the model, the others wait until it is through.

A host that ends early ends the whole job where hosts are containers of one machine, and a job of SageMaker counts as
completed when each of its hosts ended well: so the others learn from the leader, by one word, how it ended.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread

from synth_components.errors import StoppedError
from synth_sagemaker.layout import Cluster

PORT = 7778
"""Where the leader waits for the others; torch's processes meet at the port before it."""

PATIENCE = 600.0
"""Seconds for which hosts wait for each other at the start and the end of the leader's work."""

_DONE, _FAILED = b"done", b"failed"
_LOG = logging.getLogger(f"synth_components.{__name__}")  # the command line shows what the core logs


@dataclass
class _Door:
    """Where the leader lets the others in, whenever they come."""

    listener: socket.socket
    callers: list[socket.socket] = field(default_factory=list)

    def open(self) -> None:
        while True:
            try:
                self.callers.append(self.listener.accept()[0])
            except OSError:  # closed
                return


@contextmanager
def leading(cluster: Cluster, *, port: int = PORT, patience: float = PATIENCE) -> Iterator[None]:
    """Do the work of the block, and then tell every other host how it ended; alone, just do it.

    Args:
        patience: Seconds to wait after the block for hosts that have not come yet.
    """
    if len(cluster.hosts) == 1:
        yield
        return
    with socket.create_server(("", port), backlog=len(cluster.hosts)) as listener:
        door = _Door(listener)
        Thread(target=door.open, name="synth-door", daemon=True).start()
        word = _FAILED
        try:
            yield
            word = _DONE
        finally:
            # A leader that failed waits for nobody: who comes later finds the door closed, and gives up.
            end = time.monotonic() + (patience if word is _DONE else 0.0)
            while len(door.callers) < len(cluster.hosts) - 1 and time.monotonic() < end:
                time.sleep(0.05)
            for caller in door.callers:
                with caller:
                    caller.sendall(word)


def _nothing() -> None:
    pass


def follow(
    cluster: Cluster, *, work: Callable[[], None] = _nothing, port: int = PORT, patience: float = PATIENCE
) -> None:
    """Wait until the leader has told how its work ended.

    Args:
        work: What this host does meanwhile.
        patience: Seconds to wait for a leader that does not answer.

    Raises:
        StoppedError: if the leader failed, or does not answer.
    """
    _LOG.info("host %s waits for %s, which writes the model", cluster.host, cluster.leader)
    with _connected(cluster, port, patience) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # a host that vanished says nothing
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        work()
        try:
            said = b"".join(iter(lambda: line.recv(64), b""))
        except OSError:
            said = b""
    if said != _DONE:
        raise StoppedError(f"host {cluster.leader}, which leads the job, did not finish; its log says why")


def _connected(cluster: Cluster, port: int, patience: float) -> socket.socket:
    end = time.monotonic() + patience
    while True:
        try:
            line = socket.create_connection((cluster.leader, port), timeout=10)
        except OSError:
            if time.monotonic() > end:
                raise StoppedError(
                    f"host {cluster.leader}, which leads the job, does not answer on port {port}; open it between the "
                    "job's hosts in the security group"
                ) from None
            time.sleep(0.2)
            continue
        line.settimeout(None)
        return line
