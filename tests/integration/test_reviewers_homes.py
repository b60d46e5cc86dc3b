"""Reviewers with homes of their own: four eyes as a fact, and what a stolen home is worth."""

import base64
import json
import stat

import pytest
from support.story import Story
from support.world import World

from trustspace.client import jobs, releases, review, reviewers
from trustspace.client.enclaves import enclave_link, own_enclave
from trustspace.client.home import PartyHome
from trustspace.client.reviewers import ReviewerAdoption, ReviewerCard, ReviewerHome
from trustspace.crypto.canonical import verify_commitment
from trustspace.crypto.padding import unpad
from trustspace.crypto.seal import open_bytes
from trustspace.crypto.shares import combine, decode_share
from trustspace.domain.binding import artifact_context, share_binding
from trustspace.domain.bodies import DatasetWithdrawn, Refusal
from trustspace.domain.records import DatasetRecord, OutputRecord
from trustspace.domain.statements import dump, read
from trustspace.errors import (
    AlreadyExists,
    InvalidInput,
    NotFound,
    PermissionDenied,
    TrustspaceError,
    Unauthenticated,
    Unavailable,
    VerificationFailed,
)  # fmt: skip
from trustspace.storage.keystore import FileKeyStore
from trustspace.transport.channel import connect
from trustspace.transport.links import EnclaveLink
from trustspace.transport.tls import Caller, caller_of, new_key, new_request

LI, WANG = "Dr Li", "Dr Wang"


def take_in(hospital, path, name, **options):
    """A reviewer's own home, made, adopted and joined; the three files go from hand to hand."""
    home = ReviewerHome.create(path, name)
    card = read(ReviewerCard, json.loads((path / "card.json").read_bytes()), "card")
    adoption = json.loads(json.dumps(dump(reviewers.adopt(hospital, card, **options))))
    home.join(read(ReviewerAdoption, adoption, "adoption"))
    return home


class Homes:
    """Hospital A without a reviewer's key of its own; Dr Li and Dr Wang at home; an output that needs both."""

    def __init__(self):
        self.story = Story(people=())
        self.world, self.hospital = self.story.world, self.story.hospital
        self.people = {
            name: take_in(self.hospital, self.world.path / folder, name)
            for name, folder in ((LI, "li"), (WANG, "wang"))
        }

    def approve(self, name):
        home = self.people[name]
        case = review.open_case(home, self.story.job, home.reviewer())
        review.approve(home, case, comment="a second opinion is needed", accept_red=True)
        return self.story.state


@pytest.fixture(scope="module")
def reviewed():
    """Up to the review, once: what follows only looks, or is the one test that decides."""
    made = Homes()
    made.story.until_review(reviewers=(LI, WANG), threshold=2)
    yield made
    made.story.close()


@pytest.fixture
def homes():
    made = Homes()
    yield made
    made.story.close()


def opened_with(world: World, output: OutputRecord, unit: str, name: str, paths):
    """What somebody gets of an artifact who has all files below ``paths``, and all that the space has.

    Every key there is tried on every share of the unit's; what opens is put together with whatever number of shares is
    at hand. The space's part is read past all permissions: statements from its ledger, ciphertext from its disk.
    """
    artifact = next(a for a in output.body.artifacts if a.name == name)
    (holder,) = artifact.units
    stores = [FileKeyStore(path / "keys", None) for path in paths]
    shares = []
    for share in holder.shares:
        info = share_binding(
            job=output.body.job, run=output.body.run, artifact=name, source_unit=unit, reviewer=share.reviewer
        )
        for store in stores:
            for key in store.names():
                try:
                    found = store.open(key, bytes.fromhex(share.sealed), info)
                except TrustspaceError:
                    continue
                shares.append(decode_share(found[32:]))
    sealed = b"".join(world.space._blobs.read(artifact.blob))
    for count in range(1, len(shares) + 1):
        try:
            key = combine([decode_share(combine(shares[:count], count))], 1)
            content = unpad(open_bytes(key, artifact_context(output.body.job, output.body.run, name), sealed))
            verify_commitment(artifact.commitment, content[32:], content[:32])
            return content[32:]
        except (TrustspaceError, ValueError):
            continue
    return None


