"""Errors cross the wire as themselves, and nothing else crosses: no values, no traces, no surprises."""

import json
import time

import grpc
import pytest

from trustspace.errors import (
    BY_CODE,
    CATALOGUE,
    BudgetExhausted,
    Code,
    InvalidInput,
    PermissionDenied,
    TrustspaceError,
    Unavailable,
)  # fmt: skip
from trustspace.transport.channel import serve
from trustspace.transport.errors import call, to_error
from trustspace.transport.tls import new_key, self_signed


class Refused(grpc.RpcError):
    """What a stub raises, with whatever the far side put beside the status."""

    def __init__(self, metadata=(), status=grpc.StatusCode.UNKNOWN):
        super().__init__()
        self._metadata, self._status = metadata, status

    def trailing_metadata(self):
        return self._metadata

    def code(self):
        return self._status


def told(content) -> TrustspaceError:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return to_error(Refused((("trustspace-error-bin", data),), grpc.StatusCode.INTERNAL))


HONEST = {
    "code": "invalid-input",
    "message": "Column {column} is missing.",
    "fix": "Add {column}.",
    "details": {"column": "age"},
}


@pytest.mark.parametrize("code", list(Code))
def test_every_error_arrives_as_itself(code):
    error = told({**HONEST, "code": code.value})
    assert type(error) is BY_CODE[code]
    assert str(error) == "Column age is missing. Add age."
    assert (error.message, error.fix, error.details) == (HONEST["message"], HONEST["fix"], HONEST["details"])


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"\xff", {}, {**HONEST, "code": "no-such-code"}, {**HONEST, "code": 7},
        {k: v for k, v in HONEST.items() if k != "details"}, {**HONEST, "details": []}, {**HONEST, "details": None},
        {**HONEST, "details": {"column": ["a"]}}, {**HONEST, "details": {}}, {**HONEST, "message": "{"},
        {**HONEST, "message": "{0}"}, {**HONEST, "message": "{column.__class__}"}, {**HONEST, "message": "{column[0]}"},
        {**HONEST, "message": "{column!r}"}, {**HONEST, "message": "{column:>999999999}"}, {**HONEST, "message": 5},
        {**HONEST, "details": {"message": "x", "column": "y"}}, {**HONEST, "details": {"self": "x", "column": "y"}},
        {**HONEST, "fix": "{nothing}"},
    ],
    ids=lambda content: str(content)[:60],
)  # fmt: skip
def test_an_error_that_makes_no_sense_is_still_one_error(content):
    """A far side that lies can refuse service; it cannot crash a client, read its memory or fill it."""
    error = told(content)
    assert isinstance(error, TrustspaceError)
    assert len(str(error)) < 1000
    assert "class" not in str(error)


@pytest.mark.parametrize("text", ["\x1b[2Jgone", "two\nlines", "\u202eturned"])
def test_an_error_paints_nothing_on_a_terminal(text):
    error = told({**HONEST, "message": text + " {column}", "details": {"column": text}})
    assert not any(c in str(error) for c in "\x1b\n\u202e")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, Unavailable), (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.CANCELLED, Unavailable), (grpc.StatusCode.RESOURCE_EXHAUSTED, BudgetExhausted),
        (grpc.StatusCode.UNIMPLEMENTED, TrustspaceError),
    ],
)  # fmt: skip
def test_a_status_alone_is_told_plainly(status, kind):
    assert type(to_error(Refused((), status))) is kind


@pytest.fixture(scope="module")
def server():
    """A server whose one method does what the request says."""
    import datetime

    behaviours = {
        b"known": lambda: (_ for _ in ()).throw(PermissionDenied("Not {who}.", who="you")),
        b"unknown": lambda: {}["the value of Patient Zhang San"],
        b"fine": lambda: b"answer",
    }

    def once(request, _):
        return behaviours[request]()

    def many(request, _):
        yield b"first"
        yield behaviours[request]()

    def first_of(stream, _):
        return behaviours[next(stream)]()

    def each(stream, _):
        for request in stream:
            yield behaviours[request]()

    handlers = {
        "once": grpc.unary_unary_rpc_method_handler(once),
        "many": grpc.unary_stream_rpc_method_handler(many),
        "first": grpc.stream_unary_rpc_method_handler(first_of),
        "each": grpc.stream_stream_rpc_method_handler(each),
    }
    key = new_key()
    certificate = self_signed("test", key, datetime.datetime.now(datetime.UTC), ("localhost",))
    from trustspace.transport.channel import Identity, connect

    started, address = serve(
        "127.0.0.1:0", Identity(key, certificate), None,
        lambda s: s.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),)),
        services=("test.Test",), threads=4,
    )  # fmt: skip
    with connect(address, certificate, None, "localhost") as channel:
        yield channel
    started.stop(0)


def ask(channel, method, request):
    path = f"/test.Test/{method}"
    if method == "once":
        return call(channel.unary_unary(path), request, timeout=10)
    if method == "first":
        return call(channel.stream_unary(path), iter([request]), timeout=10)
    stub = channel.unary_stream(path) if method == "many" else channel.stream_stream(path)
    return call(lambda: list(stub(request if method == "many" else iter([request]), timeout=10)))


@pytest.mark.parametrize("method", ["once", "many", "first", "each"])
def test_whatever_a_servicer_raises_is_mapped_in_one_place(server, method, caplog):
    assert ask(server, method, b"fine")
    with pytest.raises(PermissionDenied, match="Not you"):
        ask(server, method, b"known")
    with pytest.raises(TrustspaceError) as caught:
        ask(server, method, b"unknown")
    assert caught.value.code is Code.INTERNAL
    assert "Zhang" not in str(caught.value)
    # The number leads whoever runs the server to the whole story in its own log.
    number = caught.value.details["incident"]
    give_up = time.monotonic() + 10
    while number not in caplog.text and time.monotonic() < give_up:
        time.sleep(0.01)
    assert number in caplog.text


def test_a_message_beyond_the_bound_is_refused(server):
    with pytest.raises(BudgetExhausted, match="4194304"):
        ask(server, "once", b"x" * (5 << 20))


def test_every_code_has_a_status_and_an_exit_code_of_its_own():
    assert set(CATALOGUE) == set(Code) == set(BY_CODE)
    exits = [meaning.exit_code for meaning in CATALOGUE.values()]
    assert len(set(exits)) == len(exits)
    assert 0 not in exits
    for meaning in CATALOGUE.values():
        assert hasattr(grpc.StatusCode, meaning.grpc_status)


def test_an_address_that_cannot_be_bound_is_said():
    import datetime

    from trustspace.transport.channel import Identity

    key = new_key()
    identity = Identity(key, self_signed("test", key, datetime.datetime.now(datetime.UTC)))
    for wrong in ("nowhere", "host:", ":80", "host:http"):
        with pytest.raises(InvalidInput, match="host:port"):
            serve(wrong, identity, None, lambda _: None, services=())
    with pytest.raises(Unavailable, match="bound"):
        serve("192.0.2.1:1", identity, None, lambda _: None, services=())
