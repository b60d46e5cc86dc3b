"""The sessions of the launcher that stands in for the real one in other tests: the same meaning, no walls."""

import os
import threading

import pytest
from support.simulated import SimulatedLauncher

from trustspace.errors import InvalidInput
from trustspace.jobs import programs
from trustspace.jobs.container import unpack
from trustspace.sandbox import memory
from trustspace.sandbox.config import MIB, Limits
from trustspace.sandbox.launcher import Channel, ConversationEnded
from trustspace.sandbox.task import Task

PATIENCE = 30.0


def reverse(inputs, emit, talk):
    print("ready")
    while (message := talk.receive()) is not None:
        print("heard", message["n"])
        if message["n"] < 0:
            raise ValueError("negative")
        talk.up[:4] = bytes(talk.down[:4])[::-1]
        talk.reply({"data": len(inputs["parameters"])})
    emit("done.txt", "text/plain", b"done")


@pytest.fixture
def channel():
    made = Channel(memory.fixed("down", 4096), memory.fixed("up", 4096))
    yield made
    os.close(made.down)
    os.close(made.up)


@pytest.fixture
def simulated(monkeypatch):
    monkeypatch.setitem(programs.SESSIONS, "reverse", reverse)
    launcher = SimulatedLauncher()
    yield launcher
    launcher.close()


@pytest.fixture
def task():
    descriptor = memory.sealed("parameters", b"12345")
    yield Task("reverse", {"parameters": descriptor})
    os.close(descriptor)


def test_a_simulated_session_talks(simulated, task, channel, capsys):
    os.pwrite(channel.down, b"abcd", 0)
    heard = []
    simulated.heard = lambda program, message: heard.append((program, message["n"]))
    with simulated.open(task, channel) as conversation:
        assert conversation.ask({"n": 1}, PATIENCE) == {"data": 5}
        assert os.pread(channel.up, 4, 0) == b"dcba"
        assert conversation.ask({"n": 2}, PATIENCE) == {"data": 5}
        with conversation.close() as result:
            assert result.status == "finished"
            assert result.log == b"ready\nheard 1\nheard 2\n"
            assert unpack(result.read_output(MIB), max_bytes=MIB)[0].data == b"done"
    assert heard == [("reverse", 1), ("reverse", 2)]
    assert simulated.seen[0][0] == "reverse"
    print("still here")
    assert capsys.readouterr().out == "still here\n"


def test_simulated_sessions_keep_their_words_apart(simulated, task, channel):
    with simulated.open(task, channel) as one, simulated.open(task, channel) as other:
        one.ask({"n": 1}, PATIENCE)
        other.ask({"n": 2}, PATIENCE)
        one.ask({"n": 3}, PATIENCE)
        assert one.close().log == b"ready\nheard 1\nheard 3\n"
        assert other.close().log == b"ready\nheard 2\n"


def test_a_simulated_session_fails_ends_and_runs_out_of_time(simulated, task, channel):
    with simulated.open(task, channel) as conversation:
        with pytest.raises(ConversationEnded) as caught:
            conversation.ask({"n": -1}, PATIENCE)
        assert caught.value.result.status == "failed"
        assert b"ValueError: negative" in caught.value.result.log
    with simulated.open(task, channel) as conversation:
        conversation.ask({"n": 1}, PATIENCE)
        conversation.cancel()
        with pytest.raises(ConversationEnded) as caught:
            conversation.ask({"n": 1}, PATIENCE)
        assert (caught.value.result.status, caught.value.result.reason) == ("killed", "cancelled")
    short = Task(task.program, task.inputs, Limits(wall_seconds=1))
    stop = threading.Event()
    simulated.heard = lambda program, message: stop.wait(PATIENCE)
    with simulated.open(short, channel) as conversation:
        with pytest.raises(ConversationEnded) as caught:
            conversation.ask({"n": 1}, PATIENCE)
        stop.set()
        assert (caught.value.result.status, caught.value.result.reason) == ("timed_out", "wall-clock")


def test_an_unknown_simulated_session_fails(simulated, task, channel):
    with simulated.open(Task("train", task.inputs), channel) as conversation:
        with pytest.raises(ConversationEnded) as caught:
            conversation.ask({}, PATIENCE)
        assert caught.value.result.status == "failed"
    with pytest.raises(InvalidInput):
        simulated.open(task, Channel(channel.down, task.inputs["parameters"]))
