"""The enclave's side of a session: ask a program that stays in its sandbox, one message at a time.

The socket leads from the enclave to the worker, past the launcher, which keeps the clock and reports the end
as for any task. The worker is whoever the job's code makes it: a reply is one JSON object of at most 64 KiB
and no descriptor, and anything else ends the session. Vectors do not travel here but in the channel's memory.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any, Protocol, Self

from trustspace.errors import InvalidTransition, Unavailable
from trustspace.sandbox import protocol
from trustspace.sandbox.task import Result

# What a result may take to arrive after the worker's end, when the time for its reply is over too.
LAST_SECONDS = 2.0


class ConversationEnded(InvalidTransition):
    """The worker ended, or was ended, and nothing more can be asked; ``result`` says how."""

    def __init__(self, result: Result) -> None:
        super().__init__("The program in the sandbox ended before it answered.")
        self.result = result


class Ending(Protocol):
    """What a conversation needs of its task (launcher.Running)."""

    @property
    def number(self) -> int:
        """The task's number with its launcher."""

    def result(self, timeout_seconds: float | None = None) -> Result:
        """Wait for the end. Raises Unavailable without a launcher, TimeoutError when it takes longer."""

    def cancel(self) -> None:
        """End the task now."""


class Conversation:
    """One session; safe to use from any thread, one question at a time.

    Leaving its ``with`` closes it, and by an exception cancels it.

    The caller owns the channel's memory, and the result that ``close`` or ConversationEnded hands out: the
    same one, however often.
    """

    def __init__(self, running: Ending, sock: socket.socket) -> None:
        self._running = running
        self._sock = sock
        self._turn = threading.Lock()
        self._late = False

    @property
    def number(self) -> int:
        """The session's number with its launcher."""
        return self._running.number

    def ask(self, message: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
        """Send one message and wait for the reply to it; what the reply says is the worker's word.

        Raises ConversationEnded when the worker ended; one that sent something else than a single reply is
        ended for it ("failed", "bad-reply"). Raises TimeoutError when the reply takes longer, and from then
        on, since a late reply answers nothing any more: cancel. Raises Unavailable when the launcher is gone,
        ValueError for a message that cannot be sent (more than 64 KiB of JSON, or NaN in it).
        """
        give_up = time.monotonic() + timeout_seconds
        if not self._turn.acquire(timeout=max(0.0, timeout_seconds)):
            raise TimeoutError("another question is being asked")
        try:
            if self._late:
                raise TimeoutError("an earlier question was not answered in time")
            self._refuse_the_unasked()
            reply = self._exchange(message, give_up)
            if reply is None:
                # A worker that has closed its socket and lives on is one that does not answer.
                left = max(LAST_SECONDS, give_up - time.monotonic())
                raise ConversationEnded(result=self._running.result(left))
        except TimeoutError:
            self._late = True
            raise
        finally:
            self._turn.release()
        return reply

    def _refuse_the_unasked(self) -> None:
        """A message that is there before we asked is nobody's reply."""
        try:
            self._sock.settimeout(0)
            unasked = protocol.receive_plain(self._sock) is not None
        except ValueError:
            unasked = True
        except OSError:
            # Nothing there; or there is nobody, which asking will show.
            return
        if unasked:
            raise self._end_for_bad_reply()

    def _exchange(self, message: dict[str, Any], give_up: float) -> dict[str, Any] | None:
        try:
            # Never 0, which would mean not to wait at all and not to say TimeoutError.
            self._sock.settimeout(max(0.001, give_up - time.monotonic()))
            protocol.send_plain(self._sock, message)
        except TimeoutError:
            raise
        except OSError:
            return None
        try:
            self._sock.settimeout(max(0.001, give_up - time.monotonic()))
            return protocol.receive_plain(self._sock)
        except TimeoutError:
            raise
        except OSError:
            return None
        except ValueError:
            raise self._end_for_bad_reply() from None

    def _end_for_bad_reply(self) -> ConversationEnded:
        self._running.cancel()
        ended = self._running.result()
        # However it ended in the meantime.
        ended.close()
        ended.status, ended.reason = "failed", "bad-reply"
        return ConversationEnded(result=ended)

    def cancel(self) -> None:
        """End the session now; its result says "killed" with the reason "cancelled"."""
        self._running.cancel()

    def close(self, timeout_seconds: float = 10.0) -> Result:
        """Say that there is nothing more to ask, and wait for the end; kill a worker that takes longer.

        The worker's ``receive`` says None. Calling it again, or after the end, returns the same result. Raises
        Unavailable when the launcher is gone.
        """
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        try:
            try:
                return self._running.result(timeout_seconds)
            except TimeoutError:
                self._running.cancel()
                return self._running.result()
        finally:
            # The worker is dead: whoever is still asking hears of it and makes way.
            with self._turn:
                self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.cancel()
        with contextlib.suppress(Unavailable):
            self.close()
