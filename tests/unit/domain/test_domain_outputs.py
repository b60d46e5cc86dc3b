"""How the outputs of many enclaves become the one that is reviewed.

Four source units of two reviewers each, one of whom must approve; three suffice for a sum.
"""

import itertools

import pytest
from support.cast import TIER, Actor, Cast, digest
from support.joint import approve, by_name, come_back, fail, hand_in, refused, story

from trustspace.domain.quorum import standing
from trustspace.domain.records import BlobRecord, OutputRecord
from trustspace.domain.rules_run import OVERDUE_SECONDS
from trustspace.domain.tiers import TIER_WITHOUT_LANDLOCK
from trustspace.errors import (
    AlreadyExists,
    InvalidInput,
    InvalidTransition,
    PermissionDenied,
    PolicyRefused,
    Stale,
)  # fmt: skip

RUNNING = story()


@pytest.fixture
def cast() -> Cast:
    return RUNNING.fork()


# -- the output: every member signs the same


def test_it_is_reviewed_when_every_member_has_handed_in(cast):
    first = cast.sign(cast.units[2], "enclave", cast.output_body(cast.units[2]))
    cast.put(first)
    assert (cast.job.state, cast.job.output) == ("running", first.digest)
    for unit in (cast.units[0], cast.units[3]):
        hand_in(cast, unit)
        assert cast.job.state == "running"
    hand_in(cast, cast.units[1])
    assert (cast.job.state, cast.job.output) == ("in-review", first.digest)
    assert set(cast.output.signers) == {u.fingerprint for u in cast.units}
    assert len(set(cast.output.signers.values())) == 4
    # One model, one set of metrics, a log of each; evidence of each in the job's order; no share is missing.
    body = cast.output.body
    assert sorted(a.name for a in body.artifacts) == sorted(
        ["model.safetensors", "metrics.json", *(cast.log_of(u) for u in cast.units)]
    )
    assert [e.source_unit for e in body.evidence] == [u.fingerprint for u in cast.units]
    assert all(s.sealed for a in body.artifacts for u in a.units for s in u.shares)


def test_nothing_is_decided_on_a_part_of_it(cast):
    for unit in cast.units[:3]:
        hand_in(cast, unit)
    with pytest.raises(InvalidTransition, match="running"):
        cast.put(cast.sign(cast.units[0], "review-1", cast.decision_body(cast.units[0], 1)))


def test_each_seals_for_its_own_reviewers(cast):
    """What an enclave seals for another member's reviewers is not what they get."""
    honest = {u.fingerprint: cast.output_body(u) for u in cast.units}
    meddler, victim = cast.units[0], cast.units[1]
    body = honest[meddler.fingerprint]
    artifacts = [
        a.model_copy(update={"units": tuple(
            u.model_copy(update={"shares": tuple(s.model_copy(update={"sealed": "ee" * 80}) for s in u.shares)})
            if u.source_unit == victim.fingerprint else u for u in a.units)})
        for a in body.artifacts
    ]  # fmt: skip
    cast.put(cast.sign(meddler, "enclave", body.model_copy(update={"artifacts": tuple(artifacts)})))
    held = next(u for u in cast.output.body.artifacts[0].units if u.source_unit == victim.fingerprint)
    assert [s.sealed for s in held.shares] == ["", ""]
    for unit in cast.units[1:]:
        cast.put(cast.sign(unit, "enclave", honest[unit.fingerprint]))
    held = next(u for u in cast.output.body.artifacts[0].units if u.source_unit == victim.fingerprint)
    own = honest[victim.fingerprint].artifacts[0]
    assert held == next(u for u in own.units if u.source_unit == victim.fingerprint)


def test_a_later_meddler_changes_nothing_either(cast):
    honest = cast.output_body(cast.units[0])
    cast.put(cast.sign(cast.units[0], "enclave", honest))
    mine = next(u for u in cast.output.body.artifacts[0].units if u.source_unit == cast.units[0].fingerprint)
    body = cast.output_body(cast.units[1])
    artifacts = [
        a.model_copy(update={"units": tuple(
            u.model_copy(update={"shares": tuple(s.model_copy(update={"sealed": "ee" * 80}) for s in u.shares)})
            for u in a.units)})
        for a in body.artifacts
    ]  # fmt: skip
    cast.put(cast.sign(cast.units[1], "enclave", body.model_copy(update={"artifacts": tuple(artifacts)})))
    found = next(u for u in cast.output.body.artifacts[0].units if u.source_unit == cast.units[0].fingerprint)
    assert found == mine


