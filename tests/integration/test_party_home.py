"""A party's home: its keys, its pins, what it remembers, and what a break in the middle leaves of it."""

import base64
import json
import os
import stat

import pytest
from support.enclaves import make_enclave, publish, write_job

from trustspace.client import datasets, jobs
from trustspace.client.enclaves import adopt, own_enclave
from trustspace.client.home import PartyHome
from trustspace.domain.bodies import DatasetWithdrawn
from trustspace.errors import (
    AlreadyExists,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PolicyRefused,
    Unauthenticated,
    Unavailable,
    VerificationFailed,
)  # fmt: skip
from trustspace.transport.links import SpaceLink


def test_what_is_secret_is_its_owners_alone(world, three):
    for party in three:
        assert stat.S_IMODE(party.path.stat().st_mode) == 0o700
        for path in (party.path / "keys").rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) in (0o600, 0o700)
        assert stat.S_IMODE((party.path / "tls/client.key").stat().st_mode) == 0o600


def test_no_private_key_crosses_a_wire(world, three):
    """Everything that the space holds after enrolment, searched for the parties' secrets in any plain form."""
    secrets, publics = set(), set()
    for party in three:
        for name in party.keys.names():
            secret = party.keys._load(name).secret
            secrets |= {
                secret,
                secret.hex().encode(),
                base64.b64encode(secret),
                base64.b64encode(secret)[:-4],
            }
            publics.add(party.keys.public(name).hex())
        secrets.add((party.path / "tls/client.key").read_bytes().splitlines()[1])
    assert len(publics) > 8
    # They are found where they are: in the parties' own key files. Their public halves are public.
    own = b"".join(p.read_bytes() for party in three for p in (party.path / "keys").iterdir())
    assert sum(s in own for s in secrets) >= len(publics)
    shown = world.link(three[0]).view("parties")
    assert {k["public"] for p in shown for k in p["keys"]} <= publics | {
        p["root"] for p in shown
    } | _operator(shown)
    world.stop()
    for path in world.home.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(s in data for s in secrets), path.name


def _operator(shown):
    return {k["public"] for p in shown if "operator" in p["roles"] for k in p["keys"]}


def test_a_passphrase_locks_the_keys(world):
    home = PartyHome.create(world.path / "locked", "Locked", ("developer",), passphrase="correct horse")
    home.enrol(world.invite("Locked", "developer"))
    assert PartyHome(home.path, "correct horse").keys.sign("act", b"m")
    for wrong in (None, "", "wrong"):
        with pytest.raises((Unauthenticated, InvalidInput)):
            PartyHome(home.path, wrong).keys.sign("act", b"m")


@pytest.mark.parametrize(
    ("roles", "reviewers"),
    [((), ()), (("operator",), ()), (("developer",), ("Dr Li",))],
)
def test_a_party_that_makes_no_sense_is_not_made(world, roles, reviewers):
    with pytest.raises(InvalidInput):
        PartyHome.create(world.path / "nonsense", "Nonsense", roles, reviewers=reviewers)
    assert not (world.path / "nonsense" / "party.json").exists()


def test_there_is_one_party_in_a_home(world, three):
    with pytest.raises(AlreadyExists):
        PartyHome.create(three[0].path, "Other", ("developer",))
    with pytest.raises(NotFound):
        PartyHome(world.path / "nowhere")


def test_a_name_is_pinned_once(world, three):
    hospital, developer, buyer = three
    with pytest.raises(InvalidInput, match="another fingerprint"):
        hospital.pin("Dev GmbH", buyer.fingerprint)
    for wrong in ("", "zz" * 32, developer.fingerprint[:-1]):
        with pytest.raises(InvalidInput, match="64"):
            hospital.pin("Somebody", wrong)
    spaced = " ".join(developer.fingerprint[i : i + 8] for i in range(0, 64, 8)).upper()
    hospital.pin("Dev GmbH", spaced)
    assert hospital.trust().resolve("Dev GmbH") == developer.fingerprint


def test_a_pin_counts_at_once_in_a_running_process(world, three):
    """A broker that runs for months hears of a party that its people compare today."""
    hospital, newcomer = three[0], world.party("New Dev", "developer")
    running = world.again(hospital)
    with pytest.raises(VerificationFailed):
        running.session.party_body(newcomer.fingerprint)
    hospital.pin("New Dev", newcomer.fingerprint)
    assert running.session.party_body(newcomer.fingerprint).name == "New Dev"


def lost(self, envelope, known_size=0, real=SpaceLink.submit):
    real(self, envelope, known_size)
    raise Unavailable("The server did not answer in time.")


def test_a_description_whose_answer_was_lost_is_taken_up(world, three, monkeypatch):
    """It stands in the ledger, and not in the home: the next one has to be newer than both."""
    hospital = three[0]
    monkeypatch.setattr(SpaceLink, "submit", lost)
    with pytest.raises(Unavailable):
        hospital.publish(hospital.party.keys)
    monkeypatch.undo()
    assert hospital.party.sequence == 1
    assert hospital.publish(hospital.party.keys).sequence == 3
    assert hospital.session.party_body(hospital.fingerprint) == hospital.party


