"""Sessions that test conversations; each tries something when it is told to, and replies how it went.

Every one also runs unsandboxed, as the same user, with the descriptors as the enclave has them: its own
positive control.
"""

import array
import contextlib
import ctypes
import mmap
import os
import socket
import time

from attacks import LIBC, outcome


def _each(talk):
    while (message := talk.receive()) is not None:
        yield message


def echo(inputs, emit, talk):
    """Copy ``down`` to ``up``, byte by byte reversed, and say the message back."""
    count = 0
    for message in _each(talk):
        size = message.get("bytes", 0)
        talk.up[:size] = bytes(talk.down[:size])[::-1]
        count += 1
        print("heard", message, flush=True)
        talk.reply({**message, "count": count})
    emit("count.txt", "text/plain", str(count).encode())


def with_input(inputs, emit, talk):
    for _ in _each(talk):
        talk.reply({"data": bytes(inputs["data"]).decode()})


def libraries(inputs, emit, talk):
    """Vectors in shared memory, as numpy and torch see them."""
    import numpy
    import torch

    down = torch.from_numpy(numpy.frombuffer(talk.down, numpy.float32).copy())
    up = numpy.frombuffer(talk.up, numpy.float32)
    for message in _each(talk):
        torch.mul(down, message["factor"], out=torch.from_numpy(up))
        talk.reply({})


def _address(view):
    """Where memory lies, be it read-only."""
    import numpy

    return numpy.frombuffer(view, numpy.uint8).ctypes.data


def _regular_descriptors():
    import fcntl
    import stat

    for number in range(3, 256):
        with contextlib.suppress(OSError):
            if stat.S_ISREG(os.fstat(number).st_mode):
                yield number, fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE


def _channel_descriptor(marker):
    return next(number for number, _ in _regular_descriptors() if os.pread(number, len(marker), 0) == marker)


def write_down(inputs, emit, talk):
    """Change what the enclave wrote, through every way there is; ``down`` begins with "original"."""
    for _ in _each(talk):
        number = _channel_descriptor(b"original")
        address = _address(talk.down)

        def protect(address=address):
            if LIBC.mprotect(ctypes.c_void_p(address), 4096, mmap.PROT_READ | mmap.PROT_WRITE) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")

        def reopen(number=number):
            os.close(os.open(f"/proc/self/fd/{number}", os.O_RDWR))

        def view():
            try:
                talk.down[0] = 0
            except TypeError:
                raise OSError(1, "read-only view") from None

        talk.reply({
            "write": outcome(lambda number=number: os.pwrite(number, b"X", 0)),
            "map": outcome(lambda number=number: mmap.mmap(number, 4096, prot=mmap.PROT_WRITE)),
            "protect": outcome(protect),
            "reopen": outcome(reopen),
            "view": outcome(view),
            "remove": outcome(lambda: _refused(LIBC.madvise(ctypes.c_void_p(_address(talk.down)), 4096, 9))),
            "truncate": outcome(lambda number=number: os.ftruncate(number, 0)),
        })  # fmt: skip


def resize_up(inputs, emit, talk):
    """Make the enclave's mapping longer, or shorter, so that it would fault; or seal it against the enclave."""
    import fcntl

    for _ in _each(talk):
        talk.up[:8] = b"mine now"
        number = _channel_descriptor(b"mine now")
        size = os.fstat(number).st_size
        talk.reply({
            "grow": outcome(lambda number=number, size=size: os.ftruncate(number, size + 1)),
            "write after": outcome(lambda number=number, size=size: os.pwrite(number, b"x", size)),
            "shrink": outcome(lambda number=number: os.ftruncate(number, 0)),
            "seal": outcome(lambda number=number: fcntl.fcntl(number, 1033, fcntl.F_SEAL_WRITE)),
            "size": os.fstat(number).st_size,
        })  # fmt: skip


def pass_descriptor(inputs, emit, talk):
    """Hand the enclave a descriptor along with a reply."""
    for _ in _each(talk):
        read, write = os.pipe()
        os.write(write, b"smuggled")
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [read]))]
        said = outcome(lambda rights=rights: talk._sock.sendmsg([b'{"smuggled":true}'], rights))
        if said != "worked":
            talk.reply({"sendmsg": said, "sendmmsg": _sendmmsg(talk._sock.fileno())})
        os.close(read)
        os.close(write)