MODEL_CHANGES = {
    "other content": lambda a: {"commitment": digest("another model")},
    "other ciphertext": lambda a: {"blob": digest("another blob")},
    "another size": lambda a: {"sealed_bytes": a.sealed_bytes + 1},
    "another name": lambda a: {"name": "model.bin"},
    "another role": lambda a: {"role": "result"},
    "another commitment to a share": lambda a: {"units": (
        *a.units[:-1], a.units[-1].model_copy(update={"shares": (
            a.units[-1].shares[0].model_copy(update={"commitment": digest("s")}), *a.units[-1].shares[1:])}))},
    "units in another order": lambda a: {"units": a.units[::-1]},
    "another index": lambda a: {"units": (a.units[0].model_copy(update={"index": 9}), *a.units[1:])},
}  # fmt: skip


@pytest.mark.parametrize("change", MODEL_CHANGES)
def test_an_enclave_that_signs_another_joint_artifact_is_refused(cast, change):
    hand_in(cast, cast.units[0])
    honest = cast.output_body(cast.units[1])
    model = honest.artifacts[0].model_copy(update=MODEL_CHANGES[change](honest.artifacts[0]))
    refused(cast, PolicyRefused, "disagree", cast.units[1], artifacts=(model, *honest.artifacts[1:]))
    hand_in(cast, cast.units[1])


def test_an_enclave_that_leaves_a_joint_artifact_out_or_adds_one_is_refused(cast):
    hand_in(cast, cast.units[0])
    honest = cast.output_body(cast.units[1])
    refused(cast, PolicyRefused, "disagree", cast.units[1], artifacts=honest.artifacts[1:])
    more = honest.artifacts[0].model_copy(update={"name": "more.safetensors"})
    refused(cast, PolicyRefused, "disagree", cast.units[1], artifacts=(*honest.artifacts, more))
    hand_in(cast, cast.units[1])


def test_members_are_the_same_in_every_output(cast):
    members = tuple(cast.units[:3])
    hand_in(cast, cast.units[0], members)
    refused(cast, PolicyRefused, "disagree", cast.units[1], (*cast.units[:2], cast.units[3]))
    refused(cast, PolicyRefused, "disagree", cast.units[1], tuple(cast.units))


def test_a_unit_signs_once(cast):
    hand_in(cast, cast.units[0])
    refused(cast, AlreadyExists, "handed in", cast.units[0])


def test_whoever_has_handed_in_cannot_take_it_back(cast):
    hand_in(cast, cast.units[0])
    with pytest.raises(AlreadyExists, match="handed in"):
        fail(cast, cast.units[0])
    assert cast.job.state == "running"


def test_whoever_has_handed_in_does_not_wait_for_ever(cast):
    """A member that is gone before it signs would keep the job running until it expires."""
    hand_in(cast, cast.units[0])
    cast.now += OVERDUE_SECONDS
    with pytest.raises(AlreadyExists, match="handed in"):
        fail(cast, cast.units[0], "members")
    cast.now += 1
    with pytest.raises(AlreadyExists, match="handed in"):
        fail(cast, cast.units[0], "host")
    fail(cast, cast.units[0], "members")
    assert (cast.job.state, cast.job.run, cast.job.output) == ("granted", "", "")


@pytest.mark.parametrize(
    ("members", "error", "words"),
    [
        (lambda c: (), PermissionDenied, "not among its members"),
        (lambda c: by_name(c.units)[1:], PermissionDenied, "not among its members"),
        (lambda c: by_name(c.units)[:2], PolicyRefused, "2 source units, and the job demands 3"),
        (lambda c: (*by_name(c.units), c.other_unit), PolicyRefused, "not in this run"),
    ],
)
def test_members_that_cannot_be(cast, members, error, words):
    first = by_name(cast.units)[0]
    named = tuple(sorted(u.fingerprint for u in members(cast)))
    body = cast.output_body(first).model_copy(update={"members": named})
    with pytest.raises(error, match=words):
        cast.put(cast.sign(first, "enclave", body))


