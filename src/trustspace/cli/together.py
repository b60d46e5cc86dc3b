"""What a job of several source units means for each of them, and whose part is in what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trustspace.cli.i18n import _, mark, translate

if TYPE_CHECKING:
    from trustspace.cli.output import Output
    from trustspace.cli.people import People
    from trustspace.domain.bodies import Artifact, Job
    from trustspace.domain.bodies import Output as OutputBody

# What a grant's ``small_sums`` holds, as people read it; what is signed is the English.
SMALL_SUMS_SHOWN = mark("two source units can compute each other's part")
_MEMBERS = {
    "train": mark("Whose updates are in the model"),
    "statistics": mark("Whose numbers are in the sums"),
    "compute": mark("Whose updates are in the model"),
}


def words() -> str:
    """The words of a grant that accepts sums of two: as they are signed and, in another language, as they read."""
    from trustspace.domain.bodies import SMALL_SUMS

    shown = translate(SMALL_SUMS_SHOWN)
    return f"“{SMALL_SUMS}”" if shown == SMALL_SUMS else f"“{shown}”（{SMALL_SUMS}）"


def recovery_shown(job: Job) -> str:
    """The words of a grant that accepts sums which open without some: as signed, and as they read."""
    from trustspace.domain.bodies import recovery_words

    said = recovery_words(job)
    needed = job.sums.needed if job.sums is not None else 0
    shown = _(
        "any {needed} of the {count} source units together can open every single update",
        needed=needed, count=len(job.source_units),
    )  # fmt: skip
    return f"“{said}”" if shown == said else f"“{shown}”（{said}）"


def protection(job: Job) -> str:
    """How a joint job's sums are protected, in a line."""
    from trustspace.aggregation.selection import PAIRWISE_MASKS

    assert job.sums is not None
    if job.sums.scheme == PAIRWISE_MASKS:
        return _("pairwise masks ({scheme})", scheme=job.sums.scheme)
    return _("homomorphic encryption on lattices ({scheme})", scheme=job.sums.scheme)


def parties(people: People, several: tuple[str, ...]) -> list[dict[str, str]]:
    """Parties for programs."""
    return [{"name": people.plain(unit), "fingerprint": unit} for unit in several]


def dropped_out(job: Job, output: OutputBody) -> tuple[str, ...]:
    """The source units of a joint job whose part is not in its result."""
    return tuple(unit for unit in job.source_units if unit not in output.members) if job.is_joint else ()


def result_document(job: Job, output: OutputBody, people: People) -> dict[str, Any]:
    """Whose part is in a result, for programs; ``members`` is empty where there is no joint result."""
    return {
        "joint": job.is_joint,
        "members": parties(people, output.members),
        "dropped_out": parties(people, dropped_out(job, output)),
        "minimum_participants": job.minimum_participants,
        "sums": job.sums.model_dump(mode="json") if job.sums is not None else None,
    }


def result_rows(job: Job, output: OutputBody, people: People) -> list[tuple[str, str]]:
    """Whose part is in a result, for people; nothing for a job of one source unit."""
    if not job.is_joint:
        return []
    absent = dropped_out(job, output)
    fewest = _("at least {minimum} of {count}", minimum=job.minimum_participants, count=len(job.source_units))
    return [
        (translate(_MEMBERS[job.kind]), people.names(output.members)),
        *([(_("Dropped out"), people.names(absent))] if absent else []),
        (_("Source units in every sum"), fewest),
    ]


def holders(artifact: Artifact, people: People) -> str:
    """Whose consent opens a file."""
    return people.names(unit.source_unit for unit in artifact.units)


def show_together(out: Output, job: Job, people: People, own: str) -> None:
    """What the job of several source units means for one of them, in plain words; nothing for a job of one."""
    from trustspace.domain.bodies import FEWEST_WITHOUT_WORDS

    count = len(job.source_units)
    if count == 1:
        return
    others = people.names(unit for unit in job.source_units if unit != own)
    if not job.is_joint:
        out.heading(_("A job at several source units"))
        out.say(
            _(
                "- The code runs in each source unit's enclave by itself: {names}.",
                names=people.names(job.source_units),
            )
        )
        out.say(_("- Nothing is added up. Each source unit reviews its own results, and nobody else's."))
        return
    least = job.minimum_participants
    out.heading(_("A joint job: what the source units do together"))
    if own in job.source_units:
        out.say(_("- Your enclave computes together with those of: {names}.", names=others))
    else:
        out.say(
            _(
                "- These source units' enclaves compute together: {names}.",
                names=people.names(job.source_units),
            )
        )
    for line in (
        _("- Only sums are opened. What one source unit puts in stays hidden, from the space as well."),
        _("- Every sum is over at least {least} of the {count} source units. With fewer there is no result.",
          least=least, count=count),
        _("- All the others in a sum (as few as {others}), working together, can work out the last one's part: they "
          "take their own away.", others=least - 1),
        *_shrinking(least, count),
        _("- Updates are protected by {scheme}. The enclaves open the sums; the space, the developer and the buyer "
          "cannot.", scheme=protection(job)),
        _("- Sums and the result itself still say something about the data: nobody can promise otherwise."),
    ):  # fmt: skip
        out.say(line)
    if job.sums is not None and job.sums.needed:
        out.say(
            _("- A round survives the loss of {lost} source unit(s), because {needed} of the {count} are enough to "
              "open a sum. The same {needed} together could also open every single update.",
              lost=count - job.sums.needed, needed=job.sums.needed, count=count), style="warning",
        )  # fmt: skip
        out.say(
            _("  A grant must say so in these words, with --recovery: {words}.", words=recovery_shown(job)),
            style="warning",
        )
    if least < FEWEST_WITHOUT_WORDS:
        out.say(
            _("- A sum may be of two alone. Then each works out the other's part from it, without breaking any rule."),
            style="warning",
        )  # fmt: skip
        out.say(
            _("  A grant must say so in these words, with --small-sums: {words}.", words=words()),
            style="warning",
        )
    out.say(
        _("- There is one result. Every source unit must approve it, also one that dropped out on the way.")
    )


def _shrinking(least: int, count: int) -> list[str]:
    """What a source unit should know where the others may go on without one of them."""
    if least == count:
        return []
    return [
        _("- The others may go on without one that is lost. From two neighbouring sums, with and without it, the space "
          "and one member's host together can estimate what it put in."),
    ]  # fmt: skip
