"""Several hosts of one job: the leader works, the others wait for its word (requirement 6)."""

import socket
import threading

import pytest

from synth_components.errors import StoppedError
from synth_sagemaker.hosts import follow, leading
from synth_sagemaker.layout import Cluster

HOSTS = ("127.0.0.1", "algo-2", "algo-3")


@pytest.fixture
def port():
    """A free port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Follower(threading.Thread):
    """A host that waits, and keeps what it learns."""

    def __init__(self, host, port):
        super().__init__(daemon=True)
        self.host, self.port, self.error = host, port, None
        self.start()

    def run(self):
        try:
            follow(Cluster(HOSTS, self.host), port=self.port, patience=10)
        except StoppedError as error:
            self.error = error

    def learnt(self):
        self.join(20)
        assert not self.is_alive()
        return self.error


def test_the_others_wait_until_the_leader_is_through(port):
    """Requirement 6; one of them comes early and one late."""
    early = Follower("algo-2", port)
    with leading(Cluster(HOSTS, HOSTS[0]), port=port, patience=10):
        early.join(0.5)
        assert early.is_alive()
        late = Follower("algo-3", port)
    assert (early.learnt(), late.learnt()) == (None, None)


def test_the_others_fail_with_a_leader_that_failed(port):
    """Requirement 6: else a job whose model was never written would count as completed."""
    followers = []

    def work():
        with leading(Cluster(HOSTS, HOSTS[0]), port=port, patience=10):
            followers.extend(Follower(host, port) for host in HOSTS[1:])
            for one in followers:
                one.join(0.5)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert all("did not finish; its log says why" in str(one.learnt()) for one in followers)


def test_a_leader_that_does_not_answer_is_given_up(port):
    with pytest.raises(StoppedError, match=rf"does not answer on port {port}; open it"):
        follow(Cluster(HOSTS, "algo-2"), port=port, patience=0)


def test_a_host_alone_opens_no_port(port):
    with leading(Cluster(("algo-1",), "algo-1"), port=port), socket.create_server(("127.0.0.1", port)):
        pass


def test_a_word_that_was_cut_off_is_a_failure(port):
    with socket.create_server(("127.0.0.1", port)) as server:
        follower = Follower("algo-2", port)
        caller, _ = server.accept()
        caller.sendall(b"do")
        caller.close()
        assert "did not finish" in str(follower.learnt())
