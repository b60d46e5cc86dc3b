"""Jobs: the developer asks, the buyer countersigns, the source unit looks at exactly what is asked and decides."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trustspace.client import blindcode, budgets, scoring
from trustspace.client.acting import SEALING, Acting
from trustspace.client.datasets import resolve
from trustspace.client.enclaves import enclave_link, own_enclaves
from trustspace.client.home import PartyHome
from trustspace.crypto.canonical import sha256_hex
from trustspace.domain.bodies import (
    SMALL_SUMS,
    Countersignature,
    Dataset,
    DatasetUse,
    Grant,
    Job,
    JobCancellation,
    PartyKey,
    Policy,
    Refusal,
    Reviewer,
    recovery_words,
)  # fmt: skip
from trustspace.domain.budget import in_bits, price, privacy_price
from trustspace.domain.records import DatasetRecord, JobRecord
from trustspace.domain.rules_request import needs_small_sums
from trustspace.domain.tiers import stronger
from trustspace.errors import (
    InvalidInput,
    NotFound,
    PermissionDenied,
    PolicyRefused,
    TrustspaceError,
    Unavailable,
    VerificationFailed,
)  # fmt: skip
from trustspace.jobs.agreement import agreed_parameters, sum_terms
from trustspace.jobs.bundle import parse_bundle
from trustspace.jobs.sections import DatasetUse as AskedDataset
from trustspace.jobs.spec import JobFile, Parameters, load_job_file, read_code
from trustspace.jobs.weights import read_model
from trustspace.transport.session import Dossier

MAX_CODE_BYTES = 1 << 20
GRANT_DAYS = 30
_LOG = logging.getLogger(__name__)


def submit(home: PartyHome, path: Path, *, supersedes: str = "") -> str:
    """Submit a job file (and the code beside it); returns the job's digest.

    ``supersedes`` is the job of this developer's that it answers, such as one whose output was to be changed.

    Raises:
        PermissionDenied: that one is another developer's, or is not there.

    """
    file = load_job_file(path)
    if supersedes and home.session.job(supersedes).job(supersedes).body.developer != home.fingerprint:
        raise PermissionDenied("The job answers another one that is not its developer's.")
    # Reviewers who ask for changes seal their note to it.
    home.require_receiving_key()
    code = read_code(file, path)
    parameters = file.parameters()
    uses, datasets, named = [], [], []
    for index, asked in enumerate(parameters.datasets):
        record = _resolved(home, asked)
        # However the file names a dataset, what is signed names it as its source unit does.
        named.append(asked.model_copy(update={"id": record.body.dataset, "source_unit": None}))
        home.trust().require(record.source_unit)
        _check_columns(record, parameters.columns_of(index))
        datasets.append(record)
        uses.append(
            DatasetUse(
                dataset=record.statement, source_unit=record.source_unit,
                columns=tuple(dict.fromkeys(parameters.columns_of(index))),
            )
        )  # fmt: skip
    units = tuple(dict.fromkeys(record.source_unit for record in datasets))
    if len(units) < len(datasets):
        raise InvalidInput(
            "The job's field {field} names two datasets of one source unit.",
            fix="Name one of each.", field="datasets",
        )  # fmt: skip
    parameters = parameters.model_copy(update={"datasets": tuple(named)})
    buyer = home.trust().resolve(file.parties.buyer)
    buyer_key = _receiving_key(home, buyer)
    sealed = _sealed(home, file, parameters, code)
    uploaded = code if sealed is None else sealed.ciphertext
    model = read_model(path, file.score.weights, parameters) if file.score is not None else None
    body = Job(
        title=file.job.title,
        kind=file.job.kind,
        purpose=file.job.purpose,
        source_units=units,
        developer=home.fingerprint,
        buyer=buyer,
        buyer_key=buyer_key,
        datasets=tuple(uses),
        code=sha256_hex(uploaded) if uploaded else "",
        parameters=parameters.to_json(),
        minimum_participants=parameters.terms.minimum_participants,
        release_quorum=parameters.terms.release_quorum,
        evidence_kind=parameters.terms.evidence_kind,
        expires=home.session.now() + file.job.expires_days * 86400,
        supersedes=supersedes,
        blind=sealed.declared if sealed is not None else None,
        sums=sum_terms(parameters),
    )
    if model is not None:
        uploaded = scoring.encrypted(home, body, model, datasets)
        body = body.model_copy(update={"code": sha256_hex(uploaded)})
    if uploaded:
        home.session.link.put_blob(uploaded, body.code, len(uploaded))
    statement = home.sign(body, "act")
    if model is not None:
        scoring.keep(home, statement.digest, model)
    if sealed is not None:
        blindcode.keep(home, statement.digest, sealed, body.expires)
    try:
        home.session.append(statement)
    except Unavailable:
        home.session.append(statement)  # perhaps only the answer was lost: the same bytes stand once
    except TrustspaceError:
        blindcode.destroy(home, statement.digest)
        raise
    return statement.digest


def _sealed(
    home: PartyHome, file: JobFile, parameters: Parameters, code: bytes
) -> blindcode.SealedBundle | None:
    """The code sealed, where the job file says that it is blind."""
    if file.code is None or not file.code.blind:
        return None
    if parameters.terms.evidence_kind == "software" and not file.code.host_can_read:
        raise PolicyRefused(
            "The job's code is blind, and the host of an enclave with software evidence could read it.",
            fix="Write host_can_read = true under [code] if that is acceptable, or demand hardware evidence.",
        )
    return blindcode.seal(home, code, parameters, host_can_read=file.code.host_can_read)


def _resolved(home: PartyHome, asked: AskedDataset) -> DatasetRecord:
    """The proven dataset that a job file names: by its id, or by the unit it is of and its id, or by digest."""
    by_digest = re.fullmatch(r"[0-9a-f]{64}", asked.id) is not None
    name = f"{asked.source_unit}/{asked.id}" if asked.source_unit and not by_digest else asked.id
    record = resolve(home, name, asked.version)
    if asked.source_unit and record.source_unit != home.trust().resolve(asked.source_unit):
        raise InvalidInput(
            "The job's field {field} names no dataset of that source unit.", field="datasets.source_unit"
        )
    return record


def _check_columns(record: DatasetRecord, columns: tuple[str, ...]) -> None:
    known = {str(column["name"]) for column in record.body.description["columns"]}
    for column in columns:
        if column not in known:
            raise InvalidInput(
                "The job's field {field} names the column {column}, which the dataset does not have.",
                fix="See `trustspace dataset show`.", field="datasets.columns", column=column,
            )  # fmt: skip


def _receiving_key(home: PartyHome, buyer: str) -> str:
    for key in reversed(home.session.party_body(buyer).keys):
        if key.use == "receive":
            return key.public
    raise NotFound("That party has no receiving key.", fix="Is it a buyer?")


def listing(home: Acting) -> list[dict[str, Any]]:
    """The jobs that this party takes part in, as the space lists them, but for which reviewers have decided.

    That is shown by client/standing.py, to a reviewer who may know it.
    """
    return [
        {name: value for name, value in job.items() if name != "decided_by"}
        for job in home.session.link.view("jobs")
    ]


def resolve_job(home: Acting, prefix: str) -> str:
    """A job's digest from the first digits of it.

    Raises:
        NotFound: none begins with them.
        InvalidInput: several do.

    """
    matching = [str(j["statement"]) for j in listing(home) if str(j["statement"]).startswith(prefix.lower())]
    if not matching:
        raise NotFound(
            "There is no job {prefix} of yours.", fix="See `trustspace job list`.", prefix=prefix[:64]
        )
    if len(matching) > 1:
        raise InvalidInput("Several jobs begin with {prefix}.", fix="Give more digits.", prefix=prefix[:64])
    return matching[0]


def countersign(home: PartyHome, digest: str) -> str:
    """The buyer agrees to a job and to the key its output will come to."""
    job = home.session.job(digest).job(digest)
    mine = {home.keys.public(n).hex() for n in home.keys.names() if not n.startswith(SEALING)}
    if job.body.buyer_key not in mine:
        raise VerificationFailed(
            "The job names a receiving key that is not this buyer's.", fix="Do not countersign."
        )
    return home.submit(Countersignature(job=digest, buyer_key=job.body.buyer_key), "act").digest


@dataclass(frozen=True)
class Request:
    """What a source unit is asked: the proven job, its parameters, the code to read, its own datasets."""

    dossier: Dossier
    job: JobRecord
    parameters: Parameters
    code: dict[str, str]
    datasets: tuple[DatasetRecord, ...]


def request(home: Acting, digest: str, dossier: Dossier | None = None) -> Request:
    """Exactly what a job asks, proven: every name in it is pinned, the code is the bytes of the digest. ``dossier`` is
    the job's, where it was fetched and proven just before.

    Of blind code there is nothing to read, also not for its developer: what it has on its own disk it knows.
    """
    dossier = dossier or home.session.job(digest)
    job = dossier.job(digest)
    code: dict[str, str] = {}
    readers = {*job.body.source_units, job.body.developer}
    if job.body.has_own_code and job.body.blind is None and home.fingerprint in readers:
        code = parse_bundle(home.session.link.fetch(job.body.code, MAX_CODE_BYTES))
    parameters = agreed_parameters(job.body, lambda use: _body_of(dossier.view.get(DatasetRecord, use)))
    own = [
        dossier.view.get(DatasetRecord, u.dataset)
        for u in job.body.datasets
        if u.source_unit == home.fingerprint
    ]
    return Request(dossier, job, parameters, code, tuple(record for record in own if record is not None))


def _body_of(record: DatasetRecord | None) -> Dataset | None:
    return record.body if record is not None else None


def grant(
    home: PartyHome,
    digest: str,
    *,
    reviewers: tuple[str, ...] = (),
    threshold: int | None = None,
    runs: int = 1,
    days: int = GRANT_DAYS,
    sandbox_tier: str = "any",
    small_sums: bool = False,
    recovery: bool = False,
    privacy_millis: int | None = None,
) -> str:
    """Permit a job: the human act. ``reviewers`` are names; all of the unit's, when none is given. ``threshold`` is how
    many of them must approve; as many as the policy demands, when it is not given.

    ``small_sums`` says in words that a sum may be of two source units, who can compute each other's part, and
    ``recovery`` that fewer than all source units together can open every single update. ``privacy_millis`` caps what
    the job may spend of the dataset's differential privacy, in thousandths of epsilon; what it claims, if not given.

    Raises:
        PolicyRefused: this source unit refused the job before, its own policy refuses it or demands more reviewers than
            the threshold, or the job may make
            sums of two source units, or sums that can be opened without some, and it is not said that this is accepted.
        BudgetExhausted: the job could tell its developer more before release than the dataset's budget has left.

    """
    body = draft_grant(
        home, request(home, digest), reviewers=reviewers, threshold=threshold, runs=runs, days=days,
        sandbox_tier=sandbox_tier, small_sums=small_sums, recovery=recovery, privacy_millis=privacy_millis,
    )  # fmt: skip
    return home.submit(body, "grant").digest


def draft_grant(
    home: PartyHome,
    asked: Request,
    *,
    reviewers: tuple[str, ...] = (),
    threshold: int | None = None,
    runs: int = 1,
    days: int = GRANT_DAYS,
    sandbox_tier: str = "any",
    small_sums: bool = False,
    recovery: bool = False,
    privacy_millis: int | None = None,
) -> Grant:
    """What :func:`grant` would sign, for a person to look at first; errors as that has them."""
    if home.remembered("refused", asked.job.statement):
        raise PolicyRefused("This source unit has refused the job.", fix="Ask the developer for a new one.")
    if not asked.datasets:
        raise PolicyRefused("The job asks for no dataset of this source unit.")
    policies: list[Policy] = [record.body.policy for record in asked.datasets]
    if asked.job.body.has_own_code and any(policy.custom_code == "refuse" for policy in policies):
        raise PolicyRefused("The dataset's policy refuses jobs with the developer's own code.")
    if asked.job.body.blind is not None and any(policy.blind_code == "refuse" for policy in policies):
        raise PolicyRefused("The dataset's policy refuses blind code.")
    demanded = max(policy.reviewers for policy in policies)
    threshold = demanded if threshold is None else threshold
    if threshold < demanded:
        raise PolicyRefused(
            "The dataset's policy demands that {count} reviewers approve.",
            fix="Grant it with --threshold {count}.", count=demanded,
        )  # fmt: skip
    if needs_small_sums(asked.job.body) and not small_sums:
        raise PolicyRefused(
            "The job's sums may be of two source units alone, and the grant's field {field} does not say so.",
            fix="Grant it with those words, or ask for a job with a minimum of three.", field="small_sums",
        )  # fmt: skip
    opened_without = recovery_words(asked.job.body)
    if opened_without and not recovery:
        raise PolicyRefused(
            "The job's sums can be opened without some source units, and the grant's field {field} does not say so.",
            fix="Grant it with those words, or ask for a job without sums.dropouts.", field="recovery",
        )  # fmt: skip
    told = price(asked.dossier.view, asked.job, ((home.fingerprint, runs),)).told_millibits
    cost = privacy_price(asked.dossier.view, asked.job, home.fingerprint, ((home.fingerprint, runs),))
    if privacy_millis is not None and privacy_millis < cost:
        raise PolicyRefused(
            "The job could spend a differential privacy of epsilon {cost}, and the grant allows {allowed}.",
            fix="Grant it with --privacy {cost}, or allow fewer runs.",
            cost=in_bits(cost), allowed=in_bits(privacy_millis),
        )  # fmt: skip
    for record in asked.datasets:
        budgets.require(home, record, asked.job, told, cost)
    named = _reviewers(home.party.keys, reviewers)
    if threshold > len(named):
        raise InvalidInput(
            "The grant names {named} reviewer(s), and {count} must approve.",
            fix="Name more with --reviewer.", named=len(named), count=threshold,
        )  # fmt: skip
    if asked.job.body.evidence_kind != "software":
        raise PolicyRefused("The job demands {kind} evidence, which this enclave cannot give.",
                            kind=asked.job.body.evidence_kind)  # fmt: skip
    return Grant(
        job=asked.job.statement,
        datasets=tuple(record.statement for record in asked.datasets),
        enclave=asked.datasets[0].body.enclave,
        reviewers=named,
        reviewer_threshold=threshold,
        evidence_kind=asked.job.body.evidence_kind,
        sandbox_tier=stronger(sandbox_tier, asked.parameters.terms.sandbox_tier),
        runs=runs,
        expires=min(asked.job.body.expires, home.session.now() + days * 86400),
        small_sums=SMALL_SUMS if small_sums else "",
        recovery=opened_without,
        privacy_millis=max(cost, privacy_millis or 0) if cost else 0,
    )


def _reviewers(keys: tuple[PartyKey, ...], names: tuple[str, ...]) -> tuple[Reviewer, ...]:
    review = {k.holder: k.public for k in keys if k.use == "review"}
    review_open = {k.holder: k.public for k in keys if k.use == "review-open"}
    wanted = names or tuple(review)
    if not wanted:
        raise NotFound(
            "This source unit has no reviewer.", fix="Take one in first, with `trustspace reviewer adopt`."
        )
    for name in wanted:
        if name not in review or name not in review_open:
            raise NotFound("This source unit has no reviewer {name}.", name=name)
    return tuple(
        Reviewer(holder=n, review=review[n], review_open=review_open[n]) for n in dict.fromkeys(wanted)
    )


def refuse(home: PartyHome, digest: str) -> str:
    """Refuse a job, or stop one that was granted or runs.

    It binds this unit's broker at once and ends a run in its own enclaves, logged or not: the space is told last.
    """
    home.remember("refused", digest)
    statement = home.sign(Refusal(job=digest), "grant")
    for enclave in own_enclaves(home):
        try:
            enclave_link(home, enclave).stop(statement.envelope.to_bytes())
        except TrustspaceError as error:
            # An enclave that cannot be reached hears of it from the space.
            _LOG.warning("the enclave %s was not told: %s", enclave.name, error)
    home.session.append(statement)
    return statement.digest


def cancel(home: PartyHome, digest: str) -> str:
    """As its developer, take a job back; a run of it that is on stops.

    It binds this developer's broker at once, logged or not: the key of blind code is destroyed before the space is
    told.

    Raises:
        InvalidTransition: it has ended.

    """
    home.remember("cancelled", digest)
    blindcode.destroy(home, digest)
    return home.submit(JobCancellation(job=digest), "act").digest
