"""``trustspace dataset``: what a source unit seals, and what everybody may know of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trustspace.cli.common import PATH, Cli, pass_cli
from trustspace.cli.help import Group, option
from trustspace.cli.i18n import _, compose, language, mark, translate
from trustspace.cli.people import People
from trustspace.cli.policy_file import policy_document, policy_rows, read_policy, render
from trustspace.cli.quiet import dataset_document, show_dataset
from trustspace.cli.words import rows, short, when, word
from trustspace.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    import pyarrow as pa

    from trustspace.client.acting import Acting
    from trustspace.client.datasets import Proposal
    from trustspace.data.description import ColumnDescription, DatasetDescription
    from trustspace.domain.bodies import Policy
    from trustspace.domain.records import DatasetRecord

_MOCK_ROWS_SHOWN = 5
_SIGNS = {
    "person-name": mark("people's names"),
    "id-number": mark("ID numbers"),
    "record-number": mark("record numbers"),
    "phone": mark("phone numbers"),
    "email": mark("e-mail addresses"),
    "address": mark("postal addresses"),
    "birth-date": mark("dates of birth"),
    "network-address": mark("network addresses"),
    "unique-text": mark("a different text in every row"),
}


@click.group("dataset", cls=Group)
def command() -> None:
    """Datasets: sealed on your machine, kept in your enclave, described to everybody."""


@command.command("submit")
@click.argument("file", type=PATH)
@option(
    "--name",
    required=True,
    metavar="ID",
    help="A short name: a-z, 0-9, dot, dash, underscore. Again, it makes a new version.",
)
@option("--title", required=True, metavar="TEXT", help="One line that everybody reads.")
@option("--summary", default="", metavar="TEXT", help="More for everybody to read.")
@option(
    "--patient-column",
    metavar="COLUMN",
    help="The column that tells patients apart. Else every row is a patient.",
)
@option(
    "--allow",
    multiple=True,
    metavar="COLUMN",
    help="Keep this column although it looks as if it identifies people.",
)
@option("--policy", "policy_file", type=PATH, metavar="FILE",
        help="Your policy, as trustspace dataset policy prints it. The options below override it.")  # fmt: skip
@option(
    "--minimum-cell",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Statistics may show no count of fewer rows than this.",
)
@option(
    "--quiet-bits",
    type=click.IntRange(0, 1_000_000),
    metavar="N",
    help="How many bits one developer's jobs together may tell before release.",
)
@option(
    "--score-sums",
    type=click.IntRange(0, 1_000_000),
    metavar="N",
    help="How many sums of scores under hidden weights one developer's jobs together may get.",
)
@option("--refuse-custom-code", is_flag=True, help="Never let a developer's own code meet this dataset.")
@option("--accept-blind-code", is_flag=True,
        help="Let code meet this dataset that its developer has sealed and none of you can read.")  # fmt: skip
@option("--enclave", metavar="NAME", help="Your enclave to keep it in, if you have several.")
@option("--yes", is_flag=True, help="Do not ask.")
@pass_cli
def submit(
    cli: Cli, file: Path, name: str, title: str, summary: str, patient_column: str | None, allow: tuple[str, ...],
    policy_file: Path | None, minimum_cell: int | None, quiet_bits: int | None, score_sums: int | None,
    refuse_custom_code: bool, accept_blind_code: bool, enclave: str | None, yes: bool,
) -> None:  # fmt: skip
    """Seal FILE (CSV or Parquet) and upload it to your own enclave.

    Shows first what would become public, warns, and asks. Called again after a break, it resumes.
    """
    from trustspace.client import datasets
    from trustspace.data.description import Answers

    home = cli.signer()
    policy = datasets.DEFAULT_POLICY if policy_file is None else read_policy(policy_file)
    changed = {
        "minimum_cell_count": minimum_cell,
        "quiet_millibits_per_developer": None if quiet_bits is None else 1000 * quiet_bits,
        "score_sums_per_developer": score_sums,
        "custom_code": "refuse" if refuse_custom_code else None,
        "blind_code": "accept" if accept_blind_code else None,
    }
    policy = policy.model_copy(update={field: value for field, value in changed.items() if value is not None})
    if accept_blind_code and policy.custom_code == "refuse":
        raise InvalidInput(
            "Blind code is code of a developer's own.",
            fix="Give --refuse-custom-code or --accept-blind-code, not both.",
        )
    answers = Answers(summary=summary, language=language(), allow=frozenset(allow))
    proposal = datasets.propose(file, title, patient_column=patient_column, answers=answers)
    _show_proposal(cli, proposal, name, policy)
    cli.out.ask(_("Seal the file, upload it to your enclave and publish exactly this description?"), yes=yes)
    with cli.out.progress({"seal": _("Sealing"), "upload": _("Uploading")}) as progress:
        digest = datasets.submit(
            home, proposal, dataset=name, policy=policy, enclave=enclave, progress=progress
        )
    version = home.session.dataset(digest).body.version
    cli.out.document(
        {
            "dataset": digest, "name": name, "version": version,
            "warnings": [problem.text(language()) for problem in proposal.problems],
        }
    )  # fmt: skip
    cli.out.say(
        _("{name} version {version} is sealed in your enclave and listed in the space ({digest}).",
          name=name, version=version, digest=short(digest)), style="good",
    )  # fmt: skip


def _show_proposal(cli: Cli, proposal: Proposal, name: str, policy: Policy) -> None:
    cli.out.heading(_("What everybody in the space will be able to read"))
    _show_description(cli, name, proposal.description, policy)
    cli.out.say(
        _("A mock sample is made up from this description alone; no row leaves this machine unsealed.")
    )
    if proposal.identifying:
        cli.out.heading(_("Columns that look as if they identify people, and that you allow"))
        for column, signs in proposal.identifying.items():
            found = _(", ").join(translate(_SIGNS.get(sign, sign)) for sign in signs)
            cli.out.say(_("  ! {column}: {signs}", column=column, signs=found), style="warning")
    if proposal.problems:
        cli.out.heading(_("Only you see this: what may be wrong with the data"))
        for problem in proposal.problems:
            cli.out.say(_("  ! {problem}", problem=problem.text(language())), style="warning")
    cli.out.say()


def _show_description(cli: Cli, name: str, description: DatasetDescription, policy: Policy) -> None:
    cli.out.fields(
        [
            (_("Dataset"), name),
            (_("Title"), description.title),
            *([(_("Summary"), description.summary)] if description.summary else []),
            (_("Rows"), rows(description.rows_bucket)),
            (_("Patient column"), description.patient_column or _("none: every row is a patient")),
            *([(_("Licence"), description.licence)] if description.licence else []),
        ]
    )
    cli.out.heading(_("Policy"))
    cli.out.fields(policy_rows(policy))
    cli.out.heading(_("Columns"))
    cli.out.table(
        (_("Column"), _("Kind"), _("Range or categories"), _("Unit"), _("Missing"), _("Meaning")),
        [
            (
                column.name,
                word("column", column.kind),
                _values(column),
                column.unit,
                _("at most {percent} %", percent=column.missing_percent_bucket)
                if column.missing_percent_bucket
                else "-",
                column.meaning,
            )
            for column in description.columns
        ],
    )


def _values(column: ColumnDescription) -> str:
    if column.categories:
        return _(", ").join(column.categories)
    if column.low:
        return compose("{low} to {high}", low=column.low, high=column.high)
    if column.kind == "image":
        return f"{column.width} x {column.height} {column.mode}".strip() if column.width else "-"
    return "-"


@command.command("list")
@pass_cli
def listing(cli: Cli) -> None:
    """List the datasets that the space knows of."""
    from trustspace.client.datasets import listing as listed

    home = cli.acting()
    people, found = People.of(home), listed(home)
    cli.out.document(
        {
            "datasets": [
                {**entry, "source_unit_name": people.plain(str(entry["source_unit"]))} for entry in found
            ]
        }
    )
    if not found:
        cli.out.say(_("There is no dataset in this space yet."))
        return
    cli.out.table(
        (_("Dataset"), _("Version"), _("Title"), _("Source unit"), _("Rows"), _("State"), _("Digest")),
        [
            (
                str(entry["dataset"]), str(entry["version"]), str(entry["description"].get("title", "")),
                people.name(str(entry["source_unit"])), _rows(entry["description"]), word("state", str(entry["state"])),
                short(str(entry["statement"])),
            )
            for entry in found
        ],
    )  # fmt: skip


def _rows(description: dict[str, Any]) -> str:
    bucket = description.get("rows_bucket")
    return rows(bucket) if isinstance(bucket, int) else "?"


@command.command("show")
@click.argument("dataset", metavar="ID")
@option("--mock", type=PATH, metavar="FILE", help="Write the mock sample to this file (.csv or .parquet).")
@pass_cli
def show(cli: Cli, dataset: str, mock: Path | None) -> None:
    """Show a dataset's description, proven to be its source unit's own.

    ID is its name (name@2 for version 2, source-unit/name where two use one), or the first digits of its digest.
    """
    from trustspace.client.datasets import describe
    from trustspace.data.description import DatasetDescription

    home = cli.acting()
    record, sample = describe(home, resolve(home, dataset).statement)
    description = DatasetDescription.from_json(record.body.description)
    people = People.of(home)
    if mock is not None:
        _write_mock(sample, mock)
    cli.out.document(
        {
            "dataset": record.statement, "name": record.body.dataset, "version": record.body.version,
            "source_unit": record.source_unit, "source_unit_name": people.plain(record.source_unit),
            "state": record.state, "issued": record.issued, "description": record.body.description,
            **policy_document(record.body.policy), "custody": record.body.custody,
            "mock_rows": sample.num_rows, "mock": str(mock) if mock else "",
            "quiet": dataset_document(home, record, people),
        }
    )  # fmt: skip
    cli.out.fields(
        [
            (_("Source unit"), people.name(record.source_unit)),
            (_("Version"), str(record.body.version)),
            (_("State"), word("state", record.state)),
            (_("Published"), when(record.issued)),
            (_("Enclave"), word("custody", record.body.custody)),
            (_("Digest"), record.statement),
        ]
    )
    _show_description(cli, record.body.dataset, description, record.body.policy)
    show_dataset(cli.out, home, record, people)
    if mock is not None:
        cli.out.say(
            _("{count} made-up rows are in {file}.", count=sample.num_rows, file=str(mock)), style="good"
        )
    else:
        cli.out.say(_("Made-up rows of this form, to write code against: add --mock FILE."))


def _write_mock(sample: pa.Table, target: Path) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    from trustspace.storage.files import write_atomic

    sink = pa.BufferOutputStream()
    if target.suffix.lower() == ".parquet":
        pyarrow.parquet.write_table(sample, sink)
    elif target.suffix.lower() != ".csv":
        raise InvalidInput(
            "A mock sample is written as CSV or Parquet.",
            fix="Let the file's name end with .csv or .parquet.",
        )
    elif any(pa.types.is_binary(field.type) for field in sample.schema):
        raise InvalidInput("Images cannot be written as CSV.", fix="Let the file's name end with .parquet.")
    else:
        pyarrow.csv.write_csv(sample, sink)
    write_atomic(target, sink.getvalue().to_pybytes(), 0o644)


@command.command("policy")
@click.argument("dataset", metavar="[ID]", required=False)
@pass_cli
def policy_template(cli: Cli, dataset: str | None) -> None:
    """Print a policy file to edit: the default policy, or that of the dataset ID, with every field explained.

    Write it to a file (> policy.toml), change what you want otherwise, and give it to trustspace dataset submit
    --policy. See --lang for the language of the explanations.
    """
    from trustspace.client.datasets import DEFAULT_POLICY

    policy = DEFAULT_POLICY
    if dataset is not None:
        policy = resolve(cli.acting(), dataset).body.policy
    text = render(policy, DEFAULT_POLICY)
    cli.out.document({**policy_document(policy), "file": text})
    cli.out.say(text.rstrip("\n"))


@command.command("withdraw")
@click.argument("dataset", metavar="ID")
@option("--yes", is_flag=True, help="Do not ask.")
@pass_cli
def withdraw(cli: Cli, dataset: str, yes: bool) -> None:
    """Withdraw one version of a dataset of yours: destroy its key and delete it from your enclave. For good."""
    from trustspace.client.datasets import withdraw as destroy

    home = cli.signer()
    record = resolve(home, dataset, own=True)
    question = _(
        "Destroy the key of {name} version {version}? Nobody, not even you, can open the sealed copy afterwards.",
        name=record.body.dataset, version=record.body.version,
    )  # fmt: skip
    if not yes and cli.out.asks:
        cli.out.ask(question, yes=False)
    destroy(home, record.statement)
    cli.out.document(
        {
            "dataset": record.statement,
            "name": record.body.dataset,
            "version": record.body.version,
            "state": "withdrawn",
        }
    )
    cli.out.say(
        _("{name} version {version} is withdrawn: its key is destroyed.", name=record.body.dataset,
          version=record.body.version), style="good",
    )  # fmt: skip


def resolve(home: Acting, text: str, *, own: bool = False) -> DatasetRecord:
    """The proven dataset behind a name, ``name@version``, ``unit/name`` or the first digits of a digest.

    Raises:
        NotFound: there is none.
        InvalidInput: the digits or the name stand for several.

    """
    from trustspace.client import datasets

    name, _at, number = text.rpartition("@")
    if name and not number.isdigit():
        raise InvalidInput(
            "{text} is not a dataset.", fix="Write name@2 for version 2 of a dataset.", text=text[:64]
        )
    name, version = (name, int(number)) if name else (text, None)
    entries = [d for d in datasets.listing(home) if not own or d["source_unit"] == home.fingerprint]
    if not any(d["dataset"] == name.rpartition("/")[2] for d in entries):
        digits = text.lower()
        matching = [str(d["statement"]) for d in entries if str(d["statement"]).startswith(digits)]
        if len(matching) > 1:
            raise InvalidInput(
                "Several datasets begin with {prefix}.", fix="Give more digits.", prefix=text[:64]
            )
        if not matching:
            raise NotFound(
                "There is no dataset {name}.", fix="See `trustspace dataset list`.", name=text[:64]
            )
        return home.session.dataset(matching[0])
    if own:
        name = f"{home.fingerprint}/{name.rpartition('/')[2]}"
    return datasets.resolve(home, name, version)
