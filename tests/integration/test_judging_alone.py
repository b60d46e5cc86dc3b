"""Two reviewers with homes of their own: the space itself keeps from each what the other decided, until both have."""

import json

import pytest
from test_reviewers_homes import LI, WANG, Homes

from trustspace.cli.main import run
from trustspace.client import review
from trustspace.domain.bodies import Decision
from trustspace.domain.statements import parse
from trustspace.errors import NotFound


def decisions(home, job):
    return [s.digest for s in home.session.job(job).statements if isinstance(s.body, Decision)]


def read_by(world, home):
    return [
        parse(entry.envelope).digest
        for entry in world.link(home).read(0, 256, 0)[0]
        if isinstance(parse(entry.envelope).body, Decision)
    ]


def test_the_space_shows_a_reviewer_no_colleagues_decision_before_their_own(capsys):
    homes = Homes()
    try:
        story, world = homes.story, homes.world
        story.until_review(reviewers=(LI, WANG), threshold=2)
        homes.approve(LI)
        li, wang = homes.people[LI], homes.people[WANG]
        (first,) = decisions(li, story.job)
        # Past the client, by every way that there is to ask.
        assert decisions(wang, story.job) == read_by(world, wang) == []
        with pytest.raises(NotFound):
            wang.session.notice(first)
        (listed,) = (j for j in world.link(wang).view("jobs") if j["statement"] == story.job)
        assert listed["decided_by"] == []
        assert review.standing_for(review.open_case(wang, story.job, WANG), WANG).blind
        # The controls: the one who decided, the unit's own home and the auditor see it.
        for home in (li, homes.hospital, story.auditor):
            assert decisions(home, story.job) == read_by(world, home) == [first]
        (listed,) = (j for j in world.link(li).view("jobs") if j["statement"] == story.job)
        assert len(listed["decided_by"]) == 1
        # Each home lists what waits for its own person, as the desk there does.
        for home, waits in ((li, False), (wang, True)):
            assert run(["--home", str(home.path), "--json", "review", "list"]) == 0
            assert bool(json.loads(capsys.readouterr().out)["reviews"]) is waits
        assert homes.approve(WANG) == "released"
        assert len(decisions(wang, story.job)) == 2
        assert review.standing_for(review.sealed_case(wang, story.job, WANG), WANG).approved == 2
    finally:
        homes.story.close()
