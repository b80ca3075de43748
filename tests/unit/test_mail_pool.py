"""Connections that are kept: used again, checked before, and never a message twice."""

import dataclasses
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from smtpkit import HOST, Server

from orchestrator.errors import Upstream
from orchestrator.mail import submission
from orchestrator.mail.pool import IDLE_OF_HOST, IDLE_OF_MAILBOX, Dialogue, Pool
from orchestrator.mail.submission import SmtpClient, submit
from orchestrator.mail.types import MailboxAccess, Prepared

MESSAGE = Prepared("<1@acme.com>", ("lena@acme.com",), b"Subject: x\r\n\r\ny\r\n")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server.running(tmp_path) as running:
        yield running


@pytest.fixture
def pool() -> Iterator[Pool[SmtpClient]]:
    made = submission.connections()
    yield made
    made.close()


def test_one_connection_serves_many_messages(server: Server, pool: Pool[SmtpClient]) -> None:
    for _ in range(5):
        submit(pool, server.access, MESSAGE)
    assert len(server.handler.contents) == 5
    assert len(server.handler.servers) == 1


def test_a_refusal_does_not_cost_the_connection(server: Server, pool: Pool[SmtpClient]) -> None:
    nobody = dataclasses.replace(MESSAGE, recipients=("full@acme.com", "none@acme.com"))
    with pytest.raises(Upstream, match=r"full@acme.com: 552 .*; none@acme.com: 552 ") as caught:
        submit(pool, server.access, nobody)
    assert caught.value.permanent
    server.handler.answer = "451 4.3.0 later"
    with pytest.raises(Upstream, match="later") as caught:
        submit(pool, server.access, MESSAGE)
    assert not caught.value.permanent
    server.handler.answer = "250 ok"
    submit(pool, server.access, MESSAGE)
    assert len(server.handler.servers) == 1


def test_a_server_that_hung_up_meanwhile(server: Server, pool: Pool[SmtpClient]) -> None:
    submit(pool, server.access, MESSAGE)
    server.handler.hang_up()
    submit(pool, server.access, MESSAGE)
    assert len(server.handler.contents) == 2
    assert len(server.handler.servers) == 2


def test_a_message_whose_content_was_sent_is_not_sent_again(
    server: Server, pool: Pool[SmtpClient]
) -> None:
    submit(pool, server.access, MESSAGE)
    server.handler.answer = None
    with pytest.raises(Upstream):
        submit(pool, server.access, MESSAGE)
    assert len(server.handler.contents) == 2
    assert len(server.handler.servers) == 1


def test_a_kept_connection_that_breaks_before_the_content_is_replaced(server: Server) -> None:
    def dying(client: SmtpClient) -> bool:
        # As of a server that answers the check and goes before the next command.
        client.close()
        return True

    dialogue = Dialogue(
        submission._open,
        dying,
        submission._close,
        (OSError,),
        lambda client: not client.data_begun,
    )
    pool = Pool(dialogue)
    submit(pool, server.access, MESSAGE)
    submit(pool, server.access, MESSAGE)
    assert len(server.handler.contents) == len(server.handler.servers) == 2
    pool.close()


def test_another_password_never_gets_a_kept_connection(
    server: Server, pool: Pool[SmtpClient]
) -> None:
    submit(pool, server.access, MESSAGE)
    with pytest.raises(Upstream, match="535"):
        submit(pool, dataclasses.replace(server.access, password="wrong"), MESSAGE)
    with pytest.raises(Upstream, match="Hostname mismatch"):
        submit(pool, dataclasses.replace(server.access, host="mx2.fleetlab.net"), MESSAGE)
    assert len(server.handler.contents) == 1


def test_threads_never_share_a_connection(server: Server, pool: Pool[SmtpClient]) -> None:
    with ThreadPoolExecutor(4) as threads:
        sent = [threads.submit(submit, pool, server.access, MESSAGE) for _ in range(40)]
        assert all(one.result().accepted == ("lena@acme.com",) for one in sent)
    assert len(server.handler.contents) == 40
    assert len(server.handler.servers) < 40


class Line:
    """A connection that only tells whether it is open."""

    def __init__(self, access: MailboxAccess) -> None:
        self.access = access
        self.closed = threading.Event()


def lines(idle_seconds: float) -> tuple[Pool[Line], list[Line]]:
    opened: list[Line] = []

    def open_(access: MailboxAccess) -> Line:
        opened.append(Line(access))
        return opened[-1]

    alive: Callable[[Line], bool] = lambda line: not line.closed.is_set()  # noqa: E731
    dialogue = Dialogue(open_, alive, lambda line: line.closed.set(), (OSError,), lambda _: True)
    return Pool(dialogue, idle_seconds=idle_seconds), opened


def access(name: str = "alice") -> MailboxAccess:
    return MailboxAccess(f"{name}@acme.com", "x", HOST, "127.0.0.1", Path("ca.pem"))


def test_idle_connections_are_closed_in_time() -> None:
    pool, opened = lines(0.05)
    for name in ("alice", "bob"):
        pool.run(access(name), lambda _: None)
    assert all(line.closed.wait(10) for line in opened)
    pool.run(access(), lambda _: None)
    assert len(opened) == 3
    pool.close()
    assert opened[2].closed.is_set()


def test_no_more_are_kept_than_a_server_allows() -> None:
    pool, opened = lines(600)

    def nested(name: str, depth: int) -> None:
        pool.run(access(name), lambda _: nested(name, depth - 1) if depth else None)

    nested("alice", 5)
    assert sum(not line.closed.is_set() for line in opened) == IDLE_OF_MAILBOX
    for number in range(IDLE_OF_HOST + 5):
        nested(f"user{number}", 0)
    assert sum(not line.closed.is_set() for line in opened) == IDLE_OF_HOST
    pool.close()
    assert all(line.closed.is_set() for line in opened)


def test_what_is_given_back_after_the_end_is_closed() -> None:
    pool, opened = lines(600)
    pool.run(access(), lambda _: pool.close())
    assert opened[0].closed.is_set()
