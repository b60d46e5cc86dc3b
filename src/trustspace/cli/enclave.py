"""``trustspace enclave``: the blind box beside the data.

Nothing here imports gRPC before ``serve`` has its launcher: that must be forked before any thread exists.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from trustspace.cli.common import PATH, Cli, log_to_stderr, pass_cli, read_json
from trustspace.cli.help import Group, option
from trustspace.cli.i18n import _, mark, translate
from trustspace.cli.words import fingerprint, size, word
from trustspace.errors import NotFound

_REASONS = {
    "job-failed": mark("the job itself failed"),
    "stopped": mark("it was stopped"),
    "limits": mark("it needed more time, memory or space than it may have"),
    "host": mark("this machine could not run it"),
    "not-opened": mark("the data did not open"),
    "members": mark("too few members were left for a sum"),
    "left-behind": mark("the others went on without this enclave, or it could not go on with them"),
    "disagreement": mark("somebody in the run, or the space, did not do as agreed"),
}


@click.group("enclave", cls=Group)
def command() -> None:
    """The enclave beside the data, where developers' code meets it. Neither side sees the other there."""


@command.command("init")
@option("--name", required=True, metavar="NAME", help="What people call this enclave.")
@option(
    "--listen",
    default="127.0.0.1:7445",
    show_default=True,
    metavar="HOST:PORT",
    help="Where its source unit connects.",
)
@option(
    "--host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A host name or address by which its source unit reaches it.",
)
@pass_cli
def init(cli: Cli, name: str, listen: str, hosts: tuple[str, ...]) -> None:
    """Make an enclave in the home directory and write its card, card.json, for the source unit to adopt."""
    from trustspace.enclave.home import initialise

    card = initialise(cli.home, name, listen, hosts)
    path = cli.home / "card.json"
    cli.out.document({"name": name, "enclave_key": card.enclave_key, "card": str(path), "listen": listen})
    cli.out.fields(
        [
            (_("Enclave"), name),
            (_("Key"), fingerprint(card.enclave_key)),
            (_("Card"), str(path)),
            (_("Listens on"), listen),
        ]
    )
    cli.out.say()
    cli.out.say(
        _("The enclave is made. Next: take its card to the source unit, for trustspace enclave adopt."),
        style="good",
    )


@command.command("adopt")
@click.argument("card", type=PATH)
@option("--address", required=True, metavar="HOST:PORT", help="Where the source unit reaches the enclave.")
@option(
    "--out",
    "target",
    required=True,
    type=PATH,
    metavar="FILE",
    help="Where to write the adoption, for trustspace enclave accept.",
)
@option(
    "--hosted",
    is_flag=True,
    help="The operator runs this enclave: it is then not blind, and everybody is told.",
)
@pass_cli
def adopt(cli: Cli, card: Path, address: str, target: Path, hosted: bool) -> None:
    """Vouch for an enclave whose CARD came to you in a way you trust. Again with another address, it moves."""
    from trustspace.client.enclaves import adopt as vouch
    from trustspace.storage.files import write_atomic

    home = cli.signer()
    content = read_json(card, "enclave card")
    adoption = vouch(home, content, address, custody="operator-hosted" if hosted else "own")
    write_atomic(target, json.dumps(adoption, ensure_ascii=False, indent=2).encode(), 0o600)
    cli.out.document(
        {
            "enclave": content["name"], "enclave_key": content["enclave_key"], "address": address,
            "custody": adoption["custody"], "adoption": str(target),
        }
    )  # fmt: skip
    cli.out.say(
        _("{party} vouches for the enclave {name} ({custody}).", party=home.party.name, name=content["name"],
          custody=word("custody", adoption["custody"])), style="good",
    )  # fmt: skip
    cli.out.fields(
        [
            (_("Key"), fingerprint(content["enclave_key"])),
            (_("Address"), address),
            (_("Adoption"), str(target)),
        ]
    )
    cli.out.say(_("Next: take the adoption to the enclave, for trustspace enclave accept."))