def test_two_homes_open_an_output_and_neither_alone(reviewed):
    story, world, unit = reviewed.story, reviewed.world, reviewed.hospital.fingerprint
    main, li, wang = reviewed.hospital.path, reviewed.people[LI].path, reviewed.people[WANG].path

    def gets(*paths):
        output = world.ledger.view.get(OutputRecord, story.record.output)
        return opened_with(world, output, unit, "summary.json", paths)

    both = gets(li, wang)
    assert b'"rows": 120' in both or b'"rows":120' in both
    everybody_else = [path.parent for path in world.path.glob("*/keys") if path.parent not in (li, wang)]
    assert main in everybody_else
    assert len(everybody_else) >= 5  # the unit, its enclave, the space, developer, buyer, auditor
    for alone in ((li,), (wang,), (main,), (main, li), (main, wang), tuple(everybody_else)):
        assert gets(*alone) is None, [path.name for path in alone]
    # The evidence, each of them reads alone.
    assert review.open_case(reviewed.people[LI], story.job, LI).report.verdict

    assert reviewed.approve(LI) == "in-review"
    # What Dr Li hands on is sealed to the buyer: neither the colleague nor the unit opens anything with it.
    assert gets(wang) is None
    assert gets(main, wang) is None
    assert reviewed.approve(WANG) == "released"
    delivered = {d.name: d.content for d in releases.fetch(story.buyer, story.job)[0]}
    assert delivered["summary.json"] == both


def test_keys_stay_where_they_were_made(reviewed):
    """Every file of every other home and of the space, searched for a reviewer's secrets in any plain form."""
    for home in reviewed.people.values():
        secrets = {home.keys._load(name).secret for name in home.keys.names()}
        secrets |= {
            f(secret) for secret in set(secrets) for f in (lambda s: s.hex().encode(), base64.b64encode)
        }
        secrets.add((home.path / "tls/client.key").read_bytes().splitlines()[1])
        files = [path for path in reviewed.world.path.rglob("*") if path.is_file()]
        holding = {path for path in files if any(secret in path.read_bytes() for secret in secrets)}
        assert holding == {
            home.path / name for name in ("keys/review.key", "keys/review-open.key", "tls/client.key")
        }
        assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
        for path in holding:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nobody_decides_from_the_units_own_home(reviewed):
    hospital = reviewed.hospital
    assert hospital.reviewers_here == ()
    assert hospital.reviewers_elsewhere == (LI, WANG)
    for act in (
        lambda: hospital.reviewer(),
        lambda: review.open_case(hospital, reviewed.story.job, LI),
        lambda: review.sealed_case(hospital, reviewed.story.job, WANG),
    ):
        with pytest.raises(NotFound, match="home"):
            act()


def _signed(home, body, name):
    return home.session.sign(
        body, public=home.keys.public(name), sign=lambda message: home.keys.sign(name, message)
    )


def test_a_stolen_home_does_not_act_for_its_unit(reviewed):
    """Whoever has Dr Li's directory: what it can sign, what the space takes from it, and what opens to it."""
    story, world, hospital, li = reviewed.story, reviewed.world, reviewed.hospital, reviewed.people[LI]
    link, main = world.link(li), world.link(hospital)
    dataset = world.ledger.view.get(DatasetRecord, story.dataset)
    bodies = [
        Refusal(job=story.job),
        DatasetWithdrawn(dataset=story.dataset),
        hospital.party.model_copy(update={"sequence": hospital.party.sequence + 1}),
        dataset.body.model_copy(update={"version": 2}),
    ]
    for body in bodies:
        for by in (link, main):  # also where the space takes statements signed with any key of the unit's
            with pytest.raises(VerificationFailed):
                by.submit(_signed(li, body, "review").envelope.to_bytes())
        with pytest.raises(NotFound):
            li.submit(body, "act")
    # A statement that the unit has signed, and keeps back: its own connection takes it, the reviewer's does not.
    kept = _signed(hospital, DatasetWithdrawn(dataset=story.dataset), "act").envelope.to_bytes()
    with pytest.raises(PermissionDenied, match="own key"):
        link.submit(kept)
    # Nor does it make machines of the unit, or speak as one.
    request = new_request(new_key())
    key = li.card.review
    with pytest.raises(PermissionDenied):
        link.enrol_machine(request, key)
    assert caller_of(main.enrol_machine(request, key)) == Caller(hospital.fingerprint, "reviewer", key)
    with pytest.raises(PermissionDenied):
        main.enrol_machine(request, hospital.keys.public("act").hex())
    # The enclave's door opens to the unit's own certificate alone.
    own = own_enclave(hospital, None)
    assert enclave_link(hospital, own).status()["datasets"]
    door = EnclaveLink(connect(own.address, own.certificate.encode(), li.identity(), "trustspace-enclave"))
    with pytest.raises((Unavailable, Unauthenticated, PermissionDenied)):
        door.status()


