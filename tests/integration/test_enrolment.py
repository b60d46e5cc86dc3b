"""Invitations: once, in time, for these roles, by whoever holds the root key; and the transport that follows."""

import json
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from trustspace.client.home import PartyHome
from trustspace.domain.bodies import PartyKey, Refusal
from trustspace.domain.records import PartyRecord
from trustspace.domain.statements import LogReference, make
from trustspace.errors import (
    InvalidInput,
    PermissionDenied,
    Stale,
    TrustspaceError,
    Unauthenticated,
    Unavailable,
    VerificationFailed,
)  # fmt: skip
from trustspace.ledger.merkle import EMPTY_ROOT
from trustspace.space import home as space_home
from trustspace.transport.channel import Identity
from trustspace.transport.links import EnrolmentLink, SpaceLink
from trustspace.transport.tls import Caller, caller_of, new_key, new_request, self_signed


def described(world, home: PartyHome, **changes) -> bytes:
    """The party's own description as its client would send it, or with something wrong."""
    body = home.party.model_copy(update=changes.pop("body", {}))
    trusted = world.opened().trusted()
    log = LogReference(origin=trusted.origin, size=0, root=EMPTY_ROOT.hex())
    values = {"by": home.fingerprint, "issued": int(time.time()), "nonce": b"n" * 32, "log": log,
              "public": home.keys.public("root"), "sign": lambda m: home.keys.sign("root", m), **changes}  # fmt: skip
    return make(body, **values).envelope.to_bytes()


def enrolment(world) -> EnrolmentLink:
    return EnrolmentLink(world.channel(None, world.enrol_listen))


def newcomer(world, name="New Dev", *roles) -> PartyHome:
    return world.party(name, *(roles or ("developer",)), enrol=False)


def enrolled(world, fingerprint: str) -> bool:
    return world.ledger.view.get(PartyRecord, fingerprint) is not None


def test_an_invited_party_is_enrolled_and_connected(world):
    home = world.party("Dev GmbH", "developer")
    assert enrolled(world, home.fingerprint)
    assert home.session.sync().size == 2
    assert home.trust().space == world.opened().trusted()


def test_a_token_serves_one_party_once(world):
    invitation = world.invite("Dev GmbH", "developer")
    first = newcomer(world)
    first.enrol(invitation)
    second = newcomer(world, "Second")
    with pytest.raises(PermissionDenied, match="used"):
        second.enrol(invitation)
    assert not enrolled(world, second.fingerprint)


@pytest.mark.parametrize("token", ["", "guess", "x" * 10_000])
def test_an_unknown_token_is_worth_nothing(world, token):
    home = newcomer(world)
    with pytest.raises(PermissionDenied, match="unknown"):
        home.enrol({**world.invite("New Dev", "developer"), "token": token})
    assert not enrolled(world, home.fingerprint)


def test_an_expired_token_is_worth_nothing(world, monkeypatch):
    monkeypatch.setattr(space_home, "INVITATION_DAYS", -1)
    late = world.invite("New Dev", "developer")
    monkeypatch.undo()
    home = newcomer(world)
    with pytest.raises(PermissionDenied, match="expired"):
        home.enrol(late)
    home.enrol(world.invite("New Dev", "developer"))


@pytest.mark.parametrize("roles", [("buyer",), ("developer", "buyer"), ("source-unit",)])
def test_roles_are_those_of_the_invitation_and_a_mistake_does_not_use_it_up(world, roles):
    invitation = world.invite("New Dev", "developer")
    wrong = world.party("Wrong", *roles, reviewers=("Dr Li",) if "source-unit" in roles else (), enrol=False)
    with pytest.raises(PermissionDenied, match="roles"):
        wrong.enrol(invitation)
    assert not enrolled(world, wrong.fingerprint)
    newcomer(world).enrol(invitation)


def test_nobody_is_invited_as_the_operator(world):
    with pytest.raises(InvalidInput, match="roles"):
        world.invite("Mallory", "operator")
    with pytest.raises(InvalidInput, match="roles"):
        world.invite("Nobody")
    # Nor by describing oneself as one.
    home = newcomer(world)
    link, invitation = enrolment(world), world.invite("New Dev", "developer")
    request = new_request(new_key())
    with pytest.raises(PermissionDenied, match="roles"):
        link.enrol(
            invitation["token"], request, described(world, home, body={"roles": ("developer", "operator")})
        )


