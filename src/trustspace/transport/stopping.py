"""How a server waits to be told to stop."""

from __future__ import annotations

import signal
import threading

_LOOK_SECONDS = 0.5


def stop_on_signals(stop: threading.Event) -> None:
    """From now on SIGTERM and SIGINT set ``stop``; for the main thread."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())


def wait_until(stop: threading.Event) -> None:
    """Wait in the main thread for ``stop``, which a signal may set.

    Python handles signals in the main thread alone, and only once that runs again. A signal that another thread takes,
    or that comes just as the wait begins, does not end a wait without end: so this one wakes up to look.
    """
    while not stop.wait(_LOOK_SECONDS):
        pass
