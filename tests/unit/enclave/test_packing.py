"""Packing: three source units of three reviewers each, two of whom must agree. Fewer open nothing."""

import itertools

import pytest
from support.cast import Cast, digest

from trustspace.crypto.canonical import verify_commitment
from trustspace.crypto.padding import size_class, unpad
from trustspace.crypto.seal import open_bytes
from trustspace.crypto.shares import combine, decode_share, encode_share
from trustspace.domain.binding import EVIDENCE, artifact_context, share_binding
from trustspace.enclave.packing import Content, Run, pack_artifact, pack_evidence
from trustspace.errors import InvalidInput, TrustspaceError, VerificationFailed

SECRET = b"s" * 32
WEIGHTS = b"weights of a model" * 50


class Sealed:
    """An artifact of three source units, and what each reviewer can do with it."""

    def __init__(self, units=3, reviewers=3, threshold=2, content=WEIGHTS):
        self.cast = Cast(units, reviewers, threshold).until("countersign")
        self.grants = {u.fingerprint: self.cast.grant_body(u) for u in self.cast.units}
        self.run = Run(self.cast.job.statement, digest("run"), self.grants)
        everybody = tuple(self.grants)
        self.content = Content("model.safetensors", "application/x-safetensors", "model", content, everybody)
        self.artifact, self.blob = pack_artifact(SECRET, self.run, self.content)

    def sealed_share(self, unit, reviewer):
        key = self.cast.units[unit].public(f"review-{reviewer}")
        holder = next(u for u in self.artifact.units if u.source_unit == self.cast.units[unit].fingerprint)
        return next(s for s in holder.shares if s.reviewer == key)

    def info(self, unit, number, **changes):
        values = {
            "job": self.run.job, "run": self.run.run, "artifact": self.content.name,
            "source_unit": self.cast.units[unit].fingerprint,
            "reviewer": self.cast.units[unit].public(f"review-{number}"),
        }  # fmt: skip
        return share_binding(**{**values, **changes})

    def share(self, unit, reviewer):
        """A reviewer's share, opened and checked against its commitment."""
        sealed = self.sealed_share(unit, reviewer)
        keys = self.cast.units[unit].keys
        package = keys.open(
            f"review-open-{reviewer}", bytes.fromhex(sealed.sealed), self.info(unit, reviewer)
        )
        verify_commitment(sealed.commitment, package[32:], package[:32])
        return decode_share(package[32:])

    def unit_share(self, unit, reviewers, threshold=2):
        return decode_share(combine([self.share(unit, r) for r in reviewers], threshold))

    def open(self, units, reviewers=(1, 2), threshold=2, unit_threshold=None):
        """What these units' reviewers get out of the ciphertext together."""
        shares = [self.unit_share(unit, reviewers, threshold) for unit in units]
        key = combine(shares, unit_threshold or self.artifact.unit_threshold)
        context = artifact_context(self.run.job, self.run.run, self.content.name)
        content = unpad(open_bytes(key, context, self.blob.data))
        verify_commitment(self.artifact.commitment, content[32:], content[:32])
        return content[32:]


@pytest.fixture(scope="module")
def sealed():
    return Sealed()


def test_all_units_with_any_two_reviewers_each_open_it(sealed):
    for reviewers in itertools.permutations((1, 2, 3), 2):
        assert sealed.open((0, 1, 2), reviewers) == WEIGHTS
    assert sealed.open((2, 0, 1), (3, 1, 2)) == WEIGHTS


@pytest.mark.parametrize("units", [(0,), (0, 1), (1, 2), (0, 2)])
def test_no_two_units_open_it_without_the_third(sealed, units):
    with pytest.raises(InvalidInput, match="needed"):
        sealed.open(units)
    # Nor by counting wrong: what comes out is no key of this ciphertext.
    with pytest.raises(VerificationFailed):
        sealed.open(units, unit_threshold=len(units))


@pytest.mark.parametrize("reviewer", [1, 2, 3])
def test_no_reviewer_stands_for_the_whole_unit(sealed, reviewer):
    with pytest.raises(InvalidInput, match="needed"):
        sealed.unit_share(0, (reviewer,))
    with pytest.raises(TrustspaceError):
        sealed.open((0, 1, 2), (reviewer,), threshold=1)
    with pytest.raises(InvalidInput, match="same index"):
        sealed.unit_share(0, (reviewer, reviewer))


def test_one_of_one_is_enough_where_the_grant_says_so():
    alone = Sealed(units=1, reviewers=1, threshold=1)
    assert alone.artifact.unit_threshold == 1
    assert alone.open((0,), (1,), threshold=1) == WEIGHTS


def test_a_share_opens_for_its_reviewer_alone(sealed):
    share = sealed.sealed_share(0, 1)
    for unit, reviewer in [(0, 2), (1, 1), (2, 3)]:
        with pytest.raises(VerificationFailed):
            sealed.cast.units[unit].keys.open(
                f"review-open-{reviewer}", bytes.fromhex(share.sealed), sealed.info(0, 1)
            )


@pytest.mark.parametrize("field", ["job", "run", "artifact", "source_unit", "reviewer"])
def test_a_share_opens_for_its_run_and_artifact_alone(sealed, field):
    share = bytes.fromhex(sealed.sealed_share(0, 1).sealed)
    keys = sealed.cast.units[0].keys
    assert keys.open("review-open-1", share, sealed.info(0, 1))
    with pytest.raises(VerificationFailed):
        keys.open("review-open-1", share, sealed.info(0, 1, **{field: digest("other")}))


