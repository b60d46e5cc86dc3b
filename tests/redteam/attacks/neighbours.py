"""Other runs and other domains: nothing is shared between sandboxes, and a key opens what it was released for."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from redteam.arena import Arena, JobEnd
from redteam.model import JOBS, Attack, Seen, both, job_files, seen_in
from trustspace.crypto.seal import open_bytes, seal_bytes
from trustspace.crypto.wrap import OneTimeKey, seal_to
from trustspace.domain.binding import dataset_context, run_binding
from trustspace.errors import InvalidTransition, VerificationFailed

_OWN = both(
    "every run has scratch folders of its own, in memory, gone with it",
    "每次运行各有内存中的临时目录，随运行消失",
)
_FRESH = both(
    "each sandbox is used once; the kernel hands out zeroed pages", "沙箱只用一次，内核分配的内存页已清零"
)
_BOUND = both("a key is sealed for one run's key and bound to job, data, code and evidence",
              "密钥只密封给某次运行，并绑定任务、数据、代码与证据")  # fmt: skip
_UNIT, _OTHER = "a" * 64, "b" * 64
_ROWS = b"patient-0, 31, 0.5, B"

# -- notes in folders


def _note(name: str, folder: str, title: dict[str, str]) -> Attack:
    def twice(run: Callable[..., JobEnd]) -> Seen:
        token = secrets.token_hex(8)
        arguments = {"folder": folder, "token": token}
        try:
            run(job_files("neighbours_marker.py"), arguments=arguments)
            return seen_in(run(job_files("neighbours_marker.py"), arguments=arguments))
        finally:
            for left in Path(folder).glob(f"note-{token}-*"):
                left.unlink()

    wants = both("data of one hospital in another's result", "把一家医院的数据带进另一家的结果")
    return Attack(
        f"neighbours/{name}", "neighbours", title, wants, _OWN,
        lambda arena: twice(arena.bare), lambda arena: twice(arena.inside),
    )  # fmt: skip


# -- two at once


def _talk(run: Callable[..., JobEnd]) -> Seen:
    token = f"redteam-{secrets.token_hex(8)}"
    with ThreadPoolExecutor(2) as both_at_once:
        ends = [
            both_at_once.submit(
                run, job_files("neighbours_talk.py"), arguments={"token": token, "role": role}
            )
            for role in ("listen", "ask")
        ]
        return seen_in(ends[1].result())


# -- what is left in memory


def _left_without(arena: Arena) -> Seen:
    """A warm worker that runs one job after the other in the same process."""
    source = (
        "import sys\n"
        "class Given:\n"
        "    arguments = {'reversed': sys.argv[1]}\n"
        "class Said:\n"
        "    def json(self, name, value): self.value = value\n"
        "said = Said()\n"
        "for text in sys.argv[2:]:\n"
        "    job = {}; exec(text, job); job['run'](Given(), said)\n"
        "print(said.value['worked'], said.value['detail'], sep='|')\n"
    )
    name = f"left-{secrets.token_hex(8)}"
    leave, find = ((JOBS / f"neighbours_{job}.py").read_text("utf-8") for job in ("leave", "find"))
    leave = leave.replace("/left", f"/{name}")
    try:
        done = subprocess.run(
            arena.python(source, _mark(), leave, find), capture_output=True, text=True, check=False, cwd="/",
            env=arena.environment(), **arena.identity.drop(),
        )  # fmt: skip
    finally:
        for left in (Path("/tmp") / name, Path("/dev/shm") / name):
            with contextlib.suppress(OSError):
                left.unlink()
    worked, _, detail = done.stdout.strip().partition("|")
    return Seen(worked == "True", detail or done.stderr[-100:])


def _mark() -> str:
    """Backwards: the search must not find itself."""
    return f"{secrets.token_hex(8)}-mark"[::-1]


def _left_within(arena: Arena) -> Seen:
    arguments = {"reversed": _mark()}
    left = arena.inside(job_files("neighbours_leave.py"), arguments=arguments)
    assert left.finding is not None, left.log
    return seen_in(arena.inside(job_files("neighbours_find.py"), arguments=arguments))


# -- another's sealed data, and keys that were released


def _other_without(_: Arena) -> Seen:
    """One key for a whole store, and nothing said about what it opens."""
    key, context = secrets.token_bytes(32), {"purpose": "store"}
    granted, other = (seal_bytes(key, context, rows) for rows in (b"granted", _ROWS))
    assert open_bytes(key, context, granted) == b"granted"
    return Seen(open_bytes(key, context, other) == _ROWS, "the granted key opens the other dataset too")


def _other_within(_: Arena) -> Seen:
    """The enclave's own sealing: a key for each version, bound to whose and which it is."""
    contexts = [dataset_context(unit, "ward-a", 1) for unit in (_UNIT, _OTHER)]
    keys = [secrets.token_bytes(32) for _ in contexts]
    sealed = [seal_bytes(key, context, _ROWS) for key, context in zip(keys, contexts, strict=True)]
    assert open_bytes(keys[0], contexts[0], sealed[0]) == _ROWS
    opened = 0
    # The granted key on the other's data; and, had both one key, under the granted dataset's name.
    for key, context, data in (
        (keys[0], contexts[1], sealed[1]), (keys[0], contexts[0], sealed[1]), (keys[1], contexts[0], sealed[1]),
    ):  # fmt: skip
        with contextlib.suppress(VerificationFailed):
            open_bytes(key, context, data)
            opened += 1
    return Seen(opened > 0, f"{opened} of 3 ways open it")