def test_a_lost_reply_is_asked_for_again(world, monkeypatch):
    """The party is in the ledger, its certificate is lost: the same invitation gives it one, and nothing more."""
    home, invitation = newcomer(world), world.invite("New Dev", "developer")
    real = EnrolmentLink.enrol

    def lost(self, *arguments):
        real(self, *arguments)
        raise Unavailable("The server did not answer in time.")

    monkeypatch.setattr(EnrolmentLink, "enrol", lost)
    with pytest.raises(Unavailable):
        home.enrol(invitation)
    assert enrolled(world, home.fingerprint)
    monkeypatch.undo()
    size = world.ledger.standing().size
    home.enrol(invitation)
    assert world.ledger.standing().size == size
    assert home.session.sync().size == size


def test_an_invitation_of_ones_own_does_not_connect_one_as_somebody_else(world):
    """A description is public to all who are enrolled: showing it proves nothing about who shows it."""
    victim = world.party("Hospital A", "source-unit", reviewers=("Dr Li",))
    public = world.link(victim).read(1, 10, 0)[0][0].envelope
    attacker = world.invite("Hospital B", "source-unit")
    with pytest.raises(PermissionDenied):
        enrolment(world).enrol(attacker["token"], new_request(new_key()), public)
    # And the invitation is not lost by the attempt.
    world.party("Hospital B", "source-unit", reviewers=("Dr Wu",), enrol=False).enrol(attacker)


@pytest.mark.parametrize(
    "wrong", ["signature", "fingerprint", "sequence", "clock", "type", "bytes", "ledger"]
)
def test_only_a_sound_description_is_taken(world, wrong):
    home, other = newcomer(world), newcomer(world, "Other")
    token = world.invite("New Dev", "developer")["token"]
    request = new_request(new_key())
    elsewhere = LogReference(origin="another/ledger", size=0, root=EMPTY_ROOT.hex())
    envelope = {
        "signature": lambda: described(world, home, public=home.keys.public("act"), sign=lambda m: home.keys.sign("act", m)),
        "fingerprint": lambda: described(world, home, by=other.fingerprint),
        "sequence": lambda: described(world, home, body={"sequence": 7}),
        "clock": lambda: described(world, home, issued=int(time.time()) - 3600),
        "type": lambda: make(Refusal(job="00" * 32), by=home.fingerprint, issued=int(time.time()), nonce=b"n" * 32,
                             log=elsewhere, public=home.keys.public("root"), sign=lambda m: home.keys.sign("root", m)
                             ).envelope.to_bytes(),
        "bytes": lambda: b"{}",
        "ledger": lambda: described(world, home, log=elsewhere),
    }[wrong]()  # fmt: skip
    with pytest.raises((VerificationFailed, InvalidInput, Stale)):
        enrolment(world).enrol(token, request, envelope)
    assert not enrolled(world, home.fingerprint)
    # The invitation still serves who made a mistake.
    enrolment(world).enrol(token, request, described(world, home))


@pytest.mark.parametrize("request_pem", [b"", b"-----BEGIN CERTIFICATE REQUEST-----", b"\xff"])
def test_a_certificate_request_that_is_none(world, request_pem):
    home = newcomer(world)
    token = world.invite("New Dev", "developer")["token"]
    with pytest.raises(InvalidInput):
        enrolment(world).enrol(token, request_pem, described(world, home))
    assert not enrolled(world, home.fingerprint)


def test_an_invitation_is_a_file_of_one_form(world):
    home, invitation = newcomer(world), world.invite("New Dev", "developer")
    for change in ({"format": "x"}, {"space": {}}):
        with pytest.raises(InvalidInput):
            home.enrol({**invitation, **change})
    with pytest.raises(InvalidInput):
        home.enrol({k: v for k, v in invitation.items() if k != "token"})
    assert json.loads(json.dumps(invitation)) == invitation


def test_the_server_is_the_one_that_the_invitation_names(world):
    """Somebody in between with a certificate of his own is not spoken to."""
    import datetime

    key = new_key()
    impostor = self_signed(
        "trustspace space", key, datetime.datetime.now(datetime.UTC), ("trustspace-space",)
    )
    home, invitation = newcomer(world), world.invite("New Dev", "developer")
    with pytest.raises(Unavailable):
        home.enrol({**invitation, "server_certificate": impostor.decode()})
    assert not enrolled(world, home.fingerprint)
    home.enrol(invitation)


