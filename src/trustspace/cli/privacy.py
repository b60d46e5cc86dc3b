"""Differential privacy before people: what a job spends of it, and what is spent of a dataset's budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trustspace.cli.i18n import _

if TYPE_CHECKING:
    from trustspace.cli.output import Output
    from trustspace.cli.people import People
    from trustspace.client.acting import Acting
    from trustspace.client.jobs import Request
    from trustspace.domain.bodies import Grant
    from trustspace.domain.records import DatasetRecord


def thousandths(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """An option's epsilon, such as 3 or 0.5, in thousandths, rounded down."""
    from decimal import Decimal, InvalidOperation

    if value is None:
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        number = Decimal(-1)
    if not number.is_finite() or not 0 <= number <= 100_000:
        raise click.BadParameter(_("Give a number, such as 3 or 0.5."), ctx, param)
    return int(number * 1000)


def _cost(home: Acting, asked: Request, runs: int | None) -> int:
    """What the job may spend of the dataset that is asked of this party, or of the first one, for others."""
    from trustspace.domain.budget import privacy_price

    unit = next((record.source_unit for record in asked.datasets), asked.job.body.source_units[0])
    granting = ((home.fingerprint, runs),) if runs else ()
    return privacy_price(asked.dossier.view, asked.job, unit, granting)


def job_document(home: Acting, asked: Request, runs: int | None = None) -> dict[str, Any]:
    """What a job spends, for programs."""
    from trustspace.client.budgets import accounts

    return {
        "millis": _cost(home, asked, runs),
        "budgets": [
            {
                "dataset": account.dataset, "source_unit": account.source_unit, "spent_millis": account.privacy,
                "limit_millis": account.privacy_limit, "counted": account.counted,
            }
            for account in accounts(home, asked.dossier, asked.job)
        ],
    }  # fmt: skip


def show_privacy(out: Output, home: Acting, asked: Request, people: People, runs: int | None = None) -> None:
    """The same for people; nothing of a job that claims none."""
    from trustspace.client.budgets import accounts
    from trustspace.domain.budget import in_bits

    cost = _cost(home, asked, runs)
    if not cost:
        return
    out.heading(_("Differential privacy"))
    out.say(_("- This job may spend epsilon {cost}.", cost=in_bits(cost)))
    for account in accounts(home, asked.dossier, asked.job):
        values: dict[str, str | int] = {
            "name": account.dataset, "unit": people.name(account.source_unit), "spent": in_bits(account.privacy),
            "limit": in_bits(account.privacy_limit),
        }  # fmt: skip
        if account.counted:
            out.say(
                _("- {name}: epsilon {spent} of {limit} is spent, by the jobs of all developers.", **values)
            )
        else:
            out.say(
                _("- {name} of {unit}: your granted jobs spend at most epsilon {spent} of {limit}.", **values)
            )


def show_cap(out: Output, body: Grant) -> None:
    """What a grant allows to be spent, where the job claims differential privacy."""
    from trustspace.domain.budget import in_bits

    if body.privacy_millis:
        out.say(
            _("- It may spend a differential privacy of epsilon {limit} of your dataset's budget, for good.",
              limit=in_bits(body.privacy_millis))
        )  # fmt: skip


def _spent(home: Acting, record: DatasetRecord) -> dict[str, int]:
    from trustspace.client import budgets

    if record.source_unit == home.fingerprint and "source-unit" in home.roles:
        return budgets.privacy_spent(home, record.body.dataset)
    own = budgets.granted(home, record)[2] if "developer" in home.roles else 0
    return {home.fingerprint: own} if own else {}


def dataset_document(home: Acting, record: DatasetRecord, people: People) -> dict[str, Any]:
    """What is spent of a dataset's budget, for programs: all for its source unit, a developer its own."""
    return {
        "privacy_limit_millis": record.body.policy.privacy_millis,
        "privacy_spent": [
            {"developer": developer, "developer_name": people.plain(developer), "millis": millis}
            for developer, millis in _spent(home, record).items()
        ],
    }


def show_dataset(out: Output, home: Acting, record: DatasetRecord, people: People) -> None:
    """The same for people, as a table; nothing where nothing is spent."""
    from trustspace.domain.budget import in_bits

    if not (spent := _spent(home, record)):
        return
    limit, total = record.body.policy.privacy_millis, sum(spent.values())
    out.heading(_("Differential privacy that jobs may have spent"))
    out.table(
        (_("Developer"), _("Epsilon, at most")),
        [(people.name(who), in_bits(millis)) for who, millis in spent.items()],
    )
    out.say(_("Together {total} of {limit}.", total=in_bits(total), limit=in_bits(limit)))
    out.say()