def test_the_kept_statement_stands_from_the_units_own_connection(homes):
    """The control of the above: what the reviewer's connection is refused, the unit's is not."""
    homes.story.ask()
    kept = _signed(homes.hospital, Refusal(job=homes.story.job), "grant").envelope.to_bytes()
    with pytest.raises(PermissionDenied, match="own key"):
        homes.world.link(homes.people[LI]).submit(kept)
    homes.world.link(homes.hospital).submit(kept)
    assert homes.story.state == "refused"


def test_who_is_removed_is_shown_and_believed_nothing_more(homes):
    story, hospital, li = homes.story, homes.hospital, homes.people[LI]
    story.until_review(reviewers=(LI, WANG), threshold=1)
    case = review.open_case(li, story.job, LI)
    link = homes.world.link(li)
    output = homes.world.ledger.view.get(OutputRecord, story.record.output)
    blob = output.body.artifacts[0].blob
    attempts = [
        lambda: link.view("jobs"),
        lambda: link.fetch(blob, 1 << 20),
        lambda: link.checkpoint(0),
        lambda: link.read(0, 10, 0),
        lambda: next(iter(link.leaves(0, 1))),
    ]
    for attempt in attempts:
        assert attempt()
    assert reviewers.remove(hospital, LI).destroyed == ()
    for attempt in attempts:
        with pytest.raises(PermissionDenied, match="vouch"):
            attempt()
    # The decision itself is refused by its key, whoever carries it.
    body = review._decision(hospital, case, "reject", "")
    for by, error in ((link, PermissionDenied), (homes.world.link(hospital), VerificationFailed)):
        with pytest.raises(error, match="vouch"):
            by.submit(_signed_offline(li, body).envelope.to_bytes())
    assert story.state == "in-review"
    wang = homes.people[WANG]
    review.reject(wang, review.open_case(wang, story.job, WANG))
    assert story.state == "rejected"
    with pytest.raises(NotFound):
        reviewers.remove(hospital, LI)


def _signed_offline(home, body):
    from trustspace.domain.statements import make

    return make(
        body, by=home.fingerprint, issued=home.session.now(), nonce=b"n" * 32, log=home.session.accepted(),
        public=home.keys.public("review"), sign=lambda message: home.keys.sign("review", message),
    )  # fmt: skip


def test_a_card_or_an_answer_that_was_changed_on_the_way_is_noticed(homes):
    hospital, path = homes.hospital, homes.world.path
    mine, theirs = ReviewerHome.create(path / "wu", "Dr Wu"), ReviewerHome.create(path / "mallory", "Dr Wu")
    for field in ("review", "review_open", "request", "name"):
        swapped = mine.card.model_copy(
            update={field: getattr(theirs.card, field) + ("x" if field == "name" else "")}
        )
        assert swapped.fingerprint != mine.card.fingerprint
    adoption = reviewers.adopt(hospital, mine.card)
    with pytest.raises(VerificationFailed, match="another reviewer"):
        theirs.join(adoption)
    with pytest.raises(VerificationFailed, match="another reviewer"):
        mine.join(adoption.model_copy(update={"certificate": homes.people[LI].adoption.certificate}))
    with pytest.raises(Unavailable, match="taken this reviewer in"):
        mine.session.sync()
    # The answer of a unit whose root does not vouch for the keys is no use, whatever it says.
    other = homes.world.party("Hospital B", "source-unit")
    forged = adoption.model_copy(
        update={
            "unit": other.fingerprint, "trust": other.trust(), "unit_name": "Hospital B", "root": other.party.root
        }
    )  # fmt: skip
    forged = forged.model_copy(update={"signature": other.keys.sign("root", forged.signed).hex()})
    with pytest.raises(VerificationFailed, match="vouches"):
        mine.join(forged)
    with pytest.raises(VerificationFailed, match="name the source unit"):
        mine.join(adoption.model_copy(update={"trust": other.trust()}))
    # Nothing of it was kept: the right answer is taken, and no other after it.
    mine.join(adoption)
    assert mine.fingerprint == hospital.fingerprint
    with pytest.raises(AlreadyExists, match="another source unit"):
        mine.join(forged)


