"""The desk over a real space: what its forms sign is what the ledger then holds, for two reviewers and a grant."""

import http.client
import json
import re
import urllib.parse

import pytest
from support import processes
from support.desks import ASKED, DeskStory
from support.story import Story
from support.visitor import Visitor, plain

from trustspace.cli.i18n import catalogue
from trustspace.client import reviewers
from trustspace.client.datasets import DEFAULT_POLICY
from trustspace.domain.records import DecisionRecord, GrantRecord, JobRecord, OutputRecord


@pytest.fixture(scope="module")
def desk():
    story = DeskStory().fill(train=False)
    yield story
    story.close()


def at(story, reviewer="Dr Li", home=None):
    return Visitor(home or story.hospital, reviewer, chinese=catalogue()).enter()


def record(story, job):
    found = story.world.ledger.view.get(JobRecord, job)
    assert found is not None
    return found


def decisions(story, job):
    output = story.world.ledger.view.get(OutputRecord, record(story, job).output)
    found = [story.world.ledger.view.get(DecisionRecord, digest) for digest in output.decisions.values()]
    return {decision.statement: decision.body for decision in found}


def sign(visitor, path, **fields):
    """Confirm and sign; returns where the form went, and the receipt."""
    where = visitor.draft(visitor.post(f"{path}/confirm", fields))
    answer = visitor.post(where)
    assert answer.status_code == 303, answer.text
    receipt = visitor.get(answer.headers["Location"].removeprefix(visitor.gate.root))
    assert receipt.status_code == 200
    return where, receipt


def test_code_is_shown_with_its_changes_since_what_was_approved(desk):
    answer = at(desk).get(f"/case/{desk.waiting['code']}")
    says = plain(answer)
    assert (
        "Changes since “Mean size by diagnosis”, the last approved code of this developer here: 2 lines added, 1"
        in says
    )
    assert "+ large = [size for size in sizes if size > 12]" in says
    assert 'class="added"' in answer.text


def test_two_people_approve_each_alone_and_it_is_released(desk):
    job = desk.waiting["code"]
    li, wang = at(desk), at(desk, "Dr Wang")
    where, receipt = sign(
        li, f"/case/{job}", choice="approve", file="summary.json", comment="seen", days="14"
    )
    (statement,) = decisions(desk, job)
    assert statement in plain(receipt).replace(" ", "")
    body = decisions(desk, job)[statement]
    assert (body.verdict, body.artifacts, body.comment != "") == ("approve", ("summary.json",), True)
    # The same form again, as of an impatient finger: the same receipt, and nothing more in the ledger.
    assert li.post(where).headers["Location"].endswith(where.removeprefix("/sign/"))
    assert list(decisions(desk, job)) == [statement]
    assert "You have decided: approved." in plain(li.get(f"/case/{job}"))
    assert job not in li.get("/queue").text
    assert "Dr Li hidden until you decide" in plain(wang.get(f"/case/{job}"))
    sign(wang, f"/case/{job}", choice="approve", file="summary.json", days="30")
    assert record(desk, job).state == "released"
    both = plain(wang.get(f"/case/{job}"))
    assert "2 of 2 approvals" in both
    assert "seen" in both


def test_a_released_output_can_be_revoked(desk):
    job = desk.waiting["code"]
    li = at(desk)
    assert 'value="approve"' not in li.get(f"/case/{job}").text
    _, receipt = sign(li, f"/case/{job}", choice="revoke")
    assert "You revoked" in plain(receipt)
    assert record(desk, job).state == "revoked"
    assert 'value="revoke"' not in li.get(f"/case/{job}").text


def test_changes_are_asked_for_with_reasons(desk):
    job = desk.waiting["more"]
    _, receipt = sign(
        at(desk), f"/case/{job}", choice="changes", reason="needs-privacy", note="Ask for fewer columns."
    )
    assert "You asked for changes" in plain(receipt)
    (body,) = decisions(desk, job).values()
    assert (body.verdict, body.reasons, body.note != "") == ("changes", ("needs-privacy",), True)
    assert record(desk, job).state == "changes-requested"


def test_a_request_is_granted_in_the_words_that_were_shown(desk):
    visitor = at(desk)
    assert "Malignancy, second reading" in plain(visitor.get("/requests"))
    shown = plain(visitor.get(f"/request/{desk.job}"))
    assert "A second opinion for the tumour board." in shown
    assert "3.17 bits" in shown
    terms = {
        "choice": "grant",
        "reviewer": "Dr Wang",
        "threshold": "1",
        "runs": "2",
        "days": "5",
        "tier": "any",
    }
    for wrong in ({"runs": "0"}, {"days": "400"}, {"threshold": ""}, {"tier": "none"}, {"privacy": "1e3"}):
        assert visitor.post(f"/request/{desk.job}/confirm", {**terms, **wrong}).status_code == 400
    says = plain(visitor.post(f"/request/{desk.job}/confirm", terms))
    assert "at most 2 run(s) of this job" in says
    assert "until 1 of these reviewers approve it: Dr Wang" in says
    assert not record(desk, desk.job).grants
    sign(visitor, f"/request/{desk.job}", **terms)
    grant = desk.world.ledger.view.get(GrantRecord, record(desk, desk.job).grants[desk.hospital.fingerprint])
    assert [r.holder for r in grant.body.reviewers] == ["Dr Wang"]
    assert (grant.body.runs, grant.body.reviewer_threshold) == (2, 1)
    assert "granted" in plain(visitor.get(f"/request/{desk.job}"))


