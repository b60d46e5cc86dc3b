"""Stay longer than allowed: burn the processor with children that ignore signals, or stop oneself for ever."""

import contextlib
import os
import signal
import time


def run(inputs, outputs):
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    print("here to stay", flush=True)
    if inputs.arguments["what"] == "stopped":
        with contextlib.suppress(OSError):
            os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(600)
    with contextlib.suppress(OSError):
        os.fork()
    while True:
        pass
