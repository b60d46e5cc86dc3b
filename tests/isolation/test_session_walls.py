"""The walls of a session: what a worker that talks with the enclave still cannot do to it."""

import contextlib
import ctypes
import json
import os
import socket
import subprocess

import pytest
from test_sessions import PATIENCE, talking

from trustspace.sandbox import memory, protocol
from trustspace.sandbox.config import DEDICATED_USER
from trustspace.sandbox.identity import sandbox_identity
from trustspace.sandbox.runtime import ensure_app, find_runtime

pytestmark = pytest.mark.isolation


@contextlib.contextmanager
def bare(sandbox, name, content=b"", forgotten=()):
    """The positive control: the same session as the same user, unsandboxed, the channel open for writing.

    Yields our end of its socket.
    """
    runtime = find_runtime()
    app = ensure_app(runtime, None)
    code = (
        "import sys, socket; sys.path += sys.argv[1:4]; import sessions\n"
        "from trustspace.sandbox.inside import Talk, _map\n"
        "talk = Talk(socket.socket(fileno=int(sys.argv[5])),\n"
        "            _map(int(sys.argv[6]), writable=True), _map(int(sys.argv[7]), writable=True))\n"
        "getattr(sessions, sys.argv[4])({}, lambda *_: None, talk)"
    )
    ours, theirs = protocol.pair()
    down, up = memory.create("down", 4096), memory.create("up", 4096)
    os.pwrite(down, content, 0)
    numbers = (theirs.fileno(), down, up)
    process = subprocess.Popen(
        [runtime.python, "-S", "-s", "-P", "-B", "-c", code, app, runtime.path / "site-packages", sandbox.programs,
         name, *map(str, numbers)],
        env={}, cwd="/", stdin=subprocess.DEVNULL, pass_fds=(*numbers, *forgotten),
        **sandbox_identity(DEDICATED_USER).drop(),
    )  # fmt: skip
    theirs.close()
    try:
        ours.settimeout(PATIENCE)
        yield ours
    finally:
        ours.close()
        os.close(down)
        os.close(up)
        process.kill()
        process.wait()


def ask_bare(sock, message):
    protocol.send_plain(sock, message)
    return protocol.receive_plain(sock)


def test_what_the_enclave_wrote_cannot_be_changed(sandbox):
    with bare(sandbox, "write_down", content=b"original") as sock:
        outside = ask_bare(sock, {})
    assert set(outside.values()) == {"worked"}
    with talking(sandbox, "write_down", content=b"original") as (conversation, made):
        inside = conversation.ask({}, PATIENCE)
        assert inside.keys() == outside.keys()
        assert "worked" not in inside.values(), inside
        assert os.pread(made.down, 9, 0) == b"original\0"


def test_what_the_session_writes_to_stays_as_long_as_it_is(sandbox):
    with bare(sandbox, "resize_up") as sock:
        outside = ask_bare(sock, {})
    assert {name for name, said in outside.items() if said == "worked"} >= {"grow", "write after", "shrink"}
    with talking(sandbox, "resize_up") as (conversation, made):
        inside = conversation.ask({}, PATIENCE)
        assert inside.pop("size") == os.fstat(made.up).st_size == 4096
        assert set(inside.values()) == {"EPERM"}, inside
        # We can still use it as before.
        os.pwrite(made.up, b"ours", 0)


def test_no_descriptor_comes_from_a_session(sandbox):
    def files():
        return sorted(os.listdir("/proc/self/fd"))

    with bare(sandbox, "pass_descriptor") as sock:
        protocol.send_plain(sock, {})
        data, rights, _, _ = socket.recv_fds(sock, 1000, 10)
        assert json.loads(data) == {"smuggled": True}
        assert os.read(rights[0], 100) == b"smuggled", "the control hands one over"
        os.close(rights[0])
        # And a conversation would not take it, if one could be sent.
        before = files()
        assert ask_bare(sock, {}) == {"smuggled": True}
        assert files() == before
    with talking(sandbox, "pass_descriptor") as (conversation, _):
        assert conversation.ask({}, PATIENCE) == {"sendmsg": "EPERM", "sendmmsg": "EPERM"}


def test_a_session_holds_its_channel_and_nothing_else(sandbox):
    """The orders' socket is closed; what the enclave forgot to close on exec has not come along."""
    word = b"another patient's name"
    forgotten = memory.fixed("forgotten", 4096)
    os.pwrite(forgotten, word, 0)
    os.set_inheritable(forgotten, True)
    message = {"reversed": word[::-1].decode()}
    try:
        with bare(sandbox, "descriptors", forgotten=(forgotten,)) as sock:
            assert ask_bare(sock, message)["found"] == 1
        with talking(sandbox, "descriptors") as (conversation, _):
            inside = conversation.ask(message, PATIENCE)
    finally:
        os.close(forgotten)
    # Input device, log twice, output, both mappings, and the conversation.
    assert inside == {"kinds": ["device", "file", "file", "file", "pipe", "pipe", "socket"], "found": 0}


def test_the_enclave_s_other_memory_is_out_of_reach(sandbox):
    """A process of the same user can be read outside, by its number; inside neither that one nor the enclave."""
    code = (
        "import ctypes, sys, time\n"
        "ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)\n"
        "held = ctypes.create_string_buffer(b'patient')\n"
        "print(ctypes.addressof(held), flush=True)\n"
        "time.sleep(60)\n"
    )
    victim = subprocess.Popen(
        [find_runtime().python, "-I", "-S", "-c", code], env={}, cwd="/", stdout=subprocess.PIPE,
        **sandbox_identity(DEDICATED_USER).drop(),
    )  # fmt: skip
    ours = ctypes.create_string_buffer(b"patient")
    try:
        there = {"pid": victim.pid, "address": int(victim.stdout.readline()), "size": 7}
        here = {"pid": os.getpid(), "address": ctypes.addressof(ours), "size": 7}
        with bare(sandbox, "read_process") as sock:
            assert set(ask_bare(sock, there).values()) == {"worked"}
        with talking(sandbox, "read_process") as (conversation, _):
            for target in (there, here):
                inside = conversation.ask(target, PATIENCE)
                assert inside["process_vm_readv"] == "EPERM"
                assert inside["/proc"] in ("ENOENT", "EACCES")
    finally:
        victim.kill()
        victim.communicate()
