"""A job that asks for a GPU: how it says so, and that it is not quietly trained without one."""

import pytest
from job_runs import parameters, patients, run
from pydantic import ValidationError

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs import training
from trustspace.jobs.spec import Parameters


def test_what_is_signed_says_it_only_when_it_is_asked_for():
    assert "gpu" not in parameters().to_json()["limits"]
    assert parameters(limits={"gpu": True}).to_json()["limits"]["gpu"] is True


def test_equal_jobs_have_equal_bytes():
    assert parameters(limits={"gpu": False}) == parameters()
    signed = parameters(limits={"gpu": True}).to_json()
    assert Parameters.from_json(signed).to_json() == signed
    with pytest.raises(VerificationFailed):
        Parameters.from_json({**signed, "limits": {**signed["limits"], "gpu": False}})


@pytest.mark.parametrize("value", [1, 0, "yes"])
def test_nothing_but_true_and_false(value):
    with pytest.raises(ValidationError):
        parameters(limits={"gpu": value})


def test_without_a_gpu_in_the_sandbox_the_job_fails(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidInput, match="there is none in its sandbox"):
        run("train", parameters(limits={"gpu": True}), patients(64))


def test_the_processor_is_where_a_job_runs_that_did_not_ask(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert training.training_device(parameters()).type == "cpu"
    assert training.training_device(parameters(limits={"gpu": True})).type == "cuda"


def test_a_model_without_weights_is_on_the_processor():
    from torch import nn

    assert training.device_of(nn.ReLU()).type == "cpu"
    assert training.device_of(nn.Linear(1, 1)).type == "cpu"
    assert training.device_of(nn.Linear(1, 1).to("meta")).type == "meta"
