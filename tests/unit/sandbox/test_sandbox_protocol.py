"""Messages and memory: descriptors arrive whole or are closed, sealed memory stays as it is."""

import fcntl
import mmap
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustspace.errors import InvalidInput
from trustspace.sandbox import memory, protocol


@pytest.fixture
def sockets():
    left, right = protocol.pair()
    with left, right:
        yield left, right


@given(
    st.dictionaries(st.text(), st.integers() | st.text() | st.none() | st.lists(st.booleans()), max_size=8)
)
def test_what_is_sent_arrives(message):
    left, right = protocol.pair()
    with left, right:
        protocol.send(left, message)
        assert protocol.receive(right) == (message, [])


def test_descriptors_arrive_and_are_closed_on_exec(sockets):
    left, right = sockets
    descriptor = memory.sealed("x", b"content")
    protocol.send(left, {"op": "run"}, [descriptor, descriptor])
    os.close(descriptor)
    message, received = protocol.receive(right)
    assert message == {"op": "run"}
    assert [memory.read(each, 100) for each in received] == [b"content"] * 2
    for each in received:
        assert not os.get_inheritable(each)
        os.close(each)


def test_the_end_is_none(sockets):
    left, right = sockets
    left.close()
    assert protocol.receive(right) is None


@pytest.mark.parametrize("data", [b"{", b"[]", b"1", b"\xff", b'{"a":1}x'])
def test_what_is_not_a_message_is_refused_and_its_descriptors_closed(sockets, data):
    left, right = sockets
    descriptor = memory.sealed("x", b"")
    before = len(os.listdir("/proc/self/fd"))
    socket.send_fds(left, [data], [descriptor])
    with pytest.raises(ValueError):
        protocol.receive(right)
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(descriptor)


def test_a_message_too_long_is_refused_by_both_sides(sockets):
    left, right = sockets
    with pytest.raises(ValueError, match="too long"):
        protocol.send(left, {"a": "x" * protocol.MESSAGE_BYTES})
    left.send(b'{"a":"' + b"x" * protocol.MESSAGE_BYTES + b'"}')
    with pytest.raises(ValueError, match="truncated"):
        protocol.receive(right)


def test_sealed_memory_cannot_be_changed():
    descriptor = memory.sealed("x", b"content")
    memory.check_sealed(descriptor, "x")
    for attempt in (
        lambda: os.pwrite(descriptor, b"X", 0),
        lambda: os.ftruncate(descriptor, 0),
        lambda: os.ftruncate(descriptor, 100),
        lambda: mmap.mmap(descriptor, 4),
    ):
        with pytest.raises(PermissionError):
            attempt()
    os.close(descriptor)


@pytest.mark.parametrize(
    "missing", [fcntl.F_SEAL_WRITE, fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW, fcntl.F_SEAL_SEAL]
)
def test_one_seal_missing_is_not_sealed(missing):
    descriptor = memory.create("x", 10)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, memory.SEALED & ~missing)
    with pytest.raises(InvalidInput, match="data"):
        memory.check_sealed(descriptor, "data")
    os.close(descriptor)


def test_a_pipe_is_not_sealed_memory():
    read, write = os.pipe()
    for descriptor in (read, write, 9999):
        with pytest.raises(InvalidInput):
            memory.check_sealed(descriptor, "data")
    os.close(read)
    os.close(write)


def test_an_output_can_shrink_and_not_grow():
    descriptor = memory.create("output", 100)
    memory.forbid_growth(descriptor)
    os.pwrite(descriptor, b"y" * 100, 0)
    for attempt in (lambda: os.ftruncate(descriptor, 101), lambda: os.pwrite(descriptor, b"z", 100)):
        with pytest.raises(PermissionError):
            attempt()
    os.ftruncate(descriptor, 10)
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 11)
    assert memory.read(descriptor, 1000) == b"y" * 10
    os.close(descriptor)


def test_memory_that_someone_maps_for_writing_cannot_be_sealed():
    descriptor = memory.create("output", 4096)
    page = mmap.mmap(descriptor, 4096)
    with pytest.raises(OSError, match="busy"):
        memory.seal(descriptor)
    page.close()
    memory.seal(descriptor)
    os.close(descriptor)


def test_a_second_description_has_its_own_offset_and_cannot_write():
    descriptor = memory.sealed("x", b"content")
    other = memory.reopen(descriptor)
    assert os.read(other, 3) == b"con"
    assert os.read(descriptor, 3) == b"con"
    assert fcntl.fcntl(other, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    os.close(other)
    os.close(descriptor)


def test_reading_stops_at_the_limit():
    descriptor = memory.sealed("x", b"0123456789")
    assert memory.read(descriptor, 4) == b"0123"
    os.close(descriptor)