def _sendmmsg(number):
    return outcome(lambda: _refused(LIBC.syscall(ctypes.c_long(307), ctypes.c_long(number), None, 0, 0)))


def _refused(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def descriptors(inputs, emit, talk):
    """What there is to hold on to, and whether any of it has the word; it is given backwards."""
    import stat

    names = {stat.S_IFSOCK: "socket", stat.S_IFREG: "file", stat.S_IFIFO: "pipe", stat.S_IFCHR: "device"}
    for message in _each(talk):
        word = message["reversed"][::-1].encode()
        kinds, found = [], []
        for number in range(1024):
            with contextlib.suppress(OSError):
                kinds.append(names.get(stat.S_IFMT(os.fstat(number).st_mode), "other"))
            with contextlib.suppress(OSError):
                if kinds[-1] == "file" and word in os.pread(number, 1 << 20, 0):
                    found.append(number)
        talk.reply({"kinds": sorted(kinds), "found": len(found)})


def read_process(inputs, emit, talk):
    """Read another process's memory at an address, by its number, in every way there is."""
    for message in _each(talk):
        pid, address, size = message["pid"], message["address"], message["size"]

        def by_call(pid=pid, address=address, size=size):
            class Vector(ctypes.Structure):
                _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

            space = ctypes.create_string_buffer(size)
            here, there = Vector(ctypes.addressof(space), size), Vector(address, size)
            numbers = (pid, ctypes.addressof(here), 1, ctypes.addressof(there), 1, 0)
            _refused(LIBC.syscall(ctypes.c_long(310), *(ctypes.c_long(number) for number in numbers)))
            assert space.raw == b"patient"

        def by_file(pid=pid, address=address, size=size):
            with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
                file.seek(address)
                assert file.read(size) == b"patient"

        talk.reply({"process_vm_readv": outcome(by_call), "/proc": outcome(by_file)})


def misbehave(inputs, emit, talk):
    """Say what is no reply."""
    for message in _each(talk):
        way = message["way"]
        if way == "twice":
            talk.reply({"first": True})
            talk.reply({"second": True})
        elif way == "endless":
            while True:
                talk._sock.send(b'{"again":1}')
        elif way == "silence":
            time.sleep(600)
        elif way == "hang up":
            talk._sock.close()
            time.sleep(600)
        elif way == "crash":
            raise ValueError("the canary in the exception")
        elif way == "return":
            print("enough", flush=True)
            return
        elif way == "segfault":
            ctypes.string_at(8)
        elif way == "descend":
            talk._sock.send(b'{"a":' + b"[" * 60_000 + b"]" * 5_000)
        elif way == "long":
            talk._sock.send(b'{"a":"' + b"x" * 70_000 + b'"}')
        elif way == "empty":
            talk._sock.send(b"")
        else:
            talk._sock.send(message["bytes"].encode("latin-1"))


def never_end(inputs, emit, talk):
    """Answer, and stay when there is nothing more to answer; a daemon stays as well."""
    for message in _each(talk):
        talk.reply(message)
    if os.fork() == 0:
        os.setsid()
    time.sleep(600)


def linger(inputs, emit, talk):
    """Take long to come to an end, and come to it."""
    for message in _each(talk):
        talk.reply(message)
    time.sleep(0.3)
    emit("late.txt", "text/plain", b"but there")


def fill_up(inputs, emit, talk):
    """Touch all of ``up``, and then that much private memory."""
    for message in _each(talk):
        for start in range(0, len(talk.up), 1 << 20):
            talk.up[start : start + 4096] = b"\1" * 4096
            for page in range(start, min(start + (1 << 20), len(talk.up)), 4096):
                talk.up[page] = 1
        kept = []
        for _ in range(message["mib"]):
            kept.append(bytearray(b"\1" * (1 << 20)))
        talk.reply({"mib": len(kept)})


def burn(inputs, emit, talk):
    """Work for that long when asked."""
    for message in _each(talk):
        give_up = time.process_time() + message["seconds"]
        while time.process_time() < give_up:
            pass
        talk.reply({})


def rest(inputs, emit, talk):
    """Sleep for that long when asked."""
    for message in _each(talk):
        time.sleep(message["seconds"])
        talk.reply({})
