"""Programs that test sandboxes: each tries something a job should not be able to, and says how it went.

Every one also runs unsandboxed, as the same user, as its own positive control. Findings go out as the
artifact ``finding.json``.
"""

import contextlib
import ctypes
import errno
import json
import mmap
import os
import platform
import signal
import socket
import stat
import sys
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)


def parameters(inputs):
    return json.loads(bytes(inputs["parameters"]))


def say(emit, finding):
    emit("finding.json", "application/json", json.dumps(finding, sort_keys=True).encode())


def outcome(action):
    """ "worked", or the name of the error."""
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
    except ValueError as error:
        # What resource.setrlimit makes of EPERM.
        return str(error)
    except MemoryError:
        return "MemoryError"
    return "worked"


def raw(number, *arguments):
    result = LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(argument) for argument in arguments))
    return result, (errno.errorcode.get(ctypes.get_errno()) if result < 0 else "worked")


def nothing(inputs, emit):
    """The quiet one."""


def echo(inputs, emit):
    emit("echo.bin", "application/octet-stream", bytes(inputs["data"]))


def where(inputs, emit):
    say(emit, {"uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "pid": os.getpid(),
               "host": platform.node(), "cwd": os.getcwd(), "environment": sorted(os.environ), "argv": sys.argv,
               "prefix": sys.prefix, "path": sys.path})  # fmt: skip


def families(inputs, emit):
    kinds = {
        "inet": (socket.AF_INET, socket.SOCK_STREAM),
        "inet6": (socket.AF_INET6, socket.SOCK_DGRAM),
        "unix": (socket.AF_UNIX, socket.SOCK_STREAM),
        "netlink": (socket.AF_NETLINK, socket.SOCK_RAW),
        "vsock": (socket.AF_VSOCK, socket.SOCK_STREAM),
        "packet": (socket.AF_PACKET, socket.SOCK_DGRAM),
        "alg": (socket.AF_ALG, socket.SOCK_SEQPACKET),
    }
    say(emit, {name: outcome(lambda kind=kind: socket.socket(*kind).close()) for name, kind in kinds.items()})


def read_files(inputs, emit):
    def read(path):
        with open(path, "rb") as file:
            file.read(1)

    say(emit, {path: outcome(lambda path=path: read(path)) for path in parameters(inputs)["paths"]})


def list_directories(inputs, emit):
    say(emit, {path: outcome(lambda path=path: os.listdir(path)) for path in parameters(inputs)["paths"]})


def find_canary(inputs, emit):
    """Look for a word in every environment and command line there is to see."""
    word = parameters(inputs)["reversed"][::-1].encode()
    found = [f"own:{name}" for name, value in os.environb.items() if word in name + value]
    pids = [name for name in (os.listdir("/proc") if os.path.isdir("/proc") else []) if name.isdigit()]
    for pid in pids:
        for name in ("environ", "cmdline"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
                if word in file.read():
                    found.append(f"{pid}:{name}")
    alive = 0
    for pid in range(1, 70000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        except PermissionError:
            pass
        alive += 1
    say(emit, {"found": found, "pids": len(pids), "alive": alive})


def write_everywhere(inputs, emit):
    def write(folder):
        path = f"{folder}/trustspace-probe-{os.getpid()}"
        with open(path, "wb") as file:
            file.write(b"x")
        os.unlink(path)

    say(
        emit,
        {folder: outcome(lambda folder=folder: write(folder)) for folder in parameters(inputs)["folders"]},
    )


def fill(inputs, emit):
    """Write a file until it does not grow; say how far that went."""
    wanted = parameters(inputs)
    written = 0
    with (
        contextlib.suppress(OSError),
        open(f"{wanted['folder']}/big-{os.getpid()}", "wb", buffering=0) as file,
    ):
        os.unlink(file.name)
        while written < wanted["bytes"]:
            written += file.write(b"\1" * min(1 << 20, wanted["bytes"] - written))
    say(emit, written)


def namespaces_by_clone(inputs, emit):
    new_user = 0x10000000
    child, word = raw(56, new_user | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    if child > 0:
        os.waitpid(child, 0)
    say(emit, {"clone": word, "clone3": raw(435, 0, 0)[1]})


def raise_limits(inputs, emit):
    import resource

    finding = {}
    for name in ("RLIMIT_CORE", "RLIMIT_NOFILE"):
        number = getattr(resource, name)
        _, hard = resource.getrlimit(number)
        finding[name] = outcome(lambda number=number, hard=hard: resource.setrlimit(number, (0, hard)))
    for name in ("RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_NPROC"):
        number = getattr(resource, name)
        _, hard = resource.getrlimit(number)
        more = resource.RLIM_INFINITY if hard == resource.RLIM_INFINITY else hard + 1
        finding[name] = outcome(lambda number=number, more=more: resource.setrlimit(number, (more, more)))
    say(emit, finding)


def _machine_code(code):
    everything = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    page = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=everything)
    page.write(code)
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page))), page


def descriptors(inputs, emit):
    names = {stat.S_IFSOCK: "socket", stat.S_IFREG: "file", stat.S_IFIFO: "pipe", stat.S_IFCHR: "device"}
    kinds = {}
    for number in range(1024):
        with contextlib.suppress(OSError):
            kinds[number] = names.get(stat.S_IFMT(os.fstat(number).st_mode), "other")
    say(emit, kinds)


def fork_many(inputs, emit):
    """Start processes until it is refused; say how many there were."""
    children = []
    with contextlib.suppress(OSError):
        while len(children) < parameters(inputs)["wanted"]:
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            children.append(child)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    say(emit, len(children))