def test_members_are_sorted_and_named_once(cast):
    body = cast.output_body(cast.units[0])
    for named in (body.members[::-1], (*body.members, body.members[0]), (body.members[0], *body.members)):
        with pytest.raises(InvalidInput, match="twice or out of order"):
            cast.put(cast.sign(cast.units[0], "enclave", body.model_copy(update={"members": named})))


def test_a_single_units_output_has_no_members():
    cast = story(units=1, minimum=1)
    unit = cast.units[0]
    body = cast.output_body(unit).model_copy(update={"members": (unit.fingerprint,)})
    with pytest.raises(InvalidInput, match="no joint result"):
        cast.put(cast.sign(unit, "enclave", body))
    hand_in(cast, unit)
    assert cast.job.state == "in-review"


def test_an_output_of_another_run_is_refused(cast):
    """One that was packed for the run before, whose shares are bound to that."""
    old = cast.output_body(cast.units[0])
    for unit in cast.units[:2]:
        fail(cast, unit)
    cast.challenge().offer_all().release_keys()
    refused(cast, Stale, "another run", cast.units[0], run=old.run)
    hand_in(cast, cast.units[0])


def test_a_log_goes_to_its_own_unit_alone(cast):
    honest = cast.output_body(cast.units[0])
    log = honest.artifacts[2].model_copy(update={"units": honest.artifacts[0].units, "unit_threshold": 4})
    refused(
        cast, PolicyRefused, "gives one to another", cast.units[0], artifacts=(*honest.artifacts[:2], log)
    )


def test_names_of_own_artifacts_do_not_collide(cast):
    hand_in(cast, cast.units[0])
    honest = cast.output_body(cast.units[1])
    log = honest.artifacts[2].model_copy(update={"name": "run.log"})
    refused(cast, InvalidInput, "artifact twice", cast.units[1], artifacts=(*honest.artifacts[:2], log))


def test_an_enclave_hands_in_so_many_artifacts_at_most(cast):
    honest = cast.output_body(cast.units[0])
    log = honest.artifacts[2]
    many = tuple(log.model_copy(update={"name": f"run-{n}.log"}) for n in range(63))
    refused(cast, InvalidInput, "more than 64", cast.units[0], artifacts=(*honest.artifacts[:2], *many))
    hand_in(cast, cast.units[0], artifacts=(*honest.artifacts[:2], *many[:-1]))


def test_each_brings_its_own_evidence_and_no_others(cast):
    for other in (cast.units[1], None):
        body = cast.output_body(cast.units[0])
        more = () if other is None else (*body.evidence, *cast.output_body(other).evidence)
        with pytest.raises(InvalidInput, match="evidence"):
            cast.put(cast.sign(cast.units[0], "enclave", body.model_copy(update={"evidence": more})))


def test_the_weakest_sandbox_is_what_is_said_of_all(cast):
    hand_in(cast, cast.units[0])
    assert cast.output.body.sandbox_tier == TIER
    hand_in(cast, cast.units[1], sandbox_tier=TIER_WITHOUT_LANDLOCK)
    hand_in(cast, cast.units[2])
    assert cast.output.body.sandbox_tier == TIER_WITHOUT_LANDLOCK


def test_blobs_are_read_under_the_one_output(cast):
    for unit in cast.units:
        hand_in(cast, unit)
    for blob in (b for part in (cast.output.body.artifacts, cast.output.body.evidence) for b in part):
        record = cast.view.get(BlobRecord, blob.blob)
        assert {statement for _, statement in record.references} == {cast.job.output}


def test_who_comes_second_refers_to_its_own_blobs_alone(cast):
    """The joint ones are up: nobody has to upload a large model once for every member."""
    hand_in(cast, cast.units[0])
    body = cast.output_body(cast.units[1])
    changes = cast.apply(cast.sign(cast.units[1], "enclave", body))
    named = {record.digest for record in changes if isinstance(record, BlobRecord)}
    assert named == {body.artifacts[2].blob, body.evidence[0].blob}


# -- in whatever order they come


