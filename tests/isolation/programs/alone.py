"""What a program may try that has no namespaces around it: everything of its user's is in sight of the kernel.

Each runs unsandboxed as well, as the same user, as its own positive control.
"""

import contextlib
import ctypes
import errno
import os
import resource
import signal
import socket
import sys

from attacks import LIBC, outcome, parameters, raw, say

PROCESS_VM_READV, PIDFD_OPEN, TGKILL = 310, 434, 234
PR_SET_PDEATHSIG = 1


def more_processes(inputs, emit):
    """Every way to have a second process, or to become another program."""

    def fork():
        if (child := os.fork()) == 0:
            os._exit(0)
        os.waitpid(child, 0)

    def spawn():
        os.waitpid(os.posix_spawn(sys.executable, [sys.executable, "-I", "-S", "-c", ""], {}), 0)

    def leave():
        if (child := os.fork()) == 0:
            os.setsid()
            os._exit(0)
        os.waitpid(child, 0)

    def become():
        # In a child where there can be one: what comes after must be heard.
        with contextlib.suppress(PermissionError):
            if (child := os.fork()) != 0:
                os.waitpid(child, 0)
                return
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", ""])

    say(
        emit,
        {"fork": outcome(fork), "spawn": outcome(spawn), "leave": outcome(leave), "exec": outcome(become)},
    )


def touch_a_neighbour(inputs, emit):
    """Reach another process of the same user by its number, through every call that takes one."""
    wanted = parameters(inputs)
    pid, address = wanted["pid"], wanted["address"]
    buffer = ctypes.create_string_buffer(8)

    class Piece(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

    def read_memory():
        ours, theirs = Piece(ctypes.addressof(buffer), 7), Piece(address, 7)
        got = LIBC.syscall(ctypes.c_long(PROCESS_VM_READV), ctypes.c_long(pid), ctypes.byref(ours), ctypes.c_long(1),
                           ctypes.byref(theirs), ctypes.c_long(1), ctypes.c_long(0))  # fmt: skip
        if got < 0:
            raise OSError(ctypes.get_errno(), "process_vm_readv")

    def read_file(name):
        with open(f"/proc/{pid}/{name}", "rb") as file:
            file.read(1)

    def by_number(number, *arguments):
        result, word = raw(number, *arguments)
        if result < 0:
            raise OSError(getattr(errno, word), "refused")

    limit = resource.RLIMIT_CPU
    say(emit, {
        "signal": outcome(lambda: os.kill(pid, signal.SIGCONT)),
        "is it there": outcome(lambda: os.kill(pid, 0)),
        "signal a thread": outcome(lambda: by_number(TGKILL, pid, pid, signal.SIGCONT)),
        "descriptor": outcome(lambda: by_number(PIDFD_OPEN, pid, 0)),
        "limits": outcome(lambda: resource.prlimit(pid, limit)),
        "lower its limits": outcome(lambda: resource.prlimit(pid, limit, resource.prlimit(pid, limit))),
        "processors": outcome(lambda: os.sched_getaffinity(pid)),
        "move it": outcome(lambda: os.sched_setaffinity(pid, {0})),
        "session": outcome(lambda: os.getsid(pid)),
        "group": outcome(lambda: os.getpgid(pid)),
        "priority": outcome(lambda: os.getpriority(os.PRIO_PROCESS, pid)),
        "memory": outcome(read_memory),
        "environment": outcome(lambda: read_file("environ")),
        "command line": outcome(lambda: read_file("cmdline")),
    })  # fmt: skip


def write_to_sockets(inputs, emit):
    """Post a datagram to sockets of the host, from half of a pair: no socket of its own, no connect."""
    finding = {}
    for name, address in parameters(inputs)["addresses"].items():
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        # A half whose other half is gone may write to anybody.
        theirs.close()
        with ours:
            place = b"\0" + address[1:].encode() if address.startswith("@") else address
            finding[name] = outcome(lambda place=place, ours=ours: ours.sendto(b"patient", place))
    say(emit, finding)


def change_a_file(inputs, emit):
    """A file that belongs to the sandbox's own user: what Landlock has no right for, and what it has."""
    path = parameters(inputs)["path"]

    def empty():
        os.close(os.open(path, os.O_RDONLY | os.O_TRUNC))

    def write():
        with open(path, "ab") as file:
            file.write(b"x")

    tries = {
        "mode": lambda: os.chmod(path, 0o600),
        "times": lambda: os.utime(path, (1, 1)),
        "shorten": lambda: os.truncate(path, 1),
        "empty": empty,
        "write": write,
        "link": lambda: os.link(path, path + ".link"),
        "symlink": lambda: os.symlink(path, path + ".symlink"),
        "rename": lambda: os.rename(path, path + ".new"),
        "folder": lambda: os.mkdir(path + ".folder"),
        "pipe": lambda: os.mkfifo(path + ".pipe"),
        "go there": lambda: os.chdir(os.path.dirname(path)),
    }
    say(emit, {name: outcome(action) for name, action in tries.items()})


def outlive(inputs, emit):
    """Take back the signal that comes when the launcher dies."""
    say(emit, raw(157, PR_SET_PDEATHSIG, 0)[1])


def still_sees(inputs, emit):
    """What is left of the host without namespaces: names and numbers, and what stat(2) says of a path."""
    path = parameters(inputs)["path"]
    say(emit, {"host": os.uname().nodename, "uid": os.getuid(), "size": os.stat(path).st_size,
               "there": [os.path.exists(path), os.path.exists(path + ".not")],
               "read": outcome(lambda: os.close(os.open(path, os.O_RDONLY)))})  # fmt: skip


def forbidden_entry(inputs, emit):
    """A call through x32, in this very process."""
    from attacks import _machine_code

    # mov eax, 0x40000027 ; syscall ; ret
    function, _page = _machine_code(b"\xb8\x27\x00\x00\x40\x0f\x05\xc3")
    function()
