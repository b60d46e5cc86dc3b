"""The end: the buyer opens what was approved, everything is switched off, and the certificate still proves it all."""

from __future__ import annotations

import json

import numpy as np

from trustspace.client import audit, releases
from trustspace.demo import figures
from trustspace.demo.cast import Play
from trustspace.demo.figures import Auc
from trustspace.demo.prose import Prose
from trustspace.demo.stage import GREY
from trustspace.domain import certificate as certificates
from trustspace.domain.certificate import Verified
from trustspace.errors import VerificationFailed
from trustspace.jobs.released import load_released
from trustspace.jobs.sections import METRICS_ARTIFACT, MODEL_ARTIFACT

PATIENTS_SHOWN = 6
_USE = (
    ">>> from trustspace.jobs.released import load_released",
    f'>>> model = load_released(open("delivery/{MODEL_ARTIFACT}", "rb").read(), parameters)',
    ">>> model.predict(patients)",
)


def deliver(play: Play) -> None:
    """The buyer opens the release, gives a receipt, and keeps the proof; the auditor re-hashes the ledger."""
    stage = play.stage
    stage.scene("scene.release")
    delivered, certificate = releases.fetch(play.buyer, play.job)
    written = releases.save(play.buyer, delivered, certificate, play.root / "delivery")
    play.delivery = play.root / "delivery"
    sizes = [(path.name, f"{path.stat().st_size:,}") for path in written]
    stage.does(
        "buyer", "release.opened", stage.table([stage.say("col.file"), stage.say("col.bytes")], sizes, right=(1,)),
        name=play.buyer.party.name, command=f"trustspace --home buyer release fetch {play.job[:12]} --into delivery",
    )  # fmt: skip


def check_ledger(play: Play) -> None:
    """The auditor goes over the whole ledger."""
    found = audit.verify_ledger(play.auditor)
    if not found.replayed:
        raise VerificationFailed("The auditor was not shown every statement of the ledger.")
    play.stage.does(
        "auditor", "audit.verified", size=found.size, root=found.root[:16],
        command=("trustspace --home auditor ledger verify", "trustspace --home auditor witness serve"),
    )  # fmt: skip


def verify_offline(play: Play) -> Verified:
    """Verify the certificate and the files with nothing but the buyer's trust file.

    Raises:
        VerificationFailed: it does not hold.

    """
    stage = play.stage
    folder = play.delivery
    certificate = certificates.load((folder / "certificate.json").read_bytes())
    verified = certificates.verify(certificate, play.buyer.trust())
    for artifact in verified.artifacts:
        certificates.verify_content(certificate, verified, artifact, (folder / artifact).read_bytes())
    trust = play.buyer.trust()
    facts = [
        ("certificate.units", ", ".join(trust.name_of(unit) for unit in verified.source_units)),
        ("certificate.reviewers", ", ".join(verified.reviewers)),
        ("certificate.developer", trust.name_of(verified.job.body.developer)),
        ("certificate.buyer", trust.name_of(verified.job.body.buyer)),
        ("certificate.artifacts", ", ".join(verified.artifacts)),
        ("certificate.platform", f"{verified.sandbox_tier}; {verified.evidence_kind}"),
        ("certificate.ledger", stage.say("certificate.size", statements=len(certificate.statements),
                                         size=verified.ledger_size, quorum=trust.witness_quorum)),
    ]  # fmt: skip
    rows = [(stage.say(key), value) for key, value in facts]
    stage.does(
        "buyer", "certificate.verified", stage.box(stage.facts(rows), title=stage.say("certificate")),
        command="trustspace verify certificate delivery/certificate.json --trust delivery/trust.json"
        f" --artifact delivery/{MODEL_ARTIFACT}",
    )  # fmt: skip
    return verified


def loss_per_round(play: Play) -> list[float]:
    """The mean loss over all hospitals' training patients in each round, from the released metrics."""
    metrics = json.loads((play.delivery / METRICS_ARTIFACT).read_bytes())
    return [float(loss) for loss in metrics["loss_per_round"]]


def use_model(play: Play, verified: Verified) -> Auc:
    """The buyer's own patients meet the model."""
    stage, cohort = play.stage, play.cohort
    model = load_released((play.delivery / MODEL_ARTIFACT).read_bytes(), verified.job.body.parameters)
    scores = model.predict(cohort.table(cohort.buyer, "CC"))
    found = figures.measure(cohort, scores)
    columns = [cohort.patient, *cohort.features[:2], stage.say("col.score"), stage.say("col.finding")]
    rows = [
        (
            f"CC-{index + 1:06d}", *(f"{value:g}" for value in cohort.buyer.values[index, :2]), f"{scores[index]:.3f}",
            cohort.positive if cohort.buyer.malignant[index] else cohort.negative,
        )
        for index in range(PATIENTS_SHOWN)
    ]  # fmt: skip
    agreed = int(np.sum((scores > 0.5) == cohort.buyer.malignant))
    stage.does(
        "buyer", "use.model", stage.table(columns, rows, right=(1, 2, 3)), *(Prose(line, GREY) for line in _USE),
        patients=len(cohort.buyer), agreed=agreed,
    )  # fmt: skip
    return found
