"""Resource limits of a sandboxed process tree (setrlimit(2)); they hold on every host."""

from __future__ import annotations

import resource

from trustspace.sandbox.config import MIB, Limits

STACK_BYTES = 8 * MIB
OPEN_FILES = 256

Pair = tuple[int, int]


def limits_for(limits: Limits, *, scratch_bytes: int, counted: bool) -> dict[int, Pair]:
    """The limits to set before the sandbox is made, by RLIMIT number.

    ``counted`` says that a cgroup counts memory; otherwise private memory is limited for each process
    (RLIMIT_DATA; what is neither private nor a file of limited size, ``seccomp`` refuses). RLIMIT_CORE is 1,
    not 0: with a pipe as core pattern the kernel ignores 0, and gives up at 1 (core(5), fs/coredump.c).
    RLIMIT_NPROC is not here: before the user namespace exists it would count every process of this user on
    the host (see ``inside``).
    """
    wanted: dict[int, Pair] = {
        resource.RLIMIT_CORE: (1, 1),
        resource.RLIMIT_CPU: (limits.cpu_seconds, limits.cpu_seconds + 1),
        resource.RLIMIT_FSIZE: _same(max(limits.output_bytes, scratch_bytes)),
        resource.RLIMIT_NOFILE: _same(OPEN_FILES),
        resource.RLIMIT_STACK: _same(STACK_BYTES),
        resource.RLIMIT_MEMLOCK: _same(0),
        resource.RLIMIT_MSGQUEUE: _same(0),
        resource.RLIMIT_NICE: _same(0),
        resource.RLIMIT_RTPRIO: _same(0),
    }
    if not counted:
        wanted[resource.RLIMIT_DATA] = _same(limits.memory_bytes)
    return wanted


def _same(value: int) -> Pair:
    return (value, value)


def apply(wanted: dict[int, Pair]) -> None:
    """Set the limits on this process, never above a hard limit it already has."""
    for number, (soft, hard) in wanted.items():
        _, ceiling = resource.getrlimit(number)
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)  # noqa: PLW2901 - both are lowered together
        resource.setrlimit(number, (soft, hard))