# -- who is at the door


def test_without_a_client_certificate_nobody_is_heard(world, three):
    stranger = SpaceLink(world.channel(None))
    with pytest.raises(Unavailable):
        stranger.view("parties")
    assert world.link(three[0]).view("parties")


def test_a_certificate_of_ones_own_making_is_refused(world, three):
    import datetime

    key = new_key()
    own = Identity(key, self_signed(three[0].fingerprint, key, datetime.datetime.now(datetime.UTC)))
    with pytest.raises(Unavailable):
        SpaceLink(world.channel(own)).view("parties")


def test_a_certificate_without_its_key_is_refused(world, three):
    with pytest.raises((Unavailable, TrustspaceError)):
        SpaceLink(world.channel(Identity(new_key(), three[0].identity().certificate))).view("parties")


def test_a_certificate_in_nobodys_name_is_not_enrolled(world, three):
    """The operator's authority can certify whom it likes; only who is in the ledger is a party."""
    identity = world.false_identity("ab" * 32)
    link = SpaceLink(world.channel(identity))
    for use in (
        lambda: link.view("parties"), lambda: link.read(0, 1, 0), lambda: link.checkpoint(0),
        lambda: link.put_blob(b"", "00" * 32, 0), lambda: link.fetch("00" * 32, 1), lambda: list(link.leaves(0, 1)),
        lambda: link.submit(b"{}"),
    ):  # fmt: skip
        with pytest.raises(Unauthenticated):
            use()


def test_another_partys_statement_is_not_taken_from_one(world, three):
    hospital, developer, _ = three
    signed = hospital.sign(Refusal(job="00" * 32), "grant").envelope.to_bytes()
    with pytest.raises(PermissionDenied, match="author"):
        world.link(developer).submit(signed)


def test_a_connection_in_anothers_name_gains_no_key(world, three):
    """The operator connects as the hospital, and still cannot say anything in its name."""
    hospital, developer, _ = three
    as_hospital = SpaceLink(world.channel(world.false_identity(hospital.fingerprint)))
    assert as_hospital.view("parties")
    forged = make(
        Refusal(job="00" * 32), by=hospital.fingerprint, issued=int(time.time()), nonce=b"n" * 32,
        log=developer.session.sync(), public=developer.keys.public("act"),
        sign=lambda m: developer.keys.sign("act", m),
    )  # fmt: skip
    with pytest.raises(VerificationFailed):
        as_hospital.submit(forged.envelope.to_bytes())


@pytest.mark.parametrize("door", ["main", "enrolment"])
def test_the_health_service_answers(world, three, door):
    main = door == "main"
    channel = world.channel(
        three[0].identity() if main else None, world.listen if main else world.enrol_listen
    )
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "trustspace.v1.Space" if main else "trustspace.v1.Enrolment"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="trustspace.v1.Enclave"), timeout=10)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_enrolment_has_no_other_methods(world, three):
    """Without a certificate there is one thing to do; the space's own methods are behind the other door."""
    with pytest.raises(TrustspaceError, match="UNIMPLEMENTED"):
        SpaceLink(world.channel(None, world.enrol_listen)).view("parties")


def test_an_enclaves_certificate_needs_its_owners_root(world, three):
    hospital, developer, _ = three
    request = new_request(new_key())
    unknown = "cd" * 32
    for caller in (hospital, developer):
        with pytest.raises(PermissionDenied):
            world.link(caller).enrol_machine(request, unknown)
    # For one that the root vouches for, its owner's client gets a certificate; that enclave itself gets none.
    key = hospital.keys.create_signing_key("enclave").hex()
    hospital.publish((*hospital.party.keys, PartyKey(use="enclave", public=key, holder="Enclave")))
    as_enclave = SpaceLink(world.channel(world.false_identity(hospital.fingerprint, "enclave", key)))
    with pytest.raises(PermissionDenied):
        as_enclave.enrol_machine(request, key)
    with pytest.raises(PermissionDenied):
        world.link(developer).enrol_machine(request, key)
    assert caller_of(world.link(hospital).enrol_machine(request, key)) == Caller(
        hospital.fingerprint, "enclave", key
    )
