"""Checkpoints: sealed, two of them, whole or not at all; and the transcript that an output names."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from trustspace.enclave import checkpoint as module
from trustspace.enclave.checkpoint import Checkpoints, clear, jobs
from trustspace.enclave.transcript import Transcript, read_transcript
from trustspace.errors import Unavailable, VerificationFailed

JOB = "ab" * 32
KEY = bytes(range(32))
FACTS = {"run": "cd" * 32, "history": [{"loss": "0.500000"}]}


def arrays(seed: int = 1, size: int = 700_000) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {"model": draw.normal(size=size).astype(np.float32), "server/first": np.zeros(3, np.float32)}


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "rounds", JOB, KEY)


def files(kept: Checkpoints) -> list[str]:
    return sorted(path.name.removeprefix(f"{JOB}.") for path in kept._directory.iterdir())


def test_what_is_kept_comes_back(kept):
    given = arrays()
    kept.save(4, FACTS, given)
    found = kept.load(4)
    assert (found.round, found.facts) == (4, FACTS)
    assert {n: a.tobytes() for n, a in found.arrays.items()} == {n: a.tobytes() for n, a in given.items()}


def test_the_last_two_are_kept(kept):
    for number in range(1, 6):
        kept.save(number, FACTS, arrays(number, 10))
    assert kept.rounds() == (5, 4)
    assert files(kept) == ["checkpoint-4", "checkpoint-5"]


def test_going_back_forgets_what_lay_ahead(kept):
    """A run that resumed two rounds earlier must not leave a later state of another history behind."""
    for number in (4, 5, 3):
        kept.save(number, FACTS, arrays(number, 10))
    assert kept.rounds() == (3,)


def test_nothing_of_it_lies_there_in_the_clear(kept):
    given = {"model": np.full(4096, 1.25, np.float32)}
    kept.save(1, {"secret": "a very telling word"}, given)
    content = (kept._directory / f"{JOB}.checkpoint-1").read_bytes()
    assert b"telling" not in content
    assert np.float32(1.25).tobytes() * 4 not in content
    # Control: both are what is sealed.
    assert b"telling" in b"".join(module._content(b'{"secret":"a very telling word"}', given))


def test_another_key_opens_nothing(kept):
    kept.save(1, FACTS, arrays())
    other = Checkpoints(kept._directory, JOB, bytes(32))
    assert other.rounds() == ()
    with pytest.raises(VerificationFailed):
        other.load(1)


def test_one_round_cannot_pass_for_another(kept):
    kept.save(1, FACTS, arrays())
    os.rename(kept._directory / f"{JOB}.checkpoint-1", kept._directory / f"{JOB}.checkpoint-2")
    with pytest.raises(VerificationFailed):
        kept.load(2)


@pytest.mark.parametrize("cut", [1, 100, 1 << 20])
def test_a_cut_off_file_is_refused(kept, cut):
    kept.save(1, FACTS, arrays())
    path = kept._directory / f"{JOB}.checkpoint-1"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(VerificationFailed):
        kept.load(1)


def test_a_full_disk_leaves_what_was_there(kept, monkeypatch):
    kept.save(1, FACTS, arrays())

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable):
        kept.save(2, FACTS, arrays(2))
    assert files(kept) == ["checkpoint-1"]
    assert kept.load(1).round == 1


def test_ended_jobs_leave_nothing(kept):
    kept.save(1, FACTS, arrays(1, 10))
    assert jobs(kept._directory) == {JOB}
    clear(kept._directory, JOB)
    assert jobs(kept._directory) == set()
    assert files(kept) == []


def test_a_transcript_leads_back_to_its_beginning(tmp_path):
    transcript = Transcript(tmp_path, JOB)
    for number in range(4):
        transcript.add({"round": number})
    content = (tmp_path / f"{JOB}.transcript").read_bytes()
    assert [r["round"] for r in read_transcript(content, transcript.digest)] == [0, 1, 2, 3]


def test_a_transcript_passes_over_what_a_restart_repeated(tmp_path):
    transcript = Transcript(tmp_path, JOB)
    transcript.add({"round": 0})
    kept = transcript.digest
    transcript.add({"round": 1, "attempt": 1})
    again = Transcript(tmp_path, JOB, kept)
    again.add({"round": 1, "attempt": 2})
    content = (tmp_path / f"{JOB}.transcript").read_bytes()
    assert [r.get("attempt") for r in read_transcript(content, again.digest)] == [None, 2]


@pytest.mark.parametrize("change", [lambda lines: lines[1:], lambda lines: [lines[0], b"{}", *lines[2:]]])
def test_a_changed_transcript_is_noticed(tmp_path, change):
    transcript = Transcript(tmp_path, JOB)
    for number in range(3):
        transcript.add({"round": number, "members": ["a", "b", "c"]})
    lines = (tmp_path / f"{JOB}.transcript").read_bytes().splitlines()
    assert json.loads(lines[2])["round"] == 2
    with pytest.raises(VerificationFailed):
        read_transcript(b"\n".join(change(lines)), transcript.digest)
