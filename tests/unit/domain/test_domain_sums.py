"""What a joint job says of how its sums are opened, and what a grant of it must say."""

import pytest
from support.joint import story

from trustspace.aggregation.selection import PAIRWISE_MASKS
from trustspace.domain.bodies import Grant, SumTerms, recovery_words
from trustspace.errors import InvalidInput, PolicyRefused

LATTICE = "lattice-sum-l-v1"
WORDS = "any 3 of the 4 source units together can open every single update"


def asked(needed, *, scheme=LATTICE, units=4):
    """A joint job of so many units that so many open the sums of, countersigned."""
    cast = story("describe", units=units, minimum=min(units, 3))
    body = cast.job_body(sums=SumTerms(scheme=scheme, needed=needed))
    cast.put(cast.sign(cast.developer, "act", body))
    return cast.countersign()


@pytest.mark.parametrize("kind", ["train", "statistics"])
def test_a_joint_job_says_how_its_sums_are_protected(kind):
    cast = story("describe", kind=kind)
    with pytest.raises(InvalidInput, match="does not say how its sums are protected"):
        cast.put(cast.sign(cast.developer, "act", cast.job_body(sums=None)))
    cast.put(cast.sign(cast.developer, "act", cast.job_body()))


@pytest.mark.parametrize(
    ("units", "needed", "stands"),
    [(4, 0, True), (4, 1, False), (4, 2, False), (4, 3, True), (4, 4, False), (4, 5, False),
     (5, 2, False), (5, 3, True), (5, 4, True), (2, 1, False), (2, 2, False), (3, 2, True)],
)  # fmt: skip
def test_more_than_half_open_a_sum_or_all(units, needed, stands):
    """Two halves of the source units could open sums over different sets, and subtract them."""
    if stands:
        assert asked(needed, units=units).job.body.sums.needed == needed
        return
    with pytest.raises(InvalidInput) as refused:
        asked(needed, units=units)
    assert refused.value.details["field"] == "sums.needed"


def test_the_words_name_who_can_open():
    assert recovery_words(asked(3).job.body) == WORDS
    assert recovery_words(asked(4, units=7).job.body).startswith("any 4 of the 7 ")
    for body in (
        asked(0).job.body,
        asked(0, scheme=PAIRWISE_MASKS).job.body,
        story("ask", units=1, minimum=1).job.body,
    ):
        assert recovery_words(body) == ""


@pytest.mark.parametrize("said", ["", "yes", WORDS.replace("3", "4"), WORDS + " ", WORDS.upper()])
def test_a_grant_says_so_in_these_words(said):
    cast = asked(3)
    unit = cast.units[0]
    with pytest.raises(PolicyRefused) as refused:
        cast.put(cast.sign(unit, "grant", cast.grant_body(unit, recovery=said)))
    assert refused.value.details["field"] == "recovery"
    assert "sums.dropouts" in refused.value.public_message
    # Refused, and nothing of it is left: the same unit may say it right.
    cast.put(cast.sign(unit, "grant", cast.grant_body(unit, recovery=WORDS)))
    assert cast.grant(unit).body.recovery == WORDS


def test_every_source_unit_must_say_so():
    cast = asked(3)
    for unit in cast.units[:-1]:
        cast.put(cast.sign(unit, "grant", cast.grant_body(unit, recovery=WORDS)))
    last = cast.units[-1]
    with pytest.raises(PolicyRefused):
        cast.put(cast.sign(last, "grant", cast.grant_body(last)))
    assert cast.job.state != "granted"
    cast.put(cast.sign(last, "grant", cast.grant_body(last, recovery=WORDS)))
    assert cast.job.state == "granted"


def test_words_where_there_is_nothing_to_accept():
    """A grant that claims to accept what its job does not ask is no grant of that job."""
    cast = asked(0)
    unit = cast.units[0]
    with pytest.raises(PolicyRefused):
        cast.put(cast.sign(unit, "grant", cast.grant_body(unit, recovery=WORDS)))
    cast.put(cast.sign(unit, "grant", cast.grant_body(unit)))


def test_the_words_are_one_line():
    cast = asked(3)
    values = cast.grant_body(cast.units[0]).model_dump()
    for bad in ("two\nlines", 3, None):
        with pytest.raises(ValueError, match="recovery"):
            Grant.model_validate({**values, "recovery": bad})
