"""The server: this machine's own interface, bounded in time and number, and silent about what it was asked."""

import contextlib
import logging
import socket
import threading

import pytest
from support.enclaves import until

from trustspace.errors import Unavailable
from trustspace.web import server as desk_server
from trustspace.web.gate import HEADERS
from trustspace.web.server import DeskServer


@contextlib.contextmanager
def served(story, **options):
    server = DeskServer(story.hospital, "Dr Li", **options)
    stop = threading.Event()
    thread = threading.Thread(target=server.serve, args=(stop,), daemon=True)
    thread.start()
    try:
        yield server, thread
    finally:
        stop.set()
        thread.join(30)


def connect(server):
    host, _, port = server.desk.gate.host.partition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def exchange(server, request):
    with connect(server) as line:
        line.sendall(request)
        answer = b""
        while piece := line.recv(65536):
            answer += piece
    return answer.decode("latin-1")


def test_it_listens_on_the_loopback_interface_alone(story):
    with served(story) as (server, _):
        assert server._server.socket.getsockname()[0] == "127.0.0.1"
        assert server.address.startswith("http://127.0.0.1:")


def test_a_port_that_is_taken_is_said(story):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(Unavailable, match="cannot be used"):
            DeskServer(story.hospital, "Dr Li", port=other.getsockname()[1])


def test_pages_come_with_their_headers_and_so_does_nonsense(story):
    with served(story) as (server, _):
        host = server.desk.gate.host
        page = exchange(
            server, f"GET {server.desk.gate.root}/queue HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        )
        nonsense = exchange(server, b"\x16\x03\x01 nonsense\r\n\r\n")
        long = exchange(server, b"GET /" + b"a" * 65_600 + b" HTTP/1.1\r\n\r\n")
    assert page.startswith("HTTP/1.0 403")
    for answer in (page, nonsense, long):
        for name, value in HEADERS.items():
            assert f"{name}: {value}" in answer, answer[:400]
        assert "Python" not in answer
    assert nonsense.startswith("HTTP/1.0 400")
    assert long.startswith("HTTP/1.0 414")


def test_whoever_sends_too_slowly_is_hung_up_on(story, monkeypatch):
    """A byte now and then keeps no line: what counts is the whole request."""
    monkeypatch.setattr(desk_server, "READ_SECONDS", 0.2)
    with served(story) as (server, _), connect(server) as line:
        line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n")
        ended = threading.Event()

        def drip():
            with contextlib.suppress(OSError):
                while not ended.wait(0.02):
                    line.sendall(b"X-A: b\r\n")

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        with contextlib.suppress(ConnectionError):
            while line.recv(4096):
                pass
        ended.set()
        dripping.join(30)


def test_so_many_connections_and_no_more(story, monkeypatch):
    monkeypatch.setattr(desk_server, "MOST_CONNECTIONS", 2)
    with served(story) as (server, _):
        host = server.desk.gate.host
        request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        with connect(server), connect(server):
            until(lambda: server._server._places._value == 0)
            refused = b""
            with connect(server) as third, contextlib.suppress(ConnectionError):
                third.sendall(request)
                refused = third.recv(10)
            assert refused == b""
        until(lambda: server._server._places._value == 2)
        assert exchange(server, request).startswith("HTTP/1.0 404")


def test_it_ends_when_it_is_closed_or_nobody_uses_it(story):
    with served(story) as (server, thread):
        server.close()
        thread.join(30)
        assert not thread.is_alive()
        with pytest.raises(ConnectionRefusedError):
            connect(server)
    with served(story, idle_minutes=0.0001) as (_, thread):
        thread.join(30)
        assert not thread.is_alive()


def test_what_is_asked_is_not_logged(story, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    with served(story) as (server, _):
        path = server.address.partition(server.desk.gate.host)[2]
        answer = exchange(server, f"GET {path} HTTP/1.1\r\nHost: {server.desk.gate.host}\r\n\r\n".encode())
    token = path.partition("?token=")[2]
    assert answer.startswith("HTTP/1.0 200")
    said = caplog.text + "".join(capfd.readouterr())
    assert token not in said
    assert token not in answer
