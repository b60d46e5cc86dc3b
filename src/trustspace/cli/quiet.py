"""What a developer may learn before release, as people read it: bits of a job, and what is spent of a budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trustspace.cli import privacy
from trustspace.cli.i18n import _

if TYPE_CHECKING:
    from trustspace.cli.output import Output
    from trustspace.cli.people import People
    from trustspace.client.acting import Acting
    from trustspace.client.jobs import Request
    from trustspace.domain.leakage import Leakage
    from trustspace.domain.records import DatasetRecord


def _leakage(home: Acting, asked: Request, runs: int | None) -> Leakage:
    from trustspace.domain.budget import price

    granting = ((home.fingerprint, runs),) if runs else ()
    return price(asked.dossier.view, asked.job, granting)


def _still_to_grant(home: Acting, asked: Request, runs: int | None) -> list[str]:
    """The source units that count with one run, for want of a grant: with theirs a job may come to tell more."""
    granted = {*asked.job.grants, *((home.fingerprint,) if runs else ())}
    return [unit for unit in asked.job.body.source_units if unit not in granted]


def job_document(home: Acting, asked: Request, runs: int | None = None) -> dict[str, Any]:
    """What a job can tell, for programs; with ``runs``, under a grant of so many that is being made."""
    from trustspace.client.budgets import accounts
    from trustspace.domain.budget import sums_of

    told = _leakage(home, asked, runs)
    return {
        "told_millibits": told.told_millibits,
        "ledger_millibits": told.ledger_millibits,
        "counted_with_one_run": _still_to_grant(home, asked, runs),
        "budgets": [
            {
                "dataset": account.dataset, "source_unit": account.source_unit, "spent_millibits": account.spent,
                "limit_millibits": account.limit, "counted": account.counted,
                "score_sums_spent": account.sums, "score_sums_limit": account.sums_limit,
            }
            for account in accounts(home, asked.dossier, asked.job)
        ],
        "score_sums": sums_of(asked.job.body),
        "privacy": privacy.job_document(home, asked, runs),
    }  # fmt: skip


def show_quiet(out: Output, home: Acting, asked: Request, people: People, runs: int | None = None) -> None:
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
    _show_sums(out, home, asked, people)
    privacy.show_privacy(out, home, asked, people, runs)
    out.say()


def _show_sums(out: Output, home: Acting, asked: Request, people: People) -> None:
    """What a job that scores gets, beside what its developer's others have."""
    from trustspace.client.budgets import accounts
    from trustspace.domain.budget import sums_of

    sums = sums_of(asked.job.body)
    if not sums:
        return
    out.heading(_("Sums of encrypted scores"))
    out.say(_("- This job gets at most {count}, of weights that nobody else can read.", count=sums))
    for account in accounts(home, asked.dossier, asked.job):
        values: dict[str, str | int] = {
            "name": account.dataset, "unit": people.name(account.source_unit), "spent": account.sums,
            "limit": account.sums_limit,
        }  # fmt: skip
        if account.counted:
            out.say(_("- {name}: {spent} of {limit} sums are spent by this developer's jobs.", **values))
        else:
            out.say(
                _(
                    "- {name} of {unit}: at most {spent} of {limit} sums are spent by your granted jobs.",
                    **values,
                )
            )


def dataset_document(home: Acting, record: DatasetRecord, people: People) -> dict[str, Any]:
    """What developers have spent of a dataset's budget, for programs: all for its source unit, a developer its own."""
    return {
        "limit_millibits": record.body.policy.quiet_millibits_per_developer,
        "spent": [
            {"developer": developer, "developer_name": people.plain(developer), "millibits": told}
            for developer, told in _spent(home, record).items()
        ],
        "score_sums_limit": record.body.policy.score_sums_per_developer,
        "score_sums_spent": [
            {"developer": developer, "developer_name": people.plain(developer), "sums": sums}
            for developer, sums in _sums_spent(home, record).items()
        ],
        **privacy.dataset_document(home, record, people),
    }


def _spent(home: Acting, record: DatasetRecord) -> dict[str, int]:
    from trustspace.client import budgets

    if record.source_unit == home.fingerprint and "source-unit" in home.roles:
        return budgets.spent(home, record.body.dataset)
    own = budgets.granted(home, record)[0] if "developer" in home.roles else 0
    return {home.fingerprint: own} if own else {}


def _sums_spent(home: Acting, record: DatasetRecord) -> dict[str, int]:
    from trustspace.client import budgets

    if record.source_unit == home.fingerprint and "source-unit" in home.roles:
        return budgets.sums_spent(home, record.body.dataset)
    own = budgets.granted(home, record)[1] if "developer" in home.roles else 0
    return {home.fingerprint: own} if own else {}


def show_dataset(out: Output, home: Acting, record: DatasetRecord, people: People) -> None:
    """The same for people, as a table; nothing where nothing is spent."""
    if out.as_json:
        return
    from trustspace.domain.budget import in_bits

    if found := _spent(home, record):
        limit = record.body.policy.quiet_millibits_per_developer
        out.heading(_("What developers may have learned before release"))
        out.table(
            (_("Developer"), _("Bits, at most"), _("Left")),
            [(people.name(who), in_bits(told), in_bits(max(0, limit - told))) for who, told in found.items()],
        )
        out.say()
    if spent := _sums_spent(home, record):
        most = record.body.policy.score_sums_per_developer
        out.heading(_("Sums of encrypted scores that developers may have got"))
        out.table(
            (_("Developer"), _("Sums, at most"), _("Left")),
            [(people.name(who), str(sums), str(max(0, most - sums))) for who, sums in spent.items()],
        )
        out.say()
    privacy.show_dataset(out, home, record, people)
