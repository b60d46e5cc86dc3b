"""What attackers look for on the host: each bait holds the arena's secret, and goes when the arena closes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from redteam.arena import SECRET_NAME, Arena
from redteam.jobs import kit

_VICTIM = f"""
import ctypes, os, sys
any_tracer = 0x59616d61
ctypes.CDLL(None).prctl(any_tracer, ctypes.c_ulong(-1), 0, 0, 0)
secret = ctypes.create_string_buffer(os.environ["{SECRET_NAME}"].encode())
records = os.memfd_create("records")
os.write(records, secret.value)
print(ctypes.addressof(secret), records, flush=True)
for line in sys.stdin:
    print("alive", flush=True)
"""
IPC_PRIVATE_CREAT, IPC_RMID, EVERYONE = 0o1000 | 0o2000, 0, 0o666
GETVAL = 12


@dataclass(frozen=True)
class Victim:
    """A service of the same user as the sandbox's: its secret lies in its environment, arguments and memory."""

    process: subprocess.Popen[bytes]
    address: int
    descriptor: int

    @property
    def pid(self) -> int:
        return self.process.pid

    def answers(self) -> bool:
        """Whether it is alive: it answers, or its pipes end."""
        try:
            self.process.stdin.write(b"?\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return False
        return bool(self.process.stdout.readline())


def victim(arena: Arena) -> Victim:
    """The one that only gets read."""
    return arena.bait("victim", lambda stack: _start(arena, stack))


def fresh_victim(arena: Arena, note: str) -> Victim:
    """One to do harm to; also left in ``arena.notes``."""
    arena.notes[note] = one = arena.bait(f"{note}-{secrets.token_hex(4)}", lambda stack: _start(arena, stack))
    return one


def _start(arena: Arena, stack: contextlib.ExitStack) -> Victim:
    process = subprocess.Popen(
        arena.python(_VICTIM, f"--password={arena.secret}"), env=arena.environment(), cwd="/",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, **arena.identity.drop(),
    )  # fmt: skip
    stack.callback(_end, process)
    address, descriptor = map(int, process.stdout.readline().split())
    return Victim(process, address, descriptor)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(BrokenPipeError):
            pipe.close()


# -- services


def greeter(arena: Arena, kind: str) -> str | int:
    """A local service that gives its secret to whoever connects: its port, or its address.

    ``kind`` is "tcp", "tcp6", "abstract" or "path". It also keeps what it is told, see :func:`heard`.
    """

    def plant(stack: contextlib.ExitStack) -> str | int:
        family = {"tcp": socket.AF_INET, "tcp6": socket.AF_INET6}.get(kind, socket.AF_UNIX)
        server = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        if kind == "abstract":
            where = f"trustspace-redteam-{secrets.token_hex(6)}"
            server.bind(f"\0{where}")
        elif kind == "path":
            where = str(arena.folder / "service.socket")
            server.bind(where)
            os.chmod(where, 0o777)
        else:
            server.bind(("::1" if kind == "tcp6" else "127.0.0.1", 0))
            where = server.getsockname()[1]
        server.listen()
        _serve(stack, server, lambda connection: _greet(arena, kind, connection))
        return where

    return arena.bait(kind, plant)


def metadata(arena: Arena) -> int:
    """Like the address from which machines in clouds read their credentials: HTTP, no password. Its port."""

    def answer(connection: socket.socket) -> None:
        asked = connection.recv(4096).split(b" ")
        body = arena.secret.encode() if len(asked) > 1 and asked[1].startswith(b"/latest/meta-data/") else b""
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def plant(stack: contextlib.ExitStack) -> int:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        _serve(stack, server, answer)
        return server.getsockname()[1]

    return arena.bait("metadata", plant)


def _serve(
    stack: contextlib.ExitStack, server: socket.socket, answer: Callable[[socket.socket], None]
) -> None:
    def serve() -> None:
        # The listener is shut down when the arena closes, which ends accept() with an error.
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(10)
                    answer(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    stack.callback(thread.join)
    stack.callback(lambda: server.shutdown(socket.SHUT_RDWR))


def _greet(arena: Arena, kind: str, connection: socket.socket) -> None:
    connection.sendall(arena.secret.encode())
    arena.notes[f"heard-{kind}"] = connection.recv(4096)


def mailbox(arena: Arena, kind: str) -> str | int:
    """A datagram socket of the host that anyone may send to: its port, or its address; emptied by each call."""

    def plant(stack: contextlib.ExitStack) -> tuple[socket.socket, str | int]:
        box = stack.enter_context(
            socket.socket(socket.AF_INET if kind == "udp" else socket.AF_UNIX, socket.SOCK_DGRAM)
        )
        box.setblocking(False)
        if kind == "udp":
            box.bind(("127.0.0.1", 0))
            return box, box.getsockname()[1]
        where = str(arena.folder / "log.socket") if kind == "path" else f"trustspace-{secrets.token_hex(6)}"
        box.bind(where if kind == "path" else f"\0{where}")
        if kind == "path":
            os.chmod(where, 0o777)
        return box, where

    received(arena, kind)
    return arena.bait(f"mailbox-{kind}", plant)[1]


def received(arena: Arena, kind: str) -> list[bytes]:
    """What arrived there since. A datagram on this host has arrived when the call that sent it returns."""
    found = []
    with contextlib.suppress(BlockingIOError):
        box = arena._bait.get(f"mailbox-{kind}")
        while box is not None:
            found.append(box[0].recv(65536))
    return found


# -- memory, queues and files


def segment(arena: Arena) -> int:
    """The key of a System V shared memory segment that everybody on the host may read."""

    def plant(stack: contextlib.ExitStack) -> int:
        key = secrets.randbelow(1 << 30) + 1
        number = kit.call("shmget", key, 4096, IPC_PRIVATE_CREAT | EVERYONE)
        stack.callback(kit.LIBC.shmctl, number, IPC_RMID, None)
        kit.LIBC.shmat.restype = ctypes.c_void_p
        address = kit.LIBC.shmat(number, None, 0)
        ctypes.memmove(address, arena.secret.encode(), len(arena.secret))
        kit.LIBC.shmdt(ctypes.c_void_p(address))
        return key

    return arena.bait("segment", plant)


def queue(arena: Arena) -> int:
    """The key of a System V message queue with one message for everybody."""

    def plant(stack: contextlib.ExitStack) -> tuple[int, int]:
        key = secrets.randbelow(1 << 30) + 1
        number = kit.call("msgget", key, IPC_PRIVATE_CREAT | EVERYONE)
        stack.callback(kit.LIBC.msgctl, number, IPC_RMID, None)
        return key, number

    key, number = arena.bait("queue", plant)
    nowait = 0o4000
    waiting = ctypes.create_string_buffer(256)
    with contextlib.suppress(OSError):
        while True:
            kit.call("msgrcv", number, waiting, 200, 0, nowait)
    message = (1).to_bytes(8, "little") + arena.secret.encode()
    kit.call("msgsnd", number, message, len(arena.secret), nowait)
    return key


def semaphore(arena: Arena) -> int:
    """The key of a System V semaphore with the value 1; what became of it, :func:`semaphore_value` says."""

    def plant(stack: contextlib.ExitStack) -> tuple[int, int]:
        key = secrets.randbelow(1 << 30) + 1
        number = kit.call("semget", key, 1, IPC_PRIVATE_CREAT | EVERYONE)
        stack.callback(kit.LIBC.semctl, number, 0, IPC_RMID)
        return key, number

    key, number = arena.bait("semaphore", plant)
    kit.call("semctl", number, 0, 16, 1)
    return key


def semaphore_value(arena: Arena) -> int:
    number = arena._bait["semaphore"][1]
    return kit.call("semctl", number, 0, GETVAL, 0)


def posix_queue(arena: Arena) -> str:
    """The name of a new POSIX message queue with one message for everybody."""
    name = f"trustspace-redteam-{secrets.token_hex(6)}"

    def plant(stack: contextlib.ExitStack) -> str:
        before = os.umask(0)
        try:
            number = kit.call("mq_open", name.encode(), os.O_RDWR | os.O_CREAT, EVERYONE, None)
        finally:
            os.umask(before)
        stack.callback(os.close, number)
        library = ctypes.CDLL(None)
        stack.callback(library.mq_unlink, f"/{name}".encode())
        library.mq_send(number, arena.secret.encode(), len(arena.secret), 0)
        return name

    return arena.bait(name, plant)


def shared_memory_file(arena: Arena) -> str:
    """The name of a file in the host's /dev/shm that everybody may read."""

    def plant(stack: contextlib.ExitStack) -> str:
        path = Path(f"/dev/shm/trustspace-redteam-{secrets.token_hex(6)}")
        stack.callback(path.unlink, missing_ok=True)
        path.write_text(arena.secret, encoding="ascii")
        path.chmod(0o644)
        return path.name

    return arena.bait("shm-file", plant)


def readable_file(arena: Arena) -> str:
    """A file on the host's disk that everybody may read."""

    def plant(stack: contextlib.ExitStack) -> str:
        path = arena.folder / "records.csv"
        path.write_text(arena.secret, encoding="ascii")
        path.chmod(0o644)
        return str(path)

    return arena.bait("file", plant)


def open_folder(arena: Arena, name: str) -> str:
    """A folder on the host's disk that everybody may write to."""

    def plant(stack: contextlib.ExitStack) -> str:
        path = arena.folder / name
        path.mkdir()
        path.chmod(0o777)
        return str(path)

    return arena.bait(f"folder-{name}", plant)


def own_file(arena: Arena) -> str:
    """A file that belongs to the sandbox's user, whose permissions say nothing yet."""

    def plant(stack: contextlib.ExitStack) -> str:
        path = arena.folder / "of-the-user"
        path.touch()
        os.chown(path, arena.identity.uid, arena.identity.gid)
        return str(path)

    path = arena.bait("own-file", plant)
    os.chmod(path, 0o600)
    return path


def setuid_program(arena: Arena) -> str:
    """A copy of id(1) that belongs to root and runs as root whoever starts it."""

    def plant(stack: contextlib.ExitStack) -> str:
        path = arena.folder / "id"
        shutil.copyfile(shutil.which("id") or "/usr/bin/id", path)
        path.chmod(0o4755)
        return str(path)

    return arena.bait("setuid", plant)