def test_a_share_that_was_swapped_is_found_by_its_commitment(sealed):
    """Positive control: without the commitment two wrong shares give a key, and nobody knows whose fault it is."""
    good, other = sealed.share(0, 1), sealed.share(1, 1)
    assert good.index == other.index
    with pytest.raises(VerificationFailed):
        verify_commitment(sealed.sealed_share(0, 1).commitment, encode_share(other), b"\0" * 32)
    assert combine([other, sealed.share(0, 2)], 2) != combine([good, sealed.share(0, 2)], 2)


def test_every_artifact_has_a_key_of_its_own(sealed):
    """Approving one opens one."""
    metrics = Content("metrics.json", "application/json", "metrics", b"{}", sealed.content.units)
    other, blob = pack_artifact(SECRET, sealed.run, metrics)
    shares = [sealed.unit_share(unit, (1, 2)) for unit in range(3)]
    key = combine(shares, 3)
    with pytest.raises(VerificationFailed):
        open_bytes(key, artifact_context(sealed.run.job, sealed.run.run, "metrics.json"), blob.data)
    for one, two in zip(sealed.artifact.units, other.units, strict=True):
        assert {s.commitment for s in one.shares}.isdisjoint(s.commitment for s in two.shares)


def test_a_log_is_its_own_units_alone(sealed):
    unit = sealed.cast.units[1].fingerprint
    log, _ = pack_artifact(SECRET, sealed.run, Content("run.log", "text/plain", "log", b"a name", (unit,)))
    assert (log.unit_threshold, [u.source_unit for u in log.units]) == (1, [unit])
    assert {s.reviewer for s in log.units[0].shares} == {r.review for r in sealed.grants[unit].reviewers}


@pytest.mark.parametrize("size", [0, 1, 3000, 4096, 70_000, 1_500_000])
def test_sizes_show_a_class_and_nothing_finer(size):
    one = Sealed(1, 1, 1, b"a" * size)
    assert one.open((0,), (1,), 1) == b"a" * size
    assert one.artifact.sealed_bytes == len(one.blob.data)
    # As large as anything else of its class, the largest of it for one.
    largest = size_class(8 + 32 + size) - 8 - 32
    assert len(Sealed(1, 1, 1, b"b" * largest).blob.data) == len(one.blob.data)


def test_small_outputs_of_different_length_are_one_size():
    sizes = {len(Sealed(1, 1, 1, b"a" * n).blob.data) for n in (0, 1, 100, 3000)}
    assert len(sizes) == 1


def test_nothing_published_confirms_a_guess(sealed):
    """The content of a small output can be guessed; neither its hash nor the commitment without the salt fits."""
    import hashlib
    import json

    published = json.dumps(sealed.artifact.model_dump(mode="json")).encode() + sealed.blob.data
    assert hashlib.sha256(WEIGHTS).hexdigest().encode() not in published
    assert WEIGHTS not in published
    with pytest.raises(VerificationFailed):
        verify_commitment(sealed.artifact.commitment, WEIGHTS, bytes(32))


def test_equal_contents_of_two_runs_look_unrelated(sealed):
    again, blob = pack_artifact(b"t" * 32, sealed.run, sealed.content)
    assert again.commitment != sealed.artifact.commitment
    assert blob.digest != sealed.blob.digest
    other_run = Run(sealed.run.job, digest("another run"), sealed.run.grants)
    again, blob = pack_artifact(SECRET, other_run, sealed.content)
    assert again.commitment != sealed.artifact.commitment


def test_enclaves_that_agree_on_the_secret_pack_the_same_bytes(sealed):
    """But for the sealing of the shares, which is random; their commitments say they are the same."""
    again, blob = pack_artifact(SECRET, sealed.run, sealed.content)
    assert blob == sealed.blob
    strip = {"sealed": ""}
    for one, two in zip(sealed.artifact.units, again.units, strict=True):
        assert [s.model_copy(update=strip) for s in one.shares] == [
            s.model_copy(update=strip) for s in two.shares
        ]
        assert {s.sealed for s in one.shares}.isdisjoint(s.sealed for s in two.shares)
    assert again.model_copy(update={"units": ()}) == sealed.artifact.model_copy(update={"units": ()})


def test_evidence_opens_for_each_of_its_units_reviewers_and_nobody_else(sealed):
    unit = sealed.cast.units[1]
    evidence, blob = pack_evidence(SECRET, sealed.run, unit.fingerprint, b'{"verdict":"red"}')
    assert evidence.source_unit == unit.fingerprint
    for number, held in enumerate(evidence.keys, 1):
        info = share_binding(
            job=sealed.run.job, run=sealed.run.run, artifact=EVIDENCE, source_unit=unit.fingerprint,
            reviewer=unit.public(f"review-{number}"),
        )  # fmt: skip
        key = unit.keys.open(f"review-open-{number}", bytes.fromhex(held.sealed), info)
        content = unpad(
            open_bytes(key, artifact_context(sealed.run.job, sealed.run.run, EVIDENCE), blob.data)
        )
        assert content[32:] == b'{"verdict":"red"}'
        verify_commitment(evidence.commitment, content[32:], content[:32])
        with pytest.raises(VerificationFailed):
            sealed.cast.units[0].keys.open(f"review-open-{number}", bytes.fromhex(held.sealed), info)


def test_evidence_of_two_units_has_two_keys(sealed):
    first, second = (pack_evidence(SECRET, sealed.run, u.fingerprint, b"{}") for u in sealed.cast.units[:2])
    assert first[0].commitment != second[0].commitment
    assert first[1].digest != second[1].digest


def test_the_packed_output_may_stand(sealed):
    """What is packed here is what the rules ask of an output of three units."""
    cast = Cast().until("hand_in")
    model = next(a for a in cast.output.body.artifacts if a.role == "model")
    assert (model.unit_threshold, [u.threshold for u in model.units]) == (3, [2, 2, 2])
    assert [u.index for u in model.units] == [1, 2, 3]