def test_one_name_is_one_person_unless_said(homes):
    hospital, path = homes.hospital, homes.world.path
    newer = ReviewerHome.create(path / "li-2", LI)
    with pytest.raises(AlreadyExists, match=LI):
        reviewers.adopt(hospital, newer.card)
    newer.join(reviewers.adopt(hospital, newer.card, replace=True))
    held = {k.public for k in hospital.party.keys if k.holder == LI}
    assert held == {newer.card.review, newer.card.review_open}
    with pytest.raises(PermissionDenied, match="vouch"):
        homes.people[LI].session.sync()
    # Adopted again, its certificate is renewed, and nothing is published.
    before = hospital.party.sequence
    hospital.pin("Auditor B", "ab" * 32)
    newer.join(reviewers.adopt(hospital, newer.card))
    assert hospital.party.sequence == before
    assert newer.trust().resolve("Auditor B") == "ab" * 32


def test_somebody_moves_from_the_units_home_to_one_of_their_own():
    story = Story()
    try:
        hospital = story.hospital
        assert hospital.reviewers_here == (LI, WANG)
        public = {hospital.keys.public(hospital.key_name(use, LI)).hex() for use in ("review", "review-open")}
        home = take_in(hospital, story.world.path / "li", LI, replace=True)
        assert (hospital.reviewers_here, hospital.reviewers_elsewhere) == ((WANG,), (LI,))
        left = {hospital.keys.public(n).hex() for n in hospital.keys.names() if not n.startswith("data-")}
        assert not public & left
        # One at home, one in the unit's: both decide, each from where the keys are.
        story.until_review(reviewers=(LI, WANG), threshold=2)
        review.approve(home, review.open_case(home, story.job, LI), comment="c", accept_red=True)
        assert story.approve(WANG) == "released"
    finally:
        story.close()


def test_a_unit_without_a_reviewer_grants_nothing():
    story = Story(people=())
    try:
        story.ask()
        with pytest.raises(NotFound, match="no reviewer"):
            jobs.grant(story.hospital, story.job, reviewers=())
        take_in(story.hospital, story.world.path / "li", LI)
        with pytest.raises(NotFound, match="Dr Nobody"):
            jobs.grant(story.hospital, story.job, reviewers=("Dr Nobody",))
        assert jobs.grant(story.hospital, story.job, reviewers=())
    finally:
        story.close()


@pytest.mark.parametrize("card", [{}, {"format": "x"}, {"format": "trustspace-reviewer-card-v1", "name": 7}])
def test_a_card_that_is_none_is_not_read(card):
    with pytest.raises(InvalidInput):
        read(ReviewerCard, card, "reviewer's card")


def test_a_passphrase_locks_a_reviewers_keys(tmp_path):
    path = ReviewerHome.create(tmp_path / "li", LI, passphrase="correct horse").path
    for use in ("review", "review-open"):
        assert ReviewerHome(path, "correct horse").key_name(use) == use
    assert ReviewerHome(path, "correct horse").keys.sign("review", b"m")
    for wrong in (None, "wrong"):
        with pytest.raises(Unauthenticated):
            ReviewerHome(path, wrong).keys.sign("review", b"m")


def test_only_a_source_unit_has_reviewers(world, three, tmp_path):
    home = ReviewerHome.create(tmp_path / "li", LI)
    with pytest.raises(InvalidInput, match="source unit"):
        reviewers.adopt(three[1], home.card)
    with pytest.raises(AlreadyExists):
        ReviewerHome.create(home.path, LI)
    with pytest.raises(AlreadyExists):
        ReviewerHome.create(three[0].path, LI)
    with pytest.raises(NotFound):
        PartyHome(home.path)
