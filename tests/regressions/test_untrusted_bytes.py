"""Bytes that once left a parser by another way than its error, or cost far more than their size. Found by tests/fuzz."""

from __future__ import annotations

import json
import os
import socket
import tracemalloc

import numpy as np
import pytest

from trustspace.crypto.canonical import canonical_json, parse_canonical
from trustspace.domain.certificate import ProvenStatement, load
from trustspace.domain.certificate import verify as verify_certificate
from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs import artifacts
from trustspace.jobs.artifacts import parse_csv
from trustspace.jobs.federation import layout_check, model_file
from trustspace.jobs.messages import MAX_PROBLEMS, InvalidJobFile
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.spec import parse_job_file
from trustspace.jobs.tensors import read_tensors
from trustspace.sandbox import protocol
from trustspace.transport.links import SpaceLink


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e999"])
def test_a_certificate_with_a_number_that_is_none(text):
    with pytest.raises(InvalidInput, match="certificate is not well formed"):
        load(b'{"job": ' + text.encode() + b"}")


def test_a_certificate_with_letters_that_no_base64_has():
    from support.cast import Cast

    story = Cast().until("receive")
    whole = story.certificate()
    odd = ProvenStatement(envelope="é", index=0, inclusion=())
    with pytest.raises(VerificationFailed, match="not base64"):
        verify_certificate(whole.model_copy(update={"statements": (odd,)}), story.trust())


@pytest.mark.parametrize("number", ["1e99999999999999999999", "9" * 5000, "-" + "9" * 5000])
def test_a_job_file_with_a_number_beyond_all_bounds(number):
    with pytest.raises(InvalidInput, match="not valid TOML"):
        parse_job_file(f"x = {number}")


def test_a_job_file_of_nothing_but_errors_is_told_in_few_words():
    with pytest.raises(InvalidJobFile) as caught:
        parse_job_file("\n".join(f"x{n} = 1" for n in range(5000)))
    assert len(caught.value.problems) == MAX_PROBLEMS
    assert len(str(caught.value)) < 20_000


@pytest.mark.parametrize("shape", [[0, 2**39, 2**39], [2**39, 2**39, 0]])
def test_a_tensor_without_elements_and_with_sizes_that_no_library_holds(shape):
    def file(sizes):
        text = json.dumps(
            {"w": {"dtype": "F32", "shape": sizes, "data_offsets": [0, 0]}}, separators=(",", ":")
        ).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    assert read_tensors(file([0, 5]))["w"].shape == (0, 5)
    with pytest.raises(VerificationFailed, match="shape that cannot be"):
        read_tensors(file(shape))


def test_a_layout_with_sizes_that_no_library_holds():
    use = {"id": "ward-a", "version": 1, "columns": ["age"]}
    train = {"model": "custom", "target": "y", "positive": "M", "epochs": 1}
    job = Parameters.model_validate({"kind": "train", "datasets": [use], "train": train})
    sound = layout_check(job, [["model.a", [2]], ["model.b", [0, 3]]])
    assert model_file(sound, {}, np.ones(2, np.float32))
    with pytest.raises(VerificationFailed, match="not a tensor"):
        layout_check(job, [["model.a", [2]], ["model.b", [0, 2**39, 2**39]]])


@pytest.mark.parametrize("read", [protocol.receive, protocol.receive_plain])
def test_a_message_of_brackets_is_none_and_leaves_no_descriptor_behind(read):
    left, right = protocol.pair()
    with left, right:
        carried = os.memfd_create("carried")
        try:
            before = len(os.listdir("/proc/self/fd"))
            socket.send_fds(left, [b"[" * 60_000], [carried])
            with pytest.raises(ValueError, match="nested"):
                read(right)
            assert len(os.listdir("/proc/self/fd")) == before
        finally:
            os.close(carried)


def test_the_place_of_a_problem_under_a_long_key_is_short():
    """It was copied for every one of many items: 1 MiB took seconds."""
    data = canonical_json({"k" * 100_000: [[0]] * 1000})
    assert parse_canonical(data, what="It")
    with pytest.raises(InvalidInput) as caught:
        canonical_json({"k" * 100_000: [1.5]})
    assert len(str(caught.value)) < 1000


def test_a_table_of_commas_is_refused_before_it_is_parsed(monkeypatch):
    """A cell takes some thirty times its two bytes."""
    assert parse_csv(b"a\n" + b"1\n" * 90)
    monkeypatch.setattr(artifacts, "MAX_CSV_CELLS", 100)
    data = b"a\n" + b"1\n" * 500_000
    tracemalloc.start()
    try:
        with pytest.raises(VerificationFailed, match="more than 100 cells"):
            parse_csv(data)
        assert tracemalloc.get_traced_memory()[1] < len(data)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", [b"{", b"3", b'{"a":1}', b"[" * 10_000])
def test_a_view_that_is_none(text):
    """A space that answers with something else than a list of JSON."""
    from types import SimpleNamespace

    link = SpaceLink.__new__(SpaceLink)
    link._stub = SimpleNamespace(View=lambda *_, **__: SimpleNamespace(json=text, next=0))
    with pytest.raises(VerificationFailed, match="not of the form"):
        link.view("jobs")
