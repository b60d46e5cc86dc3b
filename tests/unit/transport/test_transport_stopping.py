"""A server ends when it is told to, whichever of its threads the signal finds."""

import subprocess
import sys

import pytest

# Another thread takes the signal, as the system may have it: Python then only notes it, for the main thread to handle.
PROGRAM = """
import signal, sys, threading, time
from trustspace.transport.stopping import stop_on_signals, wait_until

stop = threading.Event()
stop_on_signals(stop)

def told():
    time.sleep(0.5)
    signal.pthread_kill(threading.get_ident(), signal.SIG{name})
    time.sleep(600)

threading.Thread(target=told, daemon=True).start()
{wait}
print("stopped")
"""


def started(wait, name="TERM"):
    program = PROGRAM.format(wait=wait, name=name)
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_a_signal_that_another_thread_takes_is_heard(name):
    with started("wait_until(stop)", name) as process:
        try:
            said, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, said) == (0, "stopped\n")


def test_the_control_a_wait_without_end_never_hears_it():
    with started("stop.wait()") as process:
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                process.communicate(timeout=3)
        finally:
            process.kill()