@pytest.mark.parametrize("lost", [None, 0, 3])
def test_the_output_is_the_same_in_whatever_order_enclaves_hand_in(lost):
    """Which statement names it depends on who was first, and nothing else does."""
    cast = RUNNING.fork()
    if lost is not None:
        fail(cast, cast.units[lost])
    members = tuple(u for n, u in enumerate(cast.units) if n != lost)
    outputs = {u.fingerprint: cast.output_body(u, members) for u in members}
    found = set()
    for order in itertools.permutations(members):
        other = cast.fork()
        for unit in order:
            assert other.job.state == "running"
            other.put(other.sign(unit, "enclave", outputs[unit.fingerprint]))
        assert other.job.state == "in-review"
        body = other.output.body
        artifacts = tuple(sorted(body.artifacts, key=lambda a: a.name))
        found.add(body.model_copy(update={"artifacts": artifacts, "offer": ""}).model_dump_json())
    assert len(found) == 1


# -- the output of a run that somebody dropped out of


@pytest.fixture
def without_one(cast):
    """One has dropped out; (story, who it was, the members by fingerprint)."""
    lost = cast.units[1]
    fail(cast, lost)
    return cast, lost, by_name(u for u in cast.units if u is not lost)


def test_the_first_member_seals_for_who_dropped_out(without_one):
    cast, lost, members = without_one
    for member in members[::-1]:
        hand_in(cast, member, members)
    assert cast.job.state == "in-review"
    body = cast.output.body
    assert body.members == tuple(m.fingerprint for m in members)
    assert {e.source_unit for e in body.evidence} == {u.fingerprint for u in cast.units}
    assert all(s.sealed for a in body.artifacts for u in a.units for s in u.shares)
    assert lost.fingerprint not in cast.output.signers
    assert all(
        {u.source_unit for u in a.units} == {u.fingerprint for u in cast.units} for a in body.artifacts[:2]
    )


def test_an_output_without_the_dropped_units_share_is_refused(without_one):
    cast, lost, members = without_one
    honest = cast.output_body(members[0], members)
    # Not named at all.
    gone = [
        a.model_copy(update={
            "units": tuple(u for u in a.units if u.source_unit != lost.fingerprint), "unit_threshold": 3})
        for a in honest.artifacts[:2]
    ]  # fmt: skip
    refused(
        cast, PolicyRefused, "without its share", members[0], members, artifacts=(*gone, honest.artifacts[2])
    )
    # Named, and its shares kept from it.
    empty = [
        a.model_copy(update={"units": tuple(
            u.model_copy(update={"shares": tuple(s.model_copy(update={"sealed": ""}) for s in u.shares)})
            if u.source_unit == lost.fingerprint else u for u in a.units)})
        for a in honest.artifacts[:2]
    ]  # fmt: skip
    refused(
        cast,
        PolicyRefused,
        "its enclave's to give",
        members[0],
        members,
        artifacts=(*empty, honest.artifacts[2]),
    )
    # Nor is it left without evidence, to be unable to decide.
    own = tuple(e for e in honest.evidence if e.source_unit != lost.fingerprint)
    refused(cast, InvalidInput, "evidence", members[0], members, evidence=own)
    hand_in(cast, members[0], members)


def test_only_the_first_member_speaks_for_who_dropped_out(without_one):
    cast, _, members = without_one
    body = cast.output_body(members[0], members)
    others = cast.output_body(members[1], members)
    refused(
        cast, InvalidInput, "evidence", members[1], members, evidence=(*others.evidence, body.evidence[-1])
    )


def test_an_enclave_leaves_no_share_of_its_own_reviewers_out(cast):
    honest = cast.output_body(cast.units[0])
    for place in range(3):
        artifact = honest.artifacts[place]
        empty = artifact.model_copy(update={"units": tuple(
            u.model_copy(update={"shares": (u.shares[0].model_copy(update={"sealed": ""}), *u.shares[1:])})
            for u in artifact.units)})  # fmt: skip
        artifacts = (*honest.artifacts[:place], empty, *honest.artifacts[place + 1 :])
        refused(cast, PolicyRefused, "its enclave's to give", cast.units[0], artifacts=artifacts)


def test_who_dropped_out_hands_in_nothing(without_one):
    cast, lost, members = without_one
    come_back(cast, lost)
    hand_in(cast, members[0], members)
    body = cast.output_body(members[1], members)
    forged = body.model_copy(update={"offer": cast.job.offers[lost.fingerprint]})
    with pytest.raises(PermissionDenied, match="not among its members"):
        cast.put(cast.sign(lost, "enclave", forged))