_GRANTED = {
    "job": "1" * 64, "grant": "2" * 64, "offer": "3" * 64, "dataset": "4" * 64, "manifest": "5" * 64, "code": "6" * 64,
    "parameters": "7" * 64, "evidence": "8" * 64, "buyer_key": "9" * 64,
}  # fmt: skip


def _confused_without(_: Arena) -> Seen:
    """A release that says nothing of what it is for: another job with the same enclave takes it."""
    enclave = OneTimeKey.generate()
    release = seal_to(enclave.public, bytes(32), b"data key")
    return Seen(enclave.open(release, b"data key") == bytes(32), "a job with other code opens the data")


def _confused_within(_: Arena) -> Seen:
    run = OneTimeKey.generate()
    release = seal_to(run.public, bytes(32), run_binding(**_GRANTED, challenges=("c" * 64,)))
    assert run.open(release, run_binding(**_GRANTED, challenges=("c" * 64,))) == bytes(32)
    opened = 0
    changed = [{**_GRANTED, name: "f" * 64} for name in _GRANTED]
    for values, challenges in [*((v, ("c" * 64,)) for v in changed), (_GRANTED, ("d" * 64,))]:
        with contextlib.suppress(VerificationFailed):
            run.open(release, run_binding(**values, challenges=challenges))
            opened += 1
    return Seen(opened > 0, f"{opened} of {len(changed) + 1} changes open it")


def _replayed_without(_: Arena) -> Seen:
    """An enclave with one key for all time."""
    enclave, info = OneTimeKey.generate(), run_binding(**_GRANTED, challenges=())
    release = seal_to(enclave.public, bytes(32), info)
    opened = [enclave.open(release, info) for _ in range(2)]
    return Seen(len(opened) == 2, "one grant, two runs")


def _replayed_within(_: Arena) -> Seen:
    """A one-time key that the run's end destroys, and a later run with a key of its own."""
    first, info = OneTimeKey.generate(), run_binding(**_GRANTED, challenges=())
    release = seal_to(first.public, bytes(32), info)
    assert first.open(release, info) == bytes(32)
    first.destroy()
    opened = 0
    for key in (first, OneTimeKey.generate()):
        with contextlib.suppress(InvalidTransition, VerificationFailed):
            key.open(release, info)
            opened += 1
    return Seen(opened > 0, "its key is gone, and fits no other")


ATTACKS = [
    _note("tmp", "/tmp", both("Leaves a note in /tmp for a later run", "在 /tmp 给后续运行留便条")),
    _note("dev-shm", "/dev/shm", both("Leaves a note in shared memory for another run", "在共享内存给其他运行留便条")),
    Attack("neighbours/abstract-socket", "neighbours",
           both("Two jobs talk at an abstract address", "两个任务经抽象套接字通信"),
           both("data of one hospital in another's result", "把一家医院的数据带进另一家的结果"),
           both("no sockets at all, and a network namespace for each", "完全没有套接字，且各有网络命名空间"),
           lambda arena: _talk(arena.bare), lambda arena: _talk(arena.inside)),
    Attack("neighbours/left-in-memory", "neighbours",
           both("Searches fresh memory for what an earlier run left", "在新分配的内存中搜寻先前运行的残留"),
           both("rows of the run before", "先前运行的数据"), _FRESH, _left_without, _left_within),
    Attack("neighbours/other-dataset", "neighbours",
           both("Tries a granted key on another's sealed data", "用已获授权的密钥打开他人密封数据"),
           both("data that nobody granted", "未经授权的数据"),
           both("a key for each version, bound to whose it is", "每个版本一把密钥，并绑定归属"),
           _other_without, _other_within),
    Attack("neighbours/other-job", "neighbours",
           both("Uses a released key for another job", "把已释放的密钥用于另一任务"),
           both("data for code that nobody saw", "让未经审查的代码接触数据"), _BOUND, _confused_without, _confused_within),
    Attack("neighbours/replayed-release", "neighbours",
           both("Plays a key release back a second time", "重放密钥释放"),
           both("more runs than were granted", "超出授权次数的运行"), _BOUND, _replayed_without, _replayed_within),
]  # fmt: skip

# Left to the slow tests: others of their kind, which stand behind the same defence, are quick.
_SLOWER = {"left-in-memory"}
ATTACKS = [replace(attack, quick=attack.name.partition("/")[2] not in _SLOWER) for attack in ATTACKS]
