"""Resource limits of a sandboxed process tree (setrlimit(2)); they hold on every host.

Some are set before the sandbox exists, and hold while its worker waits for a task. Those that a task chooses are
set by the worker itself, before any code of the task: the filter lets a process lower them, and nobody raise them.
"""

from __future__ import annotations

import resource

from trustspace.sandbox.config import MIB, Limits

STACK_BYTES = 8 * MIB
OPEN_FILES = 256
# Address space beside a task's memory and inputs: the libraries take 600 MiB, allocators reserve what they never touch.
ADDRESS_BYTES = 2048 * MIB

Pair = tuple[int, int]


def before_exec(open_files: int | None = None) -> dict[int, Pair]:
    """The limits that are the same for every task, by RLIMIT number; ``open_files`` where 256 are too few.

    RLIMIT_CORE is 1, not 0: with a pipe as core pattern the kernel ignores 0, and gives up at 1 (core(5),
    fs/coredump.c).
    """
    return {
        resource.RLIMIT_CORE: (1, 1),
        resource.RLIMIT_NOFILE: _same(open_files or OPEN_FILES),
        resource.RLIMIT_STACK: _same(STACK_BYTES),
        resource.RLIMIT_MEMLOCK: _same(0),
        resource.RLIMIT_MSGQUEUE: _same(0),
        resource.RLIMIT_NICE: _same(0),
        resource.RLIMIT_RTPRIO: _same(0),
    }


def in_worker(
    limits: Limits, *, scratch_bytes: int, counted: bool, processes: int | None = None, mapped_bytes: int = 0
) -> dict[str, int]:
    """The limits that a task chooses, by RLIMIT number in decimal (the orders are JSON).

    ``counted`` says that a cgroup counts memory; otherwise private memory is limited for each process
    (RLIMIT_DATA; what is neither private nor a file of limited size, ``seccomp`` refuses). That leaves out what is
    like a stack and what is no longer writable (mm/mmap.c, is_data_mapping), so RLIMIT_AS bounds these too, coarsely:
    ``mapped_bytes`` of inputs come on top, and a GPU's driver reserves too much for it. ``processes`` is for
    RLIMIT_NPROC, None for leaving it; it is one of these because before a user namespace exists it would count every
    process of this user on the host. RLIMIT_CPU is not: it counts what a warm worker used before as well (see
    ``apply_in_worker``).
    """
    wanted = {resource.RLIMIT_FSIZE: max(limits.output_bytes, scratch_bytes)}
    if processes is not None:
        wanted[resource.RLIMIT_NPROC] = processes
    if not counted:
        wanted[resource.RLIMIT_DATA] = limits.memory_bytes
        if not limits.gpu:
            wanted[resource.RLIMIT_AS] = limits.memory_bytes + mapped_bytes + ADDRESS_BYTES
    return {str(number): value for number, value in wanted.items()}


def apply_in_worker(wanted: dict[str, int], cpu_seconds: int) -> None:
    """Set a task's limits on the worker that is about to run it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = cpu_seconds + int(used.ru_utime + used.ru_stime + 0.999)
    apply({resource.RLIMIT_CPU: (cpu, cpu + 1), **{int(n): _same(value) for n, value in wanted.items()}})


def _same(value: int) -> Pair:
    return (value, value)


def apply(wanted: dict[int, Pair]) -> None:
    """Set the limits on this process, never above a hard limit it already has."""
    for number, (soft, hard) in wanted.items():
        _, ceiling = resource.getrlimit(number)
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)  # noqa: PLW2901 - both are lowered together
        resource.setrlimit(number, (soft, hard))
