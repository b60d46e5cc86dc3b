"""Sessions: a conversation with a worker that stays, and the walls that hold all the while."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from test_lifecycle import alive, descendants, wait_until

from trustspace.errors import InvalidInput, Unavailable
from trustspace.jobs.container import unpack
from trustspace.sandbox import memory, protocol
from trustspace.sandbox.config import MIB, Limits, SandboxConfig
from trustspace.sandbox.launcher import Channel, ConversationEnded, Launcher, Task

pytestmark = pytest.mark.isolation
LIMITS = Limits(wall_seconds=60, cpu_seconds=60, memory_bytes=256 * MIB, output_bytes=1 * MIB, processes=32)
# Long enough for a loaded host; nothing here waits for as long.
PATIENCE = 30.0


@contextlib.contextmanager
def channel(content=b"", size=4096, up_size=4096):
    down, up = memory.fixed("down", size), memory.fixed("up", up_size)
    try:
        os.pwrite(down, content, 0)
        yield Channel(down, up)
    finally:
        os.close(down)
        os.close(up)


@contextlib.contextmanager
def talking(sandbox, name, limits=LIMITS, **memory_options):
    """A session in a sandbox, and the channel's memory."""
    with (
        channel(**memory_options) as made,
        sandbox.launcher.open(Task(f"sessions:{name}", {}, limits), made) as conversation,
    ):
        yield conversation, made


def ask_until_it_ends(conversation, message):
    """How often it answered, and how it ended."""
    for asked in range(10_000):
        try:
            conversation.ask(message, PATIENCE)
        except ConversationEnded as ended:
            return asked, ended.result
        # Time to say too much: one that is woken for each question alone would look as if it answered.
        time.sleep(0.01)
    raise AssertionError("it did not end")


# -- talking


def test_messages_and_memory_go_both_ways(sandbox):
    with talking(sandbox, "echo", content=b"first") as (conversation, made):
        assert conversation.ask({"bytes": 5}, PATIENCE) == {"bytes": 5, "count": 1}
        assert os.pread(made.up, 5, 0) == b"tsrif"
        os.pwrite(made.down, b"again", 0)
        assert conversation.ask({"bytes": 5, "名": "值"}, PATIENCE) == {"bytes": 5, "名": "值", "count": 2}
        assert os.pread(made.up, 5, 0) == b"niaga"
        with conversation.close() as result:
            assert (result.status, result.reason) == ("finished", "")
            (artifact,) = unpack(result.read_output(1 * MIB), max_bytes=1 * MIB)
            assert artifact.data == b"2"
            assert result.log.splitlines()[0] == b"heard {'bytes': 5}"
        assert conversation.close() is result, "closing again changes nothing"
        with pytest.raises(ConversationEnded) as ended:
            conversation.ask({}, PATIENCE)
        assert ended.value.result is result
    assert descendants(sandbox.launcher.pid) == set()


def test_many_questions_in_one_session(sandbox):
    with talking(sandbox, "echo") as (conversation, _):
        for number in range(1, 501):
            assert conversation.ask({}, PATIENCE) == {"count": number}
        conversation.close().close()


def test_a_session_has_its_inputs_as_a_task_does(sandbox):
    data = memory.sealed("data", b"sealed rows")
    with channel() as made:
        with sandbox.launcher.open(Task("sessions:with_input", {"data": data}, LIMITS), made) as conversation:
            os.close(data)
            assert conversation.ask({}, PATIENCE) == {"data": "sealed rows"}
        with pytest.raises(InvalidInput, match="data"):
            sandbox.launcher.open(Task("sessions:with_input", {"data": made.up}, LIMITS), made)


@pytest.mark.parametrize("cgroups", [True, False])
def test_libraries_work_on_the_channel(own_sandbox, cgroups):
    """Also under the limits of each process, whose filter knows fewer kinds of shared memory."""
    import numpy as np

    limits = Limits(wall_seconds=120, output_bytes=1 * MIB)
    values = np.arange(100_000, dtype=np.float32)
    sandbox = own_sandbox(cgroups=cgroups)
    with talking(sandbox, "libraries", limits, content=values.tobytes(), size=400_000, up_size=400_000) as (
        conversation,
        made,
    ):
        for factor in (2, 3):
            assert conversation.ask({"factor": factor}, 100) == {}
            assert np.array_equal(np.frombuffer(os.pread(made.up, 400_000, 0), np.float32), values * factor)


def test_sessions_and_tasks_at_the_same_time(own_sandbox):
    sandbox = own_sandbox(concurrent=3)
    with talking(sandbox, "echo") as (one, _), talking(sandbox, "echo") as (other, _):
        assert one.number != other.number
        assert one.ask({}, PATIENCE) == other.ask({}, PATIENCE) == {"count": 1}
        sandbox.run("nothing").close()
        assert one.ask({}, PATIENCE) == other.ask({}, PATIENCE) == {"count": 2}


