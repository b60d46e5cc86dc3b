"""The space's doors and the ledger's rules, before callers and parties that lie."""

from __future__ import annotations

import json

import grpc
import pytest
from fuzz_mutations import NUMBERS, TEXTS, refused, spoilt_bytes, spoilt_in_type, texts_of
from hypothesis import strategies as st
from support.cast import Cast
from support.world import World, trio

from trustspace.api.v1 import rounds_pb2, rounds_pb2_grpc, space_pb2, space_pb2_grpc
from trustspace.domain import statements
from trustspace.domain.bodies import BODIES
from trustspace.domain.replay import MemoryView
from trustspace.domain.rules import apply
from trustspace.errors import TrustspaceError
from trustspace.transport.channel import connect
from trustspace.transport.errors import to_error


def _told(blind: bool):
    """(the view before it, its payload, how its author signs) for every statement of a story."""
    story = Cast(blind=blind).until("receive")
    keys = {actor.public(name): (actor, name) for actor in story.actors for name in actor.keys.names()}
    by_id = {statements.key_id(bytes.fromhex(public)): (public, *held) for public, held in keys.items()}
    view, found = MemoryView(), []
    for statement in story.statements:
        public, actor, name = by_id[statement.signer]
        found.append((view, json.loads(statement.envelope.payload), bytes.fromhex(public), actor, name))
        layer = MemoryView(view)
        layer.install(apply(layer, statement, story.now))
        view = layer
    return story, found


@pytest.fixture(scope="module", params=[False, True], ids=["open", "blind"])
def told(request):
    return _told(request.param)


def test_rules_before_statements_that_their_own_authors_spoilt(hunt, told):
    """Well signed by whoever said it, at the moment it was said: refused by a rule, or it may stand. Never a crash."""
    story, said = told

    pool = texts_of(*(payload["predicate"]["body"] for _, payload, *_ in said))
    judged = []

    def attack(drawn):
        place, value = drawn
        view, payload, public, actor, name = said[place]
        kind = payload["predicateType"].split(":")[3]
        try:
            body = statements.read(BODIES[kind], value, kind)
            statement = statements.make(
                body, by=actor.fingerprint, issued=story.now, nonce=bytes(32), log=story.log(), public=public,
                sign=lambda m: actor.keys.sign(name, m),
            )  # fmt: skip
        except TrustspaceError:
            return
        judged.append(kind)
        refused(lambda s: apply(MemoryView(view), s, story.now), statement, errors=(TrustspaceError,))

    bodies = [
        st.tuples(st.just(place), spoilt_in_type([payload["predicate"]["body"]], pool))
        for place, (_, payload, *_) in enumerate(said)
    ]
    hunt(st.one_of(bodies), attack, 1500)
    assert judged, "some of them reach the rules"


@pytest.fixture(scope="module")
def door():
    """A space, and its stubs as an enrolled hospital calls them."""
    world = World()
    hospital, *_ = trio(world)
    server = (hospital.path / "tls/space-server.pem").read_bytes()
    channel = connect(world.listen, server, hospital.identity(), "trustspace-space")
    yield space_pb2_grpc.SpaceStub(channel), rounds_pb2_grpc.RoundsStub(channel)
    channel.close()
    world.close()


def _asked(call, *requests) -> None:
    """Answered or refused by an error of ours; an internal one would say that something else broke."""
    try:
        answer = call(*requests, timeout=30)
        if not hasattr(answer, "DESCRIPTOR"):
            list(answer)
    except grpc.RpcError as error:
        told = to_error(error)
        assert type(told) is not TrustspaceError, str(told)


# What protobuf carries as text is UTF-8: a client could not even send a lone surrogate.
texts = st.sampled_from([text for text in TEXTS if text.isascii() or "\ud800" not in text]) | st.text(
    max_size=5
)
wide, narrow = (
    st.sampled_from([n for n in NUMBERS if n < 2**64]),
    st.sampled_from([n for n in NUMBERS if n < 2**32]),
)
blobs = st.binary(max_size=40)
REQUESTS = {
    "Submit": st.builds(space_pb2.SubmitRequest, envelope=blobs, known_size=wide),
    "Read": st.builds(space_pb2.ReadRequest, after=wide, limit=narrow),
    "Prove": st.one_of(
        st.builds(space_pb2.ProveRequest, digest=texts, known_size=wide, cosigned_by=narrow),
        st.builds(space_pb2.ProveRequest, job=texts, known_size=wide),
        st.builds(space_pb2.ProveRequest, party=texts, cosigned_by=narrow),
    ),
    "GetCheckpoint": st.builds(space_pb2.CheckpointRequest, known_size=wide),
    "Leaves": st.builds(lambda a, b: space_pb2.LeavesRequest(**{"from": a, "size": b}), wide, wide),
    "AddCosignature": st.builds(space_pb2.CosignatureRequest, size=wide, line=texts),
    "View": st.builds(
        space_pb2.ViewRequest,
        kind=st.sampled_from(["jobs", "job", "parties", "datasets", "work"]) | texts,
        key=texts,
        after=narrow,
    ),
    "GetBlob": st.builds(space_pb2.BlobRequest, digest=texts),
    "EnrolMachine": st.builds(space_pb2.EnrolMachineRequest, csr_pem=blobs, key=texts),
}


@pytest.mark.parametrize("method", REQUESTS)
def test_odd_requests(hunt, door, method):
    hunt(REQUESTS[method], lambda request: _asked(getattr(door[0], method), request), 60)


def test_odd_blobs(hunt, door):
    chunk = st.builds(space_pb2.BlobChunk, digest=texts, total_bytes=wide, data=blobs)
    hunt(st.lists(chunk, max_size=3), lambda chunks: _asked(door[0].PutBlob, iter(chunks)), 60)


def test_odd_rounds(hunt, door):
    place = {"job": texts, "run": texts, "round": narrow, "attempt": narrow}
    exchange = st.builds(
        rounds_pb2.ExchangeRequest,
        **place,
        phase=st.sampled_from(["join", "agree"]) | texts,
        envelope=blobs,
        data=blobs,
    )
    header = st.builds(rounds_pb2.ContributeHeader, **place, envelope=blobs, total_bytes=wide)
    chunk = st.builds(rounds_pb2.ContributeChunk, first=header) | st.builds(
        rounds_pb2.ContributeChunk, data=blobs
    )
    hunt(exchange, lambda request: _asked(door[1].Exchange, request), 60)
    hunt(st.lists(chunk, max_size=3), lambda chunks: _asked(door[1].Contribute, iter(chunks)), 60)
    request = st.builds(rounds_pb2.SumRequest, **place)
    hunt(request, lambda request: _asked(door[1].Sum, request), 30)
    hunt(request, lambda request: _asked(door[1].Contributions, request), 30)


def test_bytes_that_are_no_request(hunt, door):
    """Whatever stands in a frame, protobuf or we refuse it, and the next request is answered."""
    space = door[0]
    channel_call = space.Prove
    sound = [space_pb2.ProveRequest(digest="a" * 64, known_size=3).SerializeToString()]

    def attack(data):
        try:
            request = space_pb2.ProveRequest.FromString(data)
        except Exception:  # protobuf's own; the server's copy of it answers the same
            return
        _asked(channel_call, request)

    hunt(spoilt_bytes(sound), attack, 100)