def test_who_dropped_out_keeps_its_veto(without_one):
    """Dropped on purpose or not: its data was opened, and nothing leaves without it."""
    cast, lost, members = without_one
    for member in members:
        hand_in(cast, member, members)
    for member in members:
        assert approve(cast, member) == "in-review"
    state = standing(cast.view, cast.job, cast.output, cast.now)
    assert (state.verdict, state.waiting_for) == ("open", (lost.fingerprint,))
    with pytest.raises(PolicyRefused):
        cast.put(cast.sign(cast.operator, "act", cast.release_body(
            artifacts=("model.safetensors",), decisions=tuple(cast.output.decisions.values()))))  # fmt: skip
    vetoed = cast.fork()
    vetoed.put(vetoed.sign(lost, "review-1", vetoed.rejection_body(lost)))
    assert vetoed.job.state == "rejected"
    assert approve(cast, lost) == "approved"
    assert cast.release().job.state == "released"


def test_a_member_lost_before_it_signed_ends_the_run(cast):
    """The others' outputs wait for a signature that cannot come: no half-open output, and none is left behind."""
    hand_in(cast, cast.units[0])
    old = cast.job.output
    fail(cast, cast.units[1])
    assert (cast.job.state, cast.job.output, cast.job.offers) == ("granted", "", {})
    # The next run's output is another one.
    cast.challenge().offer_all().release_keys()
    for unit in cast.units:
        hand_in(cast, unit)
    assert cast.job.state == "in-review"
    assert cast.job.output != old
    assert set(cast.view.get(OutputRecord, old).signers) == {cast.units[0].fingerprint}


def test_a_loss_that_concerns_no_member_changes_nothing(cast):
    lost, members = cast.units[3], tuple(cast.units[:3])
    hand_in(cast, members[0], members)
    fail(cast, lost)
    assert cast.job.state == "running"
    hand_in(cast, members[1], members)
    hand_in(cast, members[2], members)
    assert cast.job.state == "in-review"


# -- results of each domain's own


def result_of(cast: Cast, unit: Actor):
    """What an enclave hands in of a computation: its own result and its own log."""
    body = cast.output_body(unit)
    mine = next(u for u in body.artifacts[0].units if u.source_unit == unit.fingerprint)
    name = cast.log_of(unit).replace("run", "result")
    result = body.artifacts[0].model_copy(
        update={"name": name, "role": "result", "units": (mine,), "unit_threshold": 1}
    )
    return body.model_copy(update={"artifacts": (result, body.artifacts[2])})


def test_a_computation_hands_in_a_result_of_each():
    cast = story(kind="compute")
    for number, unit in enumerate(cast.units):
        cast.put(cast.sign(unit, "enclave", result_of(cast, unit)))
        assert cast.job.state == ("running" if number < 3 else "in-review")
    body = cast.output.body
    assert body.members == ()
    assert len(body.artifacts) == 8
    assert [e.source_unit for e in body.evidence] == [u.fingerprint for u in cast.units]
    for unit in cast.units:
        own = tuple(a.name for a in body.artifacts if a.units[0].source_unit == unit.fingerprint)
        decided = cast.decision_body(unit, 1, artifacts=own)
        cast.put(cast.sign(unit, "review-1", decided))
    assert cast.job.state == "approved"
    assert len(standing(cast.view, cast.job, cast.output, cast.now).artifacts) == 8


def test_no_unit_approves_another_ones_result():
    cast = story(kind="compute")
    for unit in cast.units:
        cast.put(cast.sign(unit, "enclave", result_of(cast, unit)))
    honest = cast.decision_body(cast.units[0], 1, artifacts=("result.log",))
    greedy = honest.model_copy(update={"artifacts": ("result-2.log",)})
    with pytest.raises(InvalidInput, match="artifacts"):
        cast.put(cast.sign(cast.units[0], "review-1", greedy))
    cast.put(cast.sign(cast.units[0], "review-1", honest))


def test_a_computation_has_nothing_joint():
    cast = story(kind="compute")
    with pytest.raises(PolicyRefused, match="gives one to another"):
        hand_in(cast, cast.units[0])