def start_threads(inputs, emit):
    stop = threading.Event()
    threads = []
    with contextlib.suppress(RuntimeError):
        while len(threads) < parameters(inputs)["wanted"]:
            thread = threading.Thread(target=stop.wait, daemon=True)
            thread.start()
            threads.append(thread)
    stop.set()
    say(emit, len(threads))


def take_memory(inputs, emit):
    """Touch that many MiB of one kind of memory; say how many were got."""
    wanted = parameters(inputs)
    got, kept = 0, []
    try:
        if wanted["kind"] == "memfd":
            # Several, each below the limit on the size of a file.
            while got < wanted["mib"]:
                if got % 16 == 0:
                    kept.append(os.memfd_create("bomb"))
                os.write(kept[-1], b"\1" * (1 << 20))
                got += 1
        elif wanted["kind"] == "zero":
            with open("/dev/zero", "r+b") as zero:
                while got < wanted["mib"]:
                    kept.append(mmap.mmap(zero.fileno(), 1 << 20, flags=mmap.MAP_SHARED))
                    kept[-1].write(b"\1" * (1 << 20))
                    got += 1
        else:
            flags = mmap.MAP_SHARED if wanted["kind"] == "shared" else mmap.MAP_PRIVATE
            while got < wanted["mib"]:
                piece = mmap.mmap(-1, 1 << 20, flags=flags | mmap.MAP_ANONYMOUS)
                piece.write(b"\1" * (1 << 20))
                kept.append(piece)
                got += 1
    except (OSError, MemoryError, ValueError) as error:
        print("refused:", type(error).__name__)
    say(emit, got)


def hand_out(inputs, emit):
    emit("big.bin", "application/octet-stream", b"\7" * parameters(inputs)["bytes"])


def _output_descriptor():
    """The memory that this process is to write its output to: writable, regular, unlinked."""
    import fcntl

    for number in range(3, 64):
        with contextlib.suppress(OSError):
            if stat.S_ISREG(os.fstat(number).st_mode) and fcntl.fcntl(number, fcntl.F_GETFL) & os.O_RDWR:
                return number
    raise RuntimeError("no output here")


def grow_output(inputs, emit):
    output = _output_descriptor()
    size = os.fstat(output).st_size
    say(emit, {"size": size, "sparse": outcome(lambda: os.ftruncate(output, 1 << 40)),
               "one more": outcome(lambda: os.ftruncate(output, size + 1)),
               "write after": outcome(lambda: os.pwrite(output, b"x", size))})  # fmt: skip


def change_input(inputs, emit):
    """Write to an input through every way there is."""
    finding = {}
    for number in range(3, 64):
        with contextlib.suppress(OSError):
            if os.pread(number, 8, 0) == b"original":
                finding["write"] = outcome(lambda number=number: os.pwrite(number, b"X", 0))
                finding["truncate"] = outcome(lambda number=number: os.ftruncate(number, 1))
                finding["map"] = outcome(lambda number=number: mmap.mmap(number, 4, prot=mmap.PROT_WRITE))
    try:
        inputs["data"][0] = 0
        finding["view"] = "worked"
    except TypeError:
        finding["view"] = "TypeError"
    say(emit, finding)


def _detach():
    """Fork twice into a session of its own: True in the daemon."""
    if os.fork():
        return False
    os.setsid()
    if os.fork():
        os._exit(0)
    return True


def leave_a_daemon(inputs, emit):
    """End properly, and leave something behind that keeps writing to the output."""
    wanted = parameters(inputs)
    if _detach():
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        output = _output_descriptor() if wanted["output"] else None
        page = mmap.mmap(output, 4096) if output is not None else None
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            if page is not None:
                page[64] = (page[64] + 1) % 256
            time.sleep(0.001)
        os._exit(0)
    time.sleep(0.2)
    emit("done.txt", "text/plain", b"\0" * 8192)


def sleep_for_ever(inputs, emit):
    if _detach():
        time.sleep(600)
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("sleeping", flush=True)
    time.sleep(600)


def burn(inputs, emit):
    while True:
        pass


def end_badly(inputs, emit):
    way = parameters(inputs)["way"]
    if way == "exception":
        raise ValueError("the canary in the exception")
    if way == "exit":
        sys.exit(3)
    if way == "quiet exit":
        sys.exit(0)
    if way == "os._exit":
        os._exit(0)
    if way == "segfault":
        ctypes.string_at(8)
    if way == "abort":
        os.abort()
    if way == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if way == "close everything":
        os.closerange(0, 256)
        raise ValueError


def chatter(inputs, emit):
    for _ in range(parameters(inputs)["kib"]):
        sys.stdout.write("x" * 1023 + "\n")


def when(inputs, emit):
    """When it ran, on the clock that all processes of the host share."""
    started = time.monotonic()
    time.sleep(parameters(inputs)["seconds"])
    say(emit, [started, time.monotonic()])


def libraries(inputs, emit):
    """What the runtime is for."""
    import numpy
    import pyarrow
    import pydantic
    import torch
    from safetensors.torch import save

    torch.manual_seed(7)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(2 * 36, 1))
    rate = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        loss = model(torch.ones(4, 1, 8, 8)).square().mean()
        rate.zero_grad()
        loss.backward()
        rate.step()
    assert pyarrow.table({"a": [1, 2]}).num_rows == 2
    assert numpy.linalg.norm(numpy.ones(4)) == 2
    assert pydantic.VERSION
    emit("model.safetensors", "application/x-safetensors", save(model.state_dict()))


def helpers(inputs, emit):
    """Pools, queues and event loops: ordinary Python that an honest job may use."""
    import asyncio
    import multiprocessing

    asyncio.run(asyncio.sleep(0.01))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        say(emit, pool.map(abs, [-1, -2, -3]))