def test_an_adoption_whose_answer_was_lost_is_made_again(world, three, monkeypatch):
    from trustspace.enclave import home as enclave_home

    hospital, path = three[0], world.path / "enclave"
    enclave_home.initialise(path, "Enclave", "127.0.0.1:0", ())
    card = json.loads((path / "card.json").read_bytes())
    monkeypatch.setattr(SpaceLink, "submit", lost)
    with pytest.raises(Unavailable):
        adopt(hospital, card, "127.0.0.1:0")
    monkeypatch.undo()
    assert adopt(hospital, card, "127.0.0.1:0")["owner"] == hospital.fingerprint
    vouched = [k for k in hospital.session.party_body(hospital.fingerprint).keys if k.use == "enclave"]
    assert [k.public for k in vouched] == [card["enclave_key"]]


@pytest.mark.parametrize("card", [{}, {"format": "x"}, {"format": "trustspace-enclave-card-v1", "name": 7}])
def test_a_card_that_is_none_is_not_adopted(world, three, card):
    before = three[0].party
    with pytest.raises(InvalidInput):
        adopt(three[0], card, "127.0.0.1:0")
    assert three[0].party == before


def test_one_of_several_enclaves_has_to_be_named(world, three):
    hospital = three[0]
    with pytest.raises(NotFound):
        own_enclave(hospital, None)
    made = [make_enclave(world, hospital, name=name) for name in ("Enclave A", "Enclave B")]
    try:
        with pytest.raises(InvalidInput, match="several"):
            own_enclave(hospital, None)
        assert own_enclave(hospital, "Enclave B").name == "Enclave B"
        with pytest.raises(NotFound):
            own_enclave(hospital, "Enclave C")
    finally:
        for enclave in made:
            enclave.stop()


def test_an_enclave_belongs_to_one_source_unit(world, three):
    from trustspace.domain.statements import read
    from trustspace.enclave import home as enclave_home

    hospital = three[0]
    other = world.party("Hospital B", "source-unit", reviewers=("Dr Wu",))
    enclave = make_enclave(world, hospital)
    enclave.stop()
    card = json.loads((enclave.path / "card.json").read_bytes())
    theirs = read(enclave_home.Adoption, adopt(other, card, "127.0.0.1:0"), "adoption")
    with pytest.raises(AlreadyExists, match="another source unit"):
        enclave_home.accept(enclave.path, theirs)
    assert enclave_home.EnclaveHome(enclave.path).adoption().owner == hospital.fingerprint


def test_what_cannot_be_written_down_is_not_done(world, three, monkeypatch):
    """A refusal that its own disk does not take is not sent either: nobody relies on what may be forgotten."""
    from trustspace.client import acting

    hospital, developer, buyer = three
    enclave = make_enclave(world, hospital)
    publish(hospital, world)
    job = jobs.submit(developer, write_job(world))

    def full(path, *_):
        raise Unavailable("{file} could not be written.", file=path.name)

    monkeypatch.setattr(acting, "write_atomic", full)
    with pytest.raises(Unavailable):
        jobs.refuse(hospital, job)
    monkeypatch.undo()
    assert world.state(job) == "submitted"
    assert hospital.remembered("refused", job) is None
    jobs.refuse(hospital, job)
    assert world.state(job) == "refused"
    with pytest.raises(PolicyRefused):
        jobs.grant(hospital, job)
    enclave.stop()


def test_a_withdrawn_dataset_is_asked_for_in_vain(world, three):
    hospital, developer, _ = three
    enclave = make_enclave(world, hospital)
    digest = publish(hospital, world)
    assert jobs.submit(developer, write_job(world))
    datasets.withdraw(hospital, digest)
    with pytest.raises((InvalidInput, NotFound)):
        jobs.submit(developer, write_job(world))
    with pytest.raises(NotFound):
        datasets.withdraw(hospital, "00" * 32)
    # Told again, after a break, it says so again and does no harm.
    enclave.stop()


def test_files_of_a_home_survive_a_kill_in_the_middle_of_a_write(world, three):
    """What is half-written lies beside the file and never in its place."""
    hospital = three[0]
    before = (hospital.path / "trust.json").read_bytes()
    (hospital.path / ".tmp-0123456789abcdef").write_bytes(before[: len(before) // 2])
    assert hospital.trust().parties
    hospital.pin("Auditor", "ab" * 32)
    assert json.loads((hospital.path / "trust.json").read_bytes())["parties"]
    assert os.path.exists(hospital.path / "party.json")


def test_a_key_that_is_given_up_signs_no_more(world, three):
    hospital = three[0]
    key = next(k for k in hospital.party.keys if k.use == "act")
    name = hospital.key_name("act")
    body = DatasetWithdrawn(dataset="ab" * 32)
    # Before, it is believed: what is refused is the dataset, which does not exist.
    with pytest.raises(PermissionDenied):
        hospital.submit(body, "act")
    before = hospital.party.sequence
    changed = hospital.publish(without=[key])
    assert key not in changed.keys
    assert changed.sequence == before + 1 == hospital.party.sequence
    with pytest.raises(VerificationFailed, match="vouches"):
        hospital.session.submit(
            body, public=hospital.keys.public(name), sign=lambda message: hospital.keys.sign(name, message)
        )
    assert key in hospital.publish([key]).keys


@pytest.mark.parametrize("name", ["", "two\nlines", "x" * 201])
@pytest.mark.parametrize("whose", ["party", "reviewer"])
def test_a_name_that_cannot_be_signed_leaves_nothing_behind(tmp_path, name, whose):
    named = (name, ["Dr Li"]) if whose == "party" else ("Hospital A", [name])
    with pytest.raises(InvalidInput, match="a line of 1 to 200"):
        PartyHome.create(tmp_path / "home", named[0], ["source-unit"], reviewers=named[1])
    assert not (tmp_path / "home").exists()
