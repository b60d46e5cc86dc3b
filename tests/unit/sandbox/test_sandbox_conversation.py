"""The enclave's side of a session against workers of every sort, and what a channel's memory can be."""

import contextlib
import fcntl
import json
import mmap
import os
import socket
import threading
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustspace.errors import InvalidInput, InvalidTransition, Unavailable
from trustspace.sandbox import cgroup, memory, protocol
from trustspace.sandbox.config import MIB, Limits
from trustspace.sandbox.conversation import Conversation, ConversationEnded
from trustspace.sandbox.inside import Talk
from trustspace.sandbox.task import Result

PATIENCE = 30.0


def ended(status="finished", reason=""):
    return Result(status, reason, None, b"", 0, 1, 1, 0)


class Ending:
    """A task whose end the test decides."""

    number = 7

    def __init__(self):
        self.future = Future()
        self.cancelled = 0

    def result(self, timeout_seconds=None):
        return self.future.result(timeout_seconds)

    def cancel(self):
        self.cancelled += 1
        if not self.future.done():
            self.future.set_result(ended("killed", "cancelled"))


@pytest.fixture
def sides():
    """A conversation, its task, and the worker's end of the socket."""
    ours, theirs = protocol.pair()
    ending = Ending()
    with theirs:
        theirs.settimeout(PATIENCE)
        yield Conversation(ending, ours), ending, theirs
    ours.close()


def worker(work, *arguments):
    thread = threading.Thread(target=work, args=arguments)
    thread.start()
    return thread


# -- messages


@given(
    st.dictionaries(st.text(), st.integers() | st.text() | st.none() | st.floats(allow_nan=False, allow_infinity=False))
)  # fmt: skip
def test_what_is_sent_plainly_arrives(message):
    left, right = protocol.pair()
    with left, right:
        protocol.send_plain(left, message)
        assert protocol.receive_plain(right) == message


@given(st.binary(min_size=1, max_size=200) | st.text(alphabet='{}[]":,0aeN-\\u', min_size=1).map(str.encode))
def test_whatever_arrives_is_a_message_or_refused(data):
    left, right = protocol.pair()
    with left, right:
        left.send(data)
        try:
            said = protocol.receive_plain(right)
        except ValueError:
            return
        assert isinstance(said, dict)
        assert said == json.loads(data)


@pytest.mark.parametrize(
    "data",
    [b"{", b"[]", b"null", b"1", b"\xff", b'{"a":NaN}', b'{"a":-Infinity}', b'{"a":1}x', b"[" * 60_000,
     b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b'{"a":' + b"9" * 5_000 + b"}", b'{"a":"' + b"x" * 70_000 + b'"}'],
)  # fmt: skip
def test_what_is_no_message_is_refused(data):
    left, right = protocol.pair()
    with left, right:
        left.send(data)
        with pytest.raises(ValueError):
            protocol.receive_plain(right)


def test_the_longest_message_is_64_kib():
    left, right = protocol.pair()
    with left, right:
        longest = {"a": "x" * (protocol.MESSAGE_BYTES - len('{"a":""}'))}
        protocol.send_plain(left, longest)
        assert protocol.receive_plain(right) == longest
        with pytest.raises(ValueError, match="too long"):
            protocol.send_plain(left, {"a": longest["a"] + "x"})
        with pytest.raises(ValueError):
            protocol.send_plain(left, {"a": float("nan")})


def test_a_descriptor_that_comes_along_is_closed_by_the_kernel():
    left, right = protocol.pair()
    read, write = os.pipe()
    with left, right:
        socket.send_fds(left, [b"{}"], [write])
        os.close(write)
        before = os.listdir("/proc/self/fd")
        assert protocol.receive_plain(right) == {}
        assert os.listdir("/proc/self/fd") == before
        # The last writer is gone.
        assert os.read(read, 1) == b""
    os.close(read)


# -- the channel


def test_a_channel_s_memory_keeps_its_size_and_takes_no_seal():
    descriptor = memory.fixed("down", 4096)
    memory.check_fixed(descriptor, "down")
    for attempt in (
        lambda: os.ftruncate(descriptor, 0),
        lambda: os.ftruncate(descriptor, 8192),
        lambda: os.pwrite(descriptor, b"x", 4096),
        lambda: fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE),
    ):
        with pytest.raises(PermissionError):
            attempt()
    os.pwrite(descriptor, b"content", 0)
    with mmap.mmap(descriptor, 4096) as page:
        assert page[:7] == b"content"
    os.close(descriptor)


@pytest.mark.parametrize("seals", [0, fcntl.F_SEAL_GROW, fcntl.F_SEAL_SHRINK, memory.SEALED,
                                   memory.FIXED | memory.F_SEAL_FUTURE_WRITE])  # fmt: skip
def test_other_memory_is_no_channel(seals):
    descriptor = memory.create("other", 4096)
    if seals:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    with pytest.raises(InvalidInput, match="up"):
        memory.check_fixed(descriptor, "up")
    os.close(descriptor)


def test_a_pipe_is_no_channel():
    read, write = os.pipe()
    for descriptor in (read, write, 9999):
        with pytest.raises(InvalidInput):
            memory.check_fixed(descriptor, "down")
    os.close(read)
    os.close(write)


def test_shared_memory_comes_on_top_of_a_group_s_limit(tmp_path):
    base = cgroup.Base(1, str(tmp_path / "m"), str(tmp_path / "p"))
    for folder in base.folders:
        folder.mkdir()
    cgroup.Group(base, "task-1").limit(Limits(memory_bytes=100 * MIB), 28 * MIB)
    for name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"):
        assert (tmp_path / "m" / "task-1" / name).read_text() == str(128 * MIB)


