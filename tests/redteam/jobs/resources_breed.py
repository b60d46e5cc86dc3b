"""Start processes or threads until it is refused, or until there are 150 of them."""

import contextlib
import os
import signal
import threading
import time

WANTED = 150


def processes():
    children = []
    with contextlib.suppress(OSError):
        while len(children) < WANTED:
            child = os.fork()
            if child == 0:
                time.sleep(600)
                os._exit(0)
            children.append(child)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return len(children)


def threads():
    stop, started = threading.Event(), 0
    with contextlib.suppress(RuntimeError):
        while started < WANTED:
            threading.Thread(target=stop.wait, daemon=True).start()
            started += 1
    stop.set()
    return started


def run(inputs, outputs):
    count = {"processes": processes, "threads": threads}[inputs.arguments["what"]]()
    detail = f"{count} {inputs.arguments['what']} at once"
    outputs.json("finding.json", {"worked": count >= WANTED, "detail": detail})
