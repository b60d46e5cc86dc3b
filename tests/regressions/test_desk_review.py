"""What a review of the reviewers' desk, homes and policy files found; each mended, each kept."""

import json
import re
from dataclasses import replace

import pytest
from pydantic import ValidationError
from support.story import Story
from support.visitor import Visitor, plain

from trustspace.cli.i18n import catalogue
from trustspace.cli.main import run
from trustspace.cli.policy_file import FORMAT, parse, read_policy
from trustspace.client import review, reviewers
from trustspace.client.datasets import DEFAULT_POLICY
from trustspace.client.reviewers import ReviewerHome
from trustspace.domain.trust import TrustFile
from trustspace.errors import InvalidInput, Unavailable, VerificationFailed
from trustspace.evidence.figures import Histogram
from trustspace.evidence.render import drawn
from trustspace.web import code
from trustspace.web.code import compare


@pytest.fixture(scope="module")
def story():
    """One output that two people of the hospital have to approve."""
    made = Story()
    made.until_review(reviewers=("Dr Li", "Dr Wang"), threshold=2)
    yield made
    made.close()


@pytest.fixture
def visitor(story):
    return Visitor(story.hospital, "Dr Li", chinese=catalogue()).enter()


# -- policy files


@pytest.mark.parametrize(
    "line",
    ["reviewers = " + "9" * 6000, "x = " + "[" * 50_000, "x = " + "{a=" * 20_000],
    ids=["number", "list", "table"],
)
def test_a_policy_file_beyond_all_bounds_is_refused_in_words(line):
    """Python's parser answers these with errors of its own, which came out as an error inside trustspace."""
    with pytest.raises(InvalidInput, match="no policy can have"):
        parse(f'format = "{FORMAT}"\n{line}\n', DEFAULT_POLICY)