# -- the conversation


def test_a_question_and_its_reply(sides):
    conversation, _, theirs = sides
    heard = []

    def work():
        talk = Talk(theirs, memoryview(b""), memoryview(b""))
        while (message := talk.receive()) is not None:
            heard.append(message)
            talk.reply({"to": message["n"]})

    thread = worker(work)
    assert [conversation.ask({"n": n}, PATIENCE) for n in range(3)] == [{"to": n} for n in range(3)]
    assert conversation.number == 7
    conversation._running.future.set_result(ended())
    assert conversation.close().status == "finished"
    thread.join()
    assert heard == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_a_worker_that_ends_is_told_with_its_result(sides):
    conversation, ending, theirs = sides
    theirs.close()
    ending.future.set_result(ended("failed", "exit-status"))
    with pytest.raises(ConversationEnded) as caught:
        conversation.ask({}, PATIENCE)
    assert caught.value.result is ending.result()
    assert isinstance(caught.value, InvalidTransition)
    assert str(caught.value) == "The program in the sandbox ended before it answered."
    assert conversation.close() is ending.result()
    assert ending.cancelled == 0


def test_a_worker_that_ends_with_the_question_unread(sides):
    conversation, ending, theirs = sides
    thread = worker(lambda: (theirs.recv(0, socket.MSG_PEEK), theirs.close()))
    ending.future.set_result(ended("killed", "memory"))
    with pytest.raises(ConversationEnded) as caught:
        conversation.ask({}, PATIENCE)
    thread.join()
    assert caught.value.result.reason == "memory"


def test_a_result_that_arrives_after_the_socket_s_end(sides):
    conversation, ending, theirs = sides
    theirs.close()
    timer = threading.Timer(0.1, ending.future.set_result, (ended(),))
    timer.start()
    with pytest.raises(ConversationEnded):
        conversation.ask({}, 0.001)
    timer.join()


def test_without_a_launcher_there_is_no_result(sides):
    conversation, ending, theirs = sides
    theirs.close()
    ending.future.set_exception(Unavailable("The sandbox launcher is gone."))
    with pytest.raises(Unavailable):
        conversation.ask({}, PATIENCE)
    with pytest.raises(Unavailable):
        conversation.close()


def test_a_late_reply_is_no_answer_to_the_next_question(sides):
    conversation, ending, theirs = sides
    with pytest.raises(TimeoutError):
        conversation.ask({"n": 1}, 0.01)
    protocol.send_plain(theirs, {"to": 1})
    with pytest.raises(TimeoutError, match="earlier"):
        conversation.ask({"n": 2}, PATIENCE)
    assert protocol.receive_plain(theirs) == {"n": 1}
    assert ending.cancelled == 0, "that is the caller's to decide"


def test_a_worker_that_does_not_read_is_one_that_does_not_answer(sides):
    conversation, _, _ = sides
    conversation._sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            conversation._sock.send(b"x" * 50_000)
    with pytest.raises(TimeoutError):
        conversation.ask({"a": "x" * 60_000}, 0.01)


@pytest.mark.parametrize("data", [b"{}", b"x", b"x" * 70_000])
def test_a_message_that_nobody_asked_for_ends_the_session(sides, data):
    conversation, ending, theirs = sides
    theirs.send(data)
    with pytest.raises(ConversationEnded) as caught:
        conversation.ask({}, PATIENCE)
    assert (caught.value.result.status, caught.value.result.reason) == ("failed", "bad-reply")
    assert ending.cancelled == 1
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(1)


def test_a_bad_reply_hands_out_nothing_however_the_session_ended(sides):
    conversation, ending, theirs = sides
    result = ended()
    result.output = memory.sealed("output", b"something")
    ending.future.set_result(result)
    thread = worker(lambda: (theirs.recv(100), theirs.send(b"no")))
    with pytest.raises(ConversationEnded) as caught:
        conversation.ask({}, PATIENCE)
    thread.join()
    assert (caught.value.result.reason, caught.value.result.output) == ("bad-reply", None)


def test_one_question_at_a_time(sides):
    conversation, _, theirs = sides
    replies = []
    first = worker(lambda: replies.append(conversation.ask({"n": 1}, PATIENCE)))
    assert protocol.receive_plain(theirs) == {"n": 1}
    with pytest.raises(TimeoutError, match="another"):
        conversation.ask({"n": 2}, 0.01)
    protocol.send_plain(theirs, {"to": 1})
    first.join()
    assert replies == [{"to": 1}]
    third = worker(lambda: replies.append(conversation.ask({"n": 3}, PATIENCE)))
    assert protocol.receive_plain(theirs) == {"n": 3}, "the one that waited in vain was not sent"
    protocol.send_plain(theirs, {"to": 3})
    third.join()


def test_closing_kills_who_does_not_end(sides):
    conversation, ending, theirs = sides
    assert conversation.close(0.01).reason == "cancelled"
    assert ending.cancelled == 1
    assert protocol.receive_plain(theirs) is None
    assert conversation.close(0.01).reason == "cancelled"
    assert ending.cancelled == 1


def test_an_exception_cancels(sides):
    conversation, ending, _ = sides
    with pytest.raises(ZeroDivisionError), conversation:
        raise ZeroDivisionError
    assert ending.cancelled == 1
    with pytest.raises(ConversationEnded):
        conversation.ask({}, PATIENCE)
