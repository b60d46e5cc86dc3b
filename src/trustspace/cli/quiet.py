"""What a developer may learn before release, as people read it: bits of a job, and what is spent of a budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from trustspace.cli.i18n import _

if TYPE_CHECKING:
    from trustspace.cli.output import Output
    from trustspace.cli.people import People
    from trustspace.client.home import PartyHome
    from trustspace.client.jobs import Request
    from trustspace.domain.leakage import Leakage
    from trustspace.domain.records import DatasetRecord

# As bodies.Policy has it; a test compares them, since that module is too heavy for every command's start.
DEFAULT_QUIET_BITS: Final = 100


def budget_words(millibits: int) -> str:
    """A policy's limit in words."""
    from trustspace.domain.budget import in_bits

    if not millibits:
        return _("nothing: no job may run")
    return _("at most {bits} bits by all jobs of one developer", bits=in_bits(millibits))


def _leakage(home: PartyHome, asked: Request, runs: int | None) -> Leakage:
    from trustspace.domain.budget import price

    granting = ((home.fingerprint, runs),) if runs else ()
    return price(asked.dossier.view, asked.job, granting)


def _still_to_grant(home: PartyHome, asked: Request, runs: int | None) -> list[str]:
    """The source units that count with one run, for want of a grant: with theirs a job may come to tell more."""
    granted = {*asked.job.grants, *((home.fingerprint,) if runs else ())}
    return [unit for unit in asked.job.body.source_units if unit not in granted]


def job_document(home: PartyHome, asked: Request, runs: int | None = None) -> dict[str, Any]:
    """What a job can tell, for programs; with ``runs``, under a grant of so many that is being made."""
    from trustspace.client.budgets import accounts

    told = _leakage(home, asked, runs)
    return {
        "told_millibits": told.told_millibits,
        "ledger_millibits": told.ledger_millibits,
        "counted_with_one_run": _still_to_grant(home, asked, runs),
        "budgets": [
            {
                "dataset": account.dataset, "source_unit": account.source_unit, "spent_millibits": account.spent,
                "limit_millibits": account.limit, "counted": account.counted,
            }
            for account in accounts(home, asked.dossier, asked.job)
        ],
    }  # fmt: skip


def show_quiet(out: Output, home: PartyHome, asked: Request, people: People, runs: int | None = None) -> None:
    """What a job can tell, for people."""
    if out.as_json:
        return
    from trustspace.client.budgets import accounts
    from trustspace.domain.budget import in_bits

    told = _leakage(home, asked, runs)
    out.heading(_("What its developer can learn before anything is released"))
    out.say(_("- At most {bits} bits, by when and how its runs end.", bits=in_bits(told.told_millibits)))
    out.say(
        _("- Whoever watches the ledger grow, in seconds: at most {bits} bits. No budget limits that.",
          bits=in_bits(told.ledger_millibits))
    )  # fmt: skip
    if _still_to_grant(home, asked, runs):
        out.say(_("- Source units that have not granted yet are counted with one run: more would tell more."))
    for account in accounts(home, asked.dossier, asked.job):
        values: dict[str, str | int] = {
            "name": account.dataset, "unit": people.name(account.source_unit), "spent": in_bits(account.spent),
            "limit": in_bits(account.limit),
        }  # fmt: skip
        if account.counted:
            out.say(_("- {name}: {spent} of {limit} bits are spent by this developer's jobs.", **values))
        else:
            out.say(
                _(
                    "- {name} of {unit}: at most {spent} of {limit} bits are spent by your granted jobs.",
                    **values,
                )
            )
    out.say()


def dataset_document(home: PartyHome, record: DatasetRecord, people: People) -> dict[str, Any]:
    """What developers have spent of a dataset's budget, for programs: all for its source unit, a developer its own."""
    return {
        "limit_millibits": record.body.policy.quiet_millibits_per_developer,
        "spent": [
            {"developer": developer, "developer_name": people.plain(developer), "millibits": told}
            for developer, told in _spent(home, record).items()
        ],
    }


def _spent(home: PartyHome, record: DatasetRecord) -> dict[str, int]:
    from trustspace.client import budgets

    if record.source_unit == home.fingerprint:
        return budgets.spent(home, record.body.dataset)
    own = budgets.granted(home, record) if "developer" in home.party.roles else 0
    return {home.fingerprint: own} if own else {}


def show_dataset(out: Output, home: PartyHome, record: DatasetRecord, people: People) -> None:
    """The same for people, as a table; nothing where nothing is spent."""
    if out.as_json:
        return
    from trustspace.domain.budget import in_bits

    found = _spent(home, record)
    if not found:
        return
    limit = record.body.policy.quiet_millibits_per_developer
    out.heading(_("What developers may have learned before release"))
    out.table(
        (_("Developer"), _("Bits, at most"), _("Left")),
        [(people.name(who), in_bits(told), in_bits(max(0, limit - told))) for who, told in found.items()],
    )
    out.say()