def test_a_policy_file_from_an_editor_on_windows_is_read(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_bytes(b"\xef\xbb\xbf" + f'format = "{FORMAT}"\r\nreviewers = 2\r\n'.encode())
    assert read_policy(path).reviewers == 2


# -- reviewers' homes


def _swapped(adoption, **changes):
    return adoption.model_copy(update=changes)


def test_pins_exchanged_on_the_way_to_a_reviewer_are_noticed(story, monkeypatch):
    """Whoever carries an adoption could have pinned itself as the buyer: only the unit's fingerprint was compared."""
    home = ReviewerHome.create(story.world.path / "zhao", "Dr Zhao")
    adoption = reviewers.adopt(story.hospital, home.card)
    mallory = "f" * 64
    pins = json.loads(adoption.trust.model_dump_json())
    for pin in pins["parties"]:
        if pin["name"] == "City Clinic":
            pin["fingerprint"] = mallory
    forged = _swapped(adoption, trust=TrustFile.model_validate_json(json.dumps(pins)))
    # Whoever carries it has a root as well, and may sign with it in the unit's name.
    carrier = story.world.party("Mallory Hospital", "source-unit")
    signed = _swapped(forged, root=carrier.party.root)
    signed = _swapped(signed, signature=carrier.keys.sign("root", signed.signed).hex())
    moved = _swapped(adoption, space_address="127.0.0.1:1")
    for bad in (forged, moved, _swapped(forged, root="0" * 64), signed):
        with pytest.raises(VerificationFailed, match="has signed it"):
            home.join(bad)
    assert not (home.path / "trust.json").exists()
    # The control: nothing but the signature stands in the way.
    with monkeypatch.context() as patch:
        patch.setattr(reviewers.ReviewerAdoption, "require_signed", lambda _: None)
        other = ReviewerHome.create(story.world.path / "qian", "Dr Qian")
        answer = reviewers.adopt(story.hospital, other.card)
        other.join(_swapped(answer, trust=forged.trust))
        assert other.trust().resolve("City Clinic") == mallory
    home.join(adoption)
    assert home.trust().resolve("City Clinic") == story.buyer.fingerprint
    # A space that is pinned stays: another one is not taken over with a newer answer, whoever signed it.
    space = adoption.trust.space.model_copy(update={"operator": "e" * 64})
    moved = _swapped(adoption, trust=adoption.trust.model_copy(update={"space": space}))
    moved = _swapped(moved, signature=story.hospital.keys.sign("root", moved.signed).hex())
    with pytest.raises(VerificationFailed, match="another space"):
        home.join(moved)
    assert home.trust().space == adoption.trust.space


def test_a_card_with_somebody_elses_key_is_not_adopted(story):
    """Removing its owner later would have destroyed that key in the unit's home."""
    mine = ReviewerHome.create(story.world.path / "sun", "Dr Sun").card
    theirs = next(k.public for k in story.hospital.party.keys if (k.use, k.holder) == ("review", "Dr Wang"))
    grants = next(k.public for k in story.hospital.party.keys if k.use == "grant")
    for changes in ({"review": theirs}, {"review": grants}, {"review_open": theirs}):
        with pytest.raises(InvalidInput, match="somebody else"):
            reviewers.adopt(story.hospital, mine.model_copy(update=changes))
    assert all(key.holder != "Dr Sun" for key in story.hospital.party.keys)


@pytest.mark.parametrize("name", ["", "Dr\nLi", "x" * 201], ids=["empty", "two lines", "long"])
def test_a_reviewer_without_a_proper_name_is_not_made(tmp_path, capsys, name):
    assert run(["--home", str(tmp_path / "home"), "reviewer", "new", "--name", name]) == 2
    assert "1 to 200 characters" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


# -- the desk


def test_code_that_was_made_to_be_slow_to_compare_is_compared_in_bounded_work(monkeypatch):
    """Twenty thousand equal lines took a minute, and a whole bundle of them would have taken a day."""
    looked = 0
    find = code.difflib.SequenceMatcher.find_longest_match

    def counted(self, alo=0, ahi=None, blo=0, bhi=None):
        nonlocal looked
        upto = len(self.a) if ahi is None else ahi
        looked += sum(1 + len(self.b2j.get(line, ())) for line in self.a[alo:upto])
        return find(self, alo, ahi, blo, bhi)

    monkeypatch.setattr(code, "_MOST_WORK", 100_000)
    monkeypatch.setattr(code.difflib.SequenceMatcher, "find_longest_match", counted)
    files = {f"{n}.py": "x\n" * 1000 for n in range(5)}
    changed = compare(files, {name: text + "evil()\n" for name, text in files.items()})
    assert looked <= 100_000
    assert [file.lines[-1].text for file in changed] == ["evil()"] * 5
    assert all(file.lines[-1].mark == "added" for file in changed)
    # What is compared in time is compared as before.
    (file,) = compare({"a": "one\ntwo\n"}, {"a": "one\n2\n"})
    assert [line.mark for line in file.lines] == ["same", "removed", "added"]


def test_a_note_that_would_not_fit_is_sent_back_before_it_is_confirmed(visitor, story):
    fields = {"choice": "changes", "reason": "other"}
    answer = visitor.post(f"/case/{story.job}/confirm", {**fields, "note": "请减少轮次。" * 300})
    assert answer.status_code == 400
    assert "1362 Chinese characters fit" in plain(answer)
    assert visitor.post(f"/case/{story.job}/confirm", {**fields, "note": "请" * 1362}).status_code == 200


@pytest.mark.parametrize("digests", [[], 3, {"code": "x"}], ids=["list", "number", "text"])
def test_evidence_of_another_shape_does_not_open(story, digests):
    """It came out as an error inside the desk, where the output could not be rejected."""
    case = story.case()
    checks = tuple(
        check.model_copy(update={"facts": {**check.facts, "digests": digests}})
        if check.name == "digests"
        else check
        for check in case.report.checks
    )
    policy = review.policy_of(story.hospital, case.dossier, case.job)
    concerning = review._concerning(case)
    review._check_report(case.report, case.job, concerning, policy)
    with pytest.raises(VerificationFailed, match="another job"):
        review._check_report(case.report.model_copy(update={"checks": checks}), case.job, concerning, policy)


def test_whose_enclave_made_the_evidence_is_said(story, visitor, monkeypatch):
    """Of a source unit that dropped out it was said to be of its own enclave all the same."""
    case = story.case()
    assert "Computed in your enclave" in plain(visitor.get(f"/case/{story.job}"))
    body = case.output.body.model_copy(update={"members": ("0" * 64,)})
    dropped = replace(case, output=case.output.model_copy(update={"body": body}))
    monkeypatch.setattr(review, "open_case", lambda *_: dropped)
    assert "another source unit's enclave" in plain(visitor.get(f"/case/{story.job}"))
    whole = replace(case, output=case.output.model_copy(
        update={"body": body.model_copy(update={"members": (story.hospital.fingerprint,)})}
    ))  # fmt: skip
    assert whole.is_from_own_enclave
    assert not dropped.is_from_own_enclave


def test_no_histogram_counts_less_than_nothing():
    """Drawn in a terminal, such a one ended the command."""
    words = {"en": "losses", "zh": "损失"}
    histogram = {
        "kind": "histogram", "title": words, "x": words, "edges": ["0.0", "1.0"],
        "series": [{"name": words, "counts": [1]}],
    }  # fmt: skip
    assert drawn(Histogram.model_validate_json(json.dumps(histogram)), "en")
    histogram["series"][0]["counts"] = [-3, 5]
    with pytest.raises(ValidationError):
        Histogram.model_validate_json(json.dumps(histogram))


def test_what_could_not_be_sent_can_be_sent_again(story, visitor, monkeypatch):
    """The second time it said that nothing was signed, which nobody knew: the answer may have been lost."""
    where = visitor.draft(visitor.post(f"/case/{story.job}/confirm", {"choice": "reject"}))
    tried = []

    def lost(home, case, *, comment=""):
        tried.append(case.output.statement)
        if len(tried) == 1:
            raise Unavailable("The space cannot be reached.")
        return "a" * 64

    monkeypatch.setattr(review, "reject", lost)
    answer = visitor.post(where)
    assert answer.status_code == 503
    assert "Nothing was signed" not in plain(answer)
    assert visitor.post(where).status_code == 303
    assert visitor.post(where).status_code == 303
    assert len(tried) == 2


def test_an_output_whose_evidence_is_gone_can_be_revoked_on_the_desk(story, visitor, monkeypatch):
    """The last of this file: it releases the output. Who withholds the evidence must not hold up the stop."""
    assert story.approve() == "released"

    def closed(*_):
        raise VerificationFailed("The evidence judges other bytes than the output holds.")

    monkeypatch.setattr(review, "open_case", closed)
    shown = visitor.get(f"/case/{story.job}")
    assert shown.status_code == 409
    choices = re.findall(r'name="choice" value="([a-z]+)"', shown.text)
    assert choices == ["revoke"]
    where = visitor.draft(visitor.post(f"/case/{story.job}/confirm", {"choice": "revoke"}))
    assert visitor.post(where).status_code == 303
    assert story.state == "revoked"
    assert re.findall(r'name="choice"', visitor.get(f"/case/{story.job}").text) == []