@command.command("accept")
@click.argument("adoption", type=PATH)
@pass_cli
def accept(cli: Cli, adoption: Path) -> None:
    """Take the source unit's ADOPTION in. An enclave belongs to one source unit for good."""
    from trustspace.domain.statements import read
    from trustspace.enclave.home import Adoption, EnclaveHome
    from trustspace.enclave.home import accept as take

    answer = read(Adoption, read_json(adoption, "adoption"), "adoption")
    take(cli.home, answer)
    name = EnclaveHome(cli.home).card.name
    cli.out.document(
        {"enclave": name, "owner": answer.owner, "owner_name": answer.owner_name, "custody": answer.custody}
    )
    cli.out.say(_("The enclave {name} belongs to {owner}.", name=name, owner=answer.owner_name), style="good")
    cli.out.fields([(_("Its fingerprint"), fingerprint(answer.owner)), (_("Space"), answer.space_address)])
    cli.out.say(_("Next: trustspace enclave serve."))


@command.command("serve")
@option("--listen", default="", metavar="HOST:PORT", help="Listen here instead of where its card says.")
@option("--runtime", type=PATH, metavar="DIR", help="The sandbox's runtime, if it is not in its usual place.")
@pass_cli
def serve(cli: Cli, listen: str, runtime: Path | None) -> None:
    """Run the enclave until it is told to stop (Ctrl-C or SIGTERM)."""
    from trustspace.enclave.server import run

    log_to_stderr()
    run(
        cli.home,
        listen,
        runtime,
        lambda where, tier: cli.ready(
            {"listen": where, "sandbox_tier": tier},
            _("The enclave is ready on {listen}, sandbox tier {tier}.", listen=where, tier=tier),
        ),
    )


@command.command("status")
@option("--enclave", "name", metavar="NAME", help="Which of your enclaves, if you have several.")
@pass_cli
def status(cli: Cli, name: str | None) -> None:
    """What the enclave holds, how it isolates, and what failed there. For the source unit, or at the enclave."""
    from trustspace.client.enclaves import enclave_link, own_enclave
    from trustspace.client.reviewers import is_reviewer

    if (cli.home / "card.json").exists() and not is_reviewer(cli.home):
        _status_here(cli)
        return

    home = cli.party()
    own = own_enclave(home, name)
    found: dict[str, Any] = enclave_link(home, own).status()
    cli.out.document({"name": own.name, "address": own.address, **found})
    evidence = found["evidence"]
    cli.out.fields(
        [
            (_("Enclave"), own.name),
            (_("Address"), own.address),
            (_("Key"), fingerprint(found["enclave_key"])),
            (_("Sandbox tier"), str(evidence["sandbox_tier"])),
            (_("Platform"), str(evidence["platform"])),
            (_("Platform evidence"), word("evidence", str(evidence["kind"]))),
            (_("Custody"), word("custody", str(evidence["custody"]))),
            (_("Software"), str(evidence["measurement"])[:12]),
        ]
    )
    cli.out.heading(_("Sealed datasets"))
    cli.out.table(
        (_("Dataset"), _("Version"), _("Size")),
        [(str(d["dataset"]), str(d["version"]), size(int(d["sealed_bytes"]))) for d in found["datasets"]],
    )
    if found["failures"]:
        cli.out.heading(_("Runs that failed"))
    for failure in found["failures"]:
        reason = str(failure.get("reason", ""))
        cli.out.say(_("Job {job}: {reason}.", job=str(failure.get("job", ""))[:12],
                      reason=translate(_REASONS.get(reason, reason))), style="warning")  # fmt: skip
        if failure.get("log"):
            cli.out.block(str(failure["log"]))


def _status_here(cli: Cli) -> None:
    from trustspace.enclave.home import EnclaveHome

    home = EnclaveHome(cli.home)
    try:
        adoption = home.adoption()
    except NotFound:
        adoption = None
    running = (cli.home / "address.json").exists()
    listen = str(read_json(cli.home / "address.json", "address")["listen"]) if running else home.card.listen
    cli.out.document(
        {
            "name": home.card.name, "enclave_key": home.card.enclave_key, "listen": listen, "running": running,
            "owner": adoption.owner if adoption else "", "owner_name": adoption.owner_name if adoption else "",
            "custody": adoption.custody if adoption else "",
        }
    )  # fmt: skip
    owner = adoption.owner_name if adoption else _("nobody yet: trustspace enclave accept comes first")
    cli.out.fields(
        [
            (_("Enclave"), home.card.name),
            (_("Key"), fingerprint(home.card.enclave_key)),
            (_("Belongs to"), owner),
            (_("Listens on"), listen),
            (_("Running"), _("yes") if running else _("no")),
        ]
    )