def test_a_request_is_refused_and_a_grant_that_was_drafted_is_worth_nothing_then(desk):
    visitor = at(desk)
    desk.ask(text=ASKED)
    path = f"/request/{desk.job}"
    terms = {
        "choice": "grant",
        "reviewer": "Dr Li",
        "threshold": "1",
        "runs": "1",
        "days": "5",
        "tier": "any",
    }
    drafted = visitor.draft(visitor.post(f"{path}/confirm", terms))
    _, receipt = sign(visitor, path, choice="refuse")
    assert "You refused" in plain(receipt)
    assert record(desk, desk.job).state == "refused"
    assert visitor.post(drafted).status_code == 400
    assert not record(desk, desk.job).grants


def test_a_reviewers_own_home_reads_requests_and_answers_none(desk):
    home = reviewers.ReviewerHome.create(desk.world.path / "dr-chen", "Dr Chen")
    home.join(reviewers.adopt(desk.hospital, home.card))
    visitor = at(desk, "Dr Chen", home)
    desk.ask(text=ASKED)
    for path in ("/requests", f"/request/{desk.job}"):
        assert "has no key that signs grants" in plain(visitor.get(path))
    assert 'value="grant"' not in visitor.get(f"/request/{desk.job}").text
    refused = visitor.post(f"/request/{desk.job}/confirm", {"choice": "refuse"})
    assert refused.status_code == 400
    assert record(desk, desk.job).state == "submitted"
    assert "Your source unit's own home keeps the count" in plain(visitor.get("/overview"))
    assert visitor.get("/queue").status_code == 200


def test_red_evidence_takes_two_people_and_a_reason():
    story = Story(policy=DEFAULT_POLICY.model_copy(update={"not_applicable": ()}))
    try:
        story.until_review(reviewers=("Dr Li", "Dr Wang"), threshold=1)
        alone = at(story)
        page = alone.get(f"/case/{story.job}")
        assert "Do not release this as it is" in plain(page)
        assert 'value="approve" data-key="a" required disabled' in page.text
        approval = {"choice": "approve", "file": "summary.json", "days": "30", "comment": "needed"}
        assert "needs a written reason" in plain(alone.post(f"/case/{story.job}/confirm", approval))
        ticked = {**approval, "accept_red": "yes"}
        where = alone.draft(alone.post(f"/case/{story.job}/confirm", ticked))
        refused = alone.post(where)
        assert refused.status_code == 409
        assert "the grant lets one person alone decide" in plain(refused)
        assert decisions(story, story.job) == {}
        story.until_review(reviewers=("Dr Li", "Dr Wang"), threshold=2)
        two = at(story)
        for fields in ({**approval, "accept_red": ""}, {**ticked, "comment": "  "}):
            assert two.post(f"/case/{story.job}/confirm", fields).status_code == 400
        sign(two, f"/case/{story.job}", **ticked)
        (body,) = decisions(story, story.job).values()
        assert body.verdict == "approve"
    finally:
        story.close()


_WEB = (
    "import sys; from trustspace.cli.main import run; "
    "sys.exit(run(['--home', sys.argv[1], '--json', 'review', 'web', '--reviewer', 'Dr Li']))"
)


def test_the_command_serves_the_desk_until_it_is_closed(desk):
    child = processes.Child(_WEB, desk.hospital.path)
    try:
        said = json.loads(" ".join(child.said))
        assert said["reviewer"] == "Dr Li"
        address = urllib.parse.urlsplit(said["address"])
        assert (address.hostname, address.scheme) == ("127.0.0.1", "http")

        def ask(method, path, body="", cookie=""):
            line = http.client.HTTPConnection(address.netloc, timeout=60)
            headers = {"Cookie": cookie, "Origin": f"http://{address.netloc}",
                       "Content-Type": "application/x-www-form-urlencoded"}  # fmt: skip
            line.request(method, path, body or None, headers)
            answer = line.getresponse()
            found = answer.status, answer.getheader("Set-Cookie") or "", answer.read().decode()
            line.close()
            return found

        assert ask("HEAD", f"{address.path}?{address.query}")[0] == 403  # a look ahead does not use it up
        status, cookie, _ = ask("GET", f"{address.path}?{address.query}")
        assert status == 200
        status, _, queue = ask("GET", f"{address.path}queue", cookie=cookie.split(";")[0])
        assert status == 200
        form = re.search(r'name="form" value="([^"]+)"', queue)[1]
        assert ask("POST", f"{address.path}close", f"form={form}", cookie.split(";")[0])[0] == 200
        assert child.process.wait(60) == 0
    finally:
        child.end()
