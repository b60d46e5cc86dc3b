"""A job that asks for a GPU: refused before anything is opened where there is none; counting and judging take none."""

from types import SimpleNamespace

import pytest

from trustspace.enclave import run
from trustspace.enclave.failure import Control, RunError
from trustspace.jobs.spec import Parameters


def parameters(limits):
    return Parameters.model_validate(
        {
            "kind": "train",
            "datasets": [{"id": "ward-a", "version": 1, "columns": ["size"]}],
            "train": {"model": "logistic_regression", "target": "outcome", "epochs": 1, "positive": "M"},
            "limits": limits,
        }
    )


class Opened(Exception):
    pass


def execute(monkeypatch, limits, gpus):
    def opened(*_):
        raise Opened

    monkeypatch.setattr(run, "agreed_parameters", lambda *_: parameters(limits))
    monkeypatch.setattr(run, "open_code", opened)
    order = SimpleNamespace(job=SimpleNamespace(body=None), dataset=None)
    host = SimpleNamespace(launcher=SimpleNamespace(details={"gpus": gpus}), store=None)
    run.execute(order, host, Control())


def test_where_there_is_no_gpu_nothing_is_opened(monkeypatch):
    with pytest.raises(RunError) as raised:
        execute(monkeypatch, {"gpu": True}, "none")
    assert raised.value.reason == "not-opened"
    assert b"GPU" in raised.value.log


@pytest.mark.parametrize(("limits", "gpus"), [({"gpu": True}, "0"), ({}, "none"), ({}, "0")])
def test_any_other_job_goes_on(monkeypatch, limits, gpus):
    with pytest.raises(Opened):
        execute(monkeypatch, limits, gpus)


@pytest.mark.parametrize("limits", [{"gpu": True}, {}])
def test_only_the_job_s_own_program_has_it(limits):
    made = run._Run(
        SimpleNamespace(job=SimpleNamespace(body=SimpleNamespace(blind=None)), past=None), None, Control(), parameters(limits),
        b"", SimpleNamespace(train=_table(), training=SimpleNamespace(patients=[0])), _Stack(),
    )  # fmt: skip
    assert made._limits.gpu is bool(limits)
    assert made._without_gpu.gpu is False
    assert made._without_gpu.wall_seconds == made._limits.wall_seconds


def _table():
    import pyarrow as pa

    return pa.table({"size": [1.0]})


class _Stack:
    """Keeps nothing open for longer than the test."""

    def enter_context(self, manager):
        with manager as value:
            return value
