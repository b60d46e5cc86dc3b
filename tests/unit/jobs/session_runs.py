"""Plays the session of a joint training in this process: a worker in a thread, asked as an enclave would."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pyarrow as pa
from job_runs import NUMBERS, stream

from trustspace.crypto.canonical import canonical_json
from trustspace.jobs.bundle import make_bundle
from trustspace.jobs.federation import bulk_length, layout_check, prepare_length
from trustspace.jobs.programs import SESSIONS
from trustspace.jobs.spec import Parameters
from trustspace.jobs.tensors import write_tensors


def joint_parameters(
    columns: tuple[str, ...] = NUMBERS,
    *,
    units: int = 3,
    federated: Mapping[str, Any] | None = None,
    terms: Mapping[str, Any] | None = None,
    privacy: Mapping[str, Any] | None = None,
    **train: Any,
) -> Parameters:
    """Parameters of a joint training; a logistic regression of ``outcome`` unless told otherwise."""
    section = {"model": "logistic_regression", "target": "outcome", "epochs": 1, **train}
    if not {"positive", "classes", "loss"} & set(section):
        section["positive"] = "M"
    value = {
        "kind": "train",
        "datasets": [{"id": "ward", "version": n + 1, "columns": list(columns)} for n in range(units)],
        "train": section,
        "federated": dict(federated or {}),
        "terms": dict(terms or {}),
        **({"privacy": dict(privacy)} if privacy else {}),
    }
    return Parameters.model_validate(value)


class _Talk:
    def __init__(self, size: int) -> None:
        self.lower, self.upper = bytearray(size), bytearray(size)
        self.down, self.up = memoryview(self.lower).toreadonly(), memoryview(self.upper)
        self.asked: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.answered: queue.Queue[dict[str, Any] | BaseException] = queue.Queue()

    def receive(self) -> dict[str, Any] | None:
        return self.asked.get()

    def reply(self, message: dict[str, Any]) -> None:
        self.answered.put(message)


class Worker:
    """One source unit's worker; a context manager, which ends it."""

    def __init__(
        self,
        job: Parameters,
        table: pa.Table,
        *,
        validation: pa.Table | None = None,
        code: dict[str, str] | None = None,
        **given: bytes,
    ) -> None:
        self.job = job
        inputs = {"parameters": memoryview(canonical_json(job.to_json())), "data": stream(table)}
        if validation is not None:
            inputs["validation"] = stream(validation)
        if code is not None:
            inputs["code"] = memoryview(make_bundle(code))
        inputs |= {name: memoryview(data) for name, data in given.items()}
        self._talk = _Talk(max(8 * bulk_length(job), 8 * prepare_length(job), 4096))
        self._thread = threading.Thread(target=self._play, args=(inputs,))
        self._thread.start()

    def _play(self, inputs: dict[str, memoryview]) -> None:
        emitted: list[str] = []
        try:
            SESSIONS["train_rounds"](inputs, lambda name, *_: emitted.append(name), self._talk)
            assert not emitted, "a session hands out nothing but its answers"
            self._talk.answered.put({"ended": True})
        except BaseException as error:  # for the thread that asks
            self._talk.answered.put(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._talk.asked.put(None)
        self._thread.join()

    def ask(self, message: dict[str, Any] | None, down: bytes = b"") -> dict[str, Any]:
        """Its answer; what the worker raised is raised here."""
        self._talk.lower[: len(down)] = down
        self._talk.asked.put(message)
        answer = self._talk.answered.get(timeout=120)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def up(self, dtype: Any, count: int, offset: int = 0) -> np.ndarray:
        """A copy of what it left."""
        return np.frombuffer(bytes(self._talk.upper), dtype, count, offset=offset * np.dtype(dtype).itemsize)

    def prepare(self) -> np.ndarray:
        """Its numbers of round 0."""
        answer = self.ask({"do": "prepare"})
        assert answer["numbers"] == prepare_length(self.job)
        return self.up(np.float64, answer["numbers"])

    def start(self, platform: Mapping[str, np.ndarray]) -> np.ndarray:
        """Its start weights."""
        data = write_tensors(dict(platform))
        answer = self.ask({"do": "start", "bytes": len(data)}, data)
        self.layout = layout_check(self.job, answer["layout"])
        self.size = answer["parameters"]
        return self.up(np.float32, self.size)

    def round(
        self, number: int, model: np.ndarray, control: np.ndarray | None = None, **more: Any
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
        """Its answer, its update and, with Scaffold, the change of its control variate (else empty)."""
        given = [model.astype(np.float32)] + ([] if control is None else [control.astype(np.float32)])
        answer = self.ask({"do": "round", "round": number, **more}, np.concatenate(given).tobytes())
        update = self.up(np.float32, self.size)
        change = self.up(
            np.float32, self.size if control is not None else 0, self.size if control is not None else 0
        )
        return answer, update, change