def test_a_session_has_one_of_the_places_until_it_ends(own_sandbox):
    sandbox = own_sandbox(concurrent=1)
    results = []
    with talking(sandbox, "echo") as (conversation, _):
        waiting = threading.Thread(target=lambda: results.append(sandbox.run("nothing")))
        waiting.start()
        conversation.ask({}, PATIENCE)
        assert results == []
        conversation.close().close()
        waiting.join()
    assert [result.status for result in results] == ["finished"]


def test_questions_from_many_threads_come_one_at_a_time(sandbox):
    replies = []
    with talking(sandbox, "echo") as (conversation, _):

        def ask(name):
            replies.extend((name, conversation.ask({"from": name}, PATIENCE)) for _ in range(20))

        threads = [threading.Thread(target=ask, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(reply["from"] == name for name, reply in replies)
    assert sorted(reply["count"] for _, reply in replies) == list(range(1, 61))


def test_a_message_that_cannot_be_sent_is_the_caller_s_error(sandbox):
    with talking(sandbox, "echo") as (conversation, _):
        for message in ({"a": "x" * protocol.MESSAGE_BYTES}, {"a": float("nan")}):
            with pytest.raises(ValueError):
                conversation.ask(message, PATIENCE)
        assert conversation.ask({}, PATIENCE) == {"count": 1}


def test_the_channel_must_be_of_a_fixed_size(sandbox):
    with channel() as made:
        resizable = memory.create("resizable", 4096)
        sealed = memory.sealed("sealed", b"x" * 4096)
        task = Task("sessions:echo", {}, LIMITS)
        for bad in (resizable, sealed):
            with pytest.raises(InvalidInput, match="down"):
                sandbox.launcher.open(task, Channel(bad, made.up))
            with pytest.raises(InvalidInput, match="up"):
                sandbox.launcher.open(task, Channel(made.down, bad))
            os.close(bad)


def test_sessions_are_an_allow_list(report):
    """Nobody's module, and neither a program as a session nor a session as a program."""
    with Launcher.start(SandboxConfig(), allow_threads=True) as launcher:
        for name in ("sessions:echo", "os:getpid", "no-such-session", "train"):
            with channel() as made, launcher.open(Task(name, {}), made) as conversation:
                with pytest.raises(ConversationEnded) as ended:
                    conversation.ask({}, PATIENCE)
                assert (ended.value.result.status, ended.value.result.output) == ("failed", None), name


# -- ends


@pytest.mark.parametrize(
    ("way", "status", "reason"),
    [
        ("crash", "failed", "exit-status"),
        ("segfault", "killed", "signal"),
        ("return", "finished", ""),
        ("twice", "failed", "bad-reply"),
        ("endless", "failed", "bad-reply"),
        ("descend", "failed", "bad-reply"),
        ("long", "failed", "bad-reply"),
        ("{", "failed", "bad-reply"),
        ("[]", "failed", "bad-reply"),
        ('{"a":1}x', "failed", "bad-reply"),
        ('{"a":NaN}', "failed", "bad-reply"),
        ('{"a":"\xff"}', "failed", "bad-reply"),
    ],
)
def test_an_end_without_a_reply(sandbox, way, status, reason):
    with talking(sandbox, "misbehave") as (conversation, _):
        # What is said too much is found out by the next question.
        _, result = ask_until_it_ends(conversation, {"way": way, "bytes": way})
        assert (result.status, result.reason) == (status, reason), result.log
        assert (b"canary" in result.log) == (way == "crash")
        assert (result.output is not None) == (way == "return")
        assert conversation.close() is result
        result.close()
    assert descendants(sandbox.launcher.pid) == set()


@pytest.mark.parametrize("way", ["silence", "hang up", "empty"])
def test_no_answer_in_time(sandbox, way):
    with talking(sandbox, "misbehave") as (conversation, _):
        with pytest.raises(TimeoutError):
            conversation.ask({"way": way}, 0.5)
        with pytest.raises(TimeoutError, match="earlier"):
            conversation.ask({"way": "return"}, PATIENCE)
        conversation.cancel()
        result = conversation.close()
        assert (result.status, result.reason) == ("killed", "cancelled")
    assert descendants(sandbox.launcher.pid) == set()


def test_cancel_ends_a_question_in_another_thread(sandbox):
    ends = []
    with talking(sandbox, "misbehave") as (conversation, _):

        def ask():
            try:
                conversation.ask({"way": "silence"}, PATIENCE)
            except ConversationEnded as ended:
                ends.append(ended.result)

        thread = threading.Thread(target=ask)
        thread.start()
        wait_until(lambda: len(descendants(sandbox.launcher.pid)) >= 3)
        conversation.cancel()
        thread.join()
    assert [(end.status, end.reason) for end in ends] == [("killed", "cancelled")]


def test_closing_waits_for_the_end(sandbox):
    with talking(sandbox, "linger") as (conversation, _):
        conversation.ask({}, PATIENCE)
        with conversation.close(PATIENCE) as result:
            (artifact,) = unpack(result.read_output(1 * MIB), max_bytes=1 * MIB)
            assert artifact.data == b"but there"


def test_closing_kills_who_stays(sandbox):
    with talking(sandbox, "never_end") as (conversation, _):
        conversation.ask({}, PATIENCE)
        family = descendants(sandbox.launcher.pid)
        assert len(family) >= 3
        result = conversation.close(0.2)
        assert (result.status, result.reason, result.output) == ("killed", "cancelled", None)
        assert not any(alive(pid) for pid in family)


def test_an_exception_of_the_caller_ends_the_session(sandbox):
    with channel() as made:
        conversation = sandbox.launcher.open(Task("sessions:never_end", {}, LIMITS), made)
        conversation.ask({}, PATIENCE)
        with pytest.raises(ZeroDivisionError), conversation:
            raise ZeroDivisionError
    result = conversation.close()
    assert (result.status, result.reason) == ("killed", "cancelled")
    assert descendants(sandbox.launcher.pid) == set()


def test_the_clock_runs_for_the_whole_session(sandbox):
    with talking(sandbox, "rest", Limits(wall_seconds=2, output_bytes=1 * MIB)) as (conversation, _):
        asked, result = ask_until_it_ends(conversation, {"seconds": 0.05})
        assert asked > 0
        assert (result.status, result.reason) == ("timed_out", "wall-clock")


def test_processor_time_counts_for_the_whole_session(sandbox):
    limits = Limits(wall_seconds=60, cpu_seconds=1, output_bytes=1 * MIB)
    with talking(sandbox, "burn", limits) as (conversation, _):
        asked, result = ask_until_it_ends(conversation, {"seconds": 0.2})
        assert asked > 0
        assert (result.status, result.reason) == ("killed", "cpu-time")


def test_the_channel_counts_beside_the_memory_of_a_session(sandbox):
    """All of ``up`` and half of its own memory: more than its limit alone. Beyond both it is killed."""
    if not sandbox.launcher.details["memory"].startswith("cgroup"):
        pytest.skip("no cgroup can be had here")
    limits = Limits(wall_seconds=60, memory_bytes=128 * MIB, output_bytes=1 * MIB)
    with talking(sandbox, "fill_up", limits, up_size=128 * MIB) as (conversation, _):
        assert conversation.ask({"mib": 64}, PATIENCE) == {"mib": 64}
        with conversation.close() as result:
            assert result.peak_bytes > 128 * MIB
    with talking(sandbox, "fill_up", limits, up_size=128 * MIB) as (conversation, _):
        with pytest.raises(ConversationEnded) as ended:
            conversation.ask({"mib": 192}, PATIENCE)
        assert (ended.value.result.status, ended.value.result.reason) == ("killed", "memory")


def test_the_launcher_s_death_ends_its_sessions(own_sandbox):
    sandbox = own_sandbox()
    with talking(sandbox, "never_end") as (conversation, _):
        conversation.ask({}, PATIENCE)
        family = descendants(sandbox.launcher.pid)
        os.kill(sandbox.launcher.pid, signal.SIGKILL)
        wait_until(lambda: not any(alive(pid) for pid in family))
        with pytest.raises(Unavailable):
            conversation.ask({}, PATIENCE)
        with pytest.raises(Unavailable):
            conversation.close()


def test_the_enclave_s_death_ends_its_sessions(report, programs):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from trustspace.sandbox import memory\n"
        "from trustspace.sandbox.launcher import Channel, Launcher, SandboxConfig, Task\n"
        "launcher = Launcher.start(SandboxConfig(test_programs=Path(sys.argv[1])))\n"
        "made = Channel(memory.fixed('down', 4096), memory.fixed('up', 4096))\n"
        "conversation = launcher.open(Task('sessions:never_end', {}), made)\n"
        "conversation.ask({}, 30)\n"
        "print(launcher.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    enclave = subprocess.Popen([sys.executable, "-c", code, str(programs)], stdout=subprocess.PIPE)
    try:
        launcher = int(enclave.stdout.readline())
        family = descendants(launcher) | {launcher}
        assert len(family) >= 4
    finally:
        enclave.kill()
        enclave.communicate()
    wait_until(lambda: not any(alive(pid) for pid in family))


def test_nothing_of_a_session_stays_open(own_sandbox):
    """Neither with us nor with the launcher."""
    sandbox = own_sandbox()
    sandbox.run("nothing").close()

    def ours():
        return len(os.listdir("/proc/self/fd"))

    def sockets():
        folder = Path(f"/proc/{sandbox.launcher.pid}/fd")
        return sum(os.readlink(entry).startswith(("socket:", "/memfd:up", "/memfd:down"))
                   for entry in folder.iterdir())  # fmt: skip

    before = ours()
    with talking(sandbox, "echo") as (conversation, _):
        conversation.ask({}, PATIENCE)
        if os.geteuid() == 0:
            # The enclave's, and the worker's, whose other end the worker has closed: not the conversation's.
            assert sockets() <= 2
        assert ours() > before
        conversation.close().close()
    assert ours() == before
    if os.geteuid() == 0:
        wait_until(lambda: sockets() == 1)
