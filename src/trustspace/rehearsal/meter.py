"""What every sandbox of a rehearsal used, noted on its way from the launcher to the enclave's code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from trustspace.sandbox.conversation import Conversation, ConversationEnded, Ending
from trustspace.sandbox.launcher import Launcher
from trustspace.sandbox.task import Channel, Result, Task


@dataclass(frozen=True)
class Used:
    """One sandbox's end: time in ms, most memory in bytes (0: could not be counted), bytes that it printed."""

    program: str
    status: str
    reason: str
    wall_ms: int
    peak_bytes: int
    log: bytes
    log_bytes: int


class Meter:
    """Passes tasks on to a launcher and keeps how they ended."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._seen: list[Result] = []
        self.used: list[Used] = []

    def as_launcher(self) -> Launcher:
        """This, where the enclave's code wants its launcher: it starts tasks and sessions there, and no more."""
        return cast(Launcher, self)

    def submit(self, task: Task) -> _Task:
        """See ``Launcher``."""
        return _Task(self, task.program, self._launcher.submit(task))

    def open(self, task: Task, channel: Channel) -> _Session:
        """See ``Launcher``."""
        return _Session(self, task.program, self._launcher.open(task, channel))

    def note(self, program: str, result: Result) -> Result:
        """Keep a result, once however often it is handed out."""
        if not any(result is seen for seen in self._seen):
            self._seen.append(result)
            self.used.append(
                Used(
                    program, result.status, result.reason, result.wall_ms, result.peak_bytes, result.log,
                    result.log_bytes,
                )
            )  # fmt: skip
        return result


class _Task:
    def __init__(self, meter: Meter, program: str, running: Ending) -> None:
        self._meter, self._program, self._running = meter, program, running

    def result(self, timeout_seconds: float | None = None) -> Result:
        return self._meter.note(self._program, self._running.result(timeout_seconds))

    def cancel(self) -> None:
        self._running.cancel()


class _Session:
    def __init__(self, meter: Meter, program: str, talk: Conversation) -> None:
        self._meter, self._program, self._talk = meter, program, talk

    def ask(self, message: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
        try:
            return self._talk.ask(message, timeout_seconds)
        except ConversationEnded as ended:
            self._meter.note(self._program, ended.result)
            raise

    def cancel(self) -> None:
        self._talk.cancel()

    def close(self, timeout_seconds: float = 10.0) -> Result:
        return self._meter.note(self._program, self._talk.close(timeout_seconds))
