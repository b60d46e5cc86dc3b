"""Encrypted scoring at both ends: the developer encrypts its weights and decrypts scores, the source unit unblinds.

The developer's Paillier key is sealed to an opening key of its key store, so that the passphrase guards it too. What
turns integers into scores again stays here as well, by the job's digest: nobody else needs it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from trustspace.aggregation.paillier.keys import PrivateKey, PublicKey
from trustspace.aggregation.paillier.scoring import open_blinded, open_scores, unblind
from trustspace.client.acting import Acting
from trustspace.client.home import PartyHome
from trustspace.client.review import Case, open_artifact
from trustspace.crypto.wrap import seal_to
from trustspace.domain.binding import score_context
from trustspace.domain.bodies import Job
from trustspace.domain.records import DatasetRecord
from trustspace.errors import AlreadyExists, NotFound, VerificationFailed
from trustspace.jobs.agreement import agreed_parameters
from trustspace.jobs.artifacts import encode_json, parse_json
from trustspace.jobs.encrypted_model import encrypt_model
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.scores import (
    BLINDS_ARTIFACT,
    MAX_SCORES_BYTES,
    Blinds,
    decode_numbers,
    encode_numbers,
    read_scores,
)
from trustspace.jobs.sections_score import ROWS
from trustspace.jobs.weights import Quantised, sigmoid
from trustspace.storage.files import write_new

_KEEPER, _FILE, _KIND = "score", "score.key", "score"
_INFO = b"trustspace score key v1"
MASKED_FORMAT = "trustspace-masked-scores-v1"


@dataclass(frozen=True)
class Group:
    """One line of decrypted sums: rows and mean score, None where the group is not shown."""

    label: str
    rows: int | None
    mean: float | None


def generate_key(home: PartyHome, bits: int = 3072) -> PublicKey:
    """Make the party's Paillier key; its private half goes into its home, sealed. Takes some seconds.

    Raises:
        AlreadyExists: there is one.

    """
    if (home.path / _FILE).exists():
        raise AlreadyExists("This party has a key for encrypted scoring already.")
    private = PrivateKey.generate(bits)
    keeper = (
        home.keys.public(_KEEPER) if _KEEPER in home.keys.names() else home.keys.create_opening_key(_KEEPER)
    )
    write_new(home.path / _FILE, seal_to(keeper, private.to_bytes(), _INFO))
    return private.public


def private_key(home: PartyHome) -> PrivateKey:
    """The party's Paillier key.

    Raises:
        NotFound: it has none.

    """
    try:
        sealed = (home.path / _FILE).read_bytes()
    except FileNotFoundError:
        raise NotFound(
            "This party has no key for encrypted scoring.", fix="Make one: trustspace score keygen"
        ) from None
    return PrivateKey.from_bytes(home.keys.open(_KEEPER, sealed, _INFO))


def encrypted(home: PartyHome, body: Job, model: Quantised, datasets: list[DatasetRecord]) -> bytes:
    """The encrypted model of a job that is about to be signed, proven for this job alone.

    Raises:
        VerificationFailed: its ranges or groups are not those that the datasets' descriptions show.

    """
    bodies = {record.statement: record.body for record in datasets}
    # Whatever the model's digest will be: source units would refuse the job for what it says.
    parameters = agreed_parameters(body.model_copy(update={"code": "0" * 64}), bodies.get)
    return encrypt_model(private_key(home), model.integers, parameters.scoring(), score_context(body))


def keep(home: PartyHome, job: str, model: Quantised) -> None:
    """Remember what turns the job's integers into scores, before the job is sent."""
    home.remember(_KIND, job, {"step": model.step.hex(), "offset": model.offset.hex()})


def _kept(home: PartyHome, job: str) -> Quantised:
    entry = home.remembered(_KIND, job)
    if entry is None:
        raise NotFound("There are no weights of job {job} here.", fix="Its developer has them.", job=job[:12])
    return Quantised((), float.fromhex(entry["step"]), float.fromhex(entry["offset"]))


def decrypt(home: PartyHome, job: str, data: bytes) -> list[Group] | bytes:
    """What a released scores.json says: the groups' means or, of blinded rows, a file for the source unit.

    Raises:
        NotFound: the key or the weights are not here.
        VerificationFailed: the file is not of this job, or not for this key.

    """
    body = home.session.job(job).job(job).body
    parameters = Parameters.from_json(body.parameters)
    scores = read_scores(parse_json(data, limit=MAX_SCORES_BYTES), parameters)
    if scores.context != score_context(body).hex():
        raise VerificationFailed("The scores are those of another job.")
    private, model = private_key(home), _kept(home, job)
    if scores.key != private.public:
        raise VerificationFailed("The scores are encrypted for another key.")
    if scores.result == ROWS:
        masked = encode_numbers(scores.key, open_blinded(private, scores.ciphertexts))
        return encode_json(
            {
                "format": MASKED_FORMAT, "job": job, "key": scores.key.digest(), "numbers": masked.hex(),
                "model": parameters.scoring().model, "step": model.step.hex(), "offset": model.offset.hex(),
            }
        )  # fmt: skip
    sums = iter(open_scores(private, scores.slots, scores.ciphertexts, scores.length))
    return [
        Group(label, rows, model.score(next(sums), rows) if rows else None)
        for label, rows in zip(parameters.scoring().labels, scores.rows, strict=True)
    ]


def unblinded(home: Acting, case: Case, masked: bytes) -> list[float]:
    """As the source unit: the score of each of its rows, in their order, from what the developer handed back.

    Of a logistic model the probability. Raises VerificationFailed for a file that is of another job or key, and
    PermissionDenied where it takes other reviewers as well to open the masks.
    """
    name = next((a.name for a in case.own_files if a.role == "own"), "")
    if not name.endswith(BLINDS_ARTIFACT):
        raise NotFound("The output holds no masks of this source unit.")
    blinds = Blinds.from_json(parse_json(open_artifact(home, case, name), limit=MAX_SCORES_BYTES))
    value = _masked(masked, case.job.statement, blinds.key.digest())
    numbers = decode_numbers(blinds.key, bytes.fromhex(value["numbers"]))
    if len(numbers) != len(blinds.numbers):
        raise VerificationFailed("The masked scores are not those of this job.")
    model = Quantised((), float.fromhex(value["step"]), float.fromhex(value["offset"]))
    found = [
        model.score(total)
        for total in unblind(blinds.key, blinds.slots, numbers, blinds.numbers, blinds.rows)
    ]
    return [sigmoid(score) for score in found] if value["model"] == "logistic" else found


def _masked(data: bytes, job: str, key: str) -> dict[str, str]:
    """A file of masked scores, once it is of this job and key, and all its numbers are numbers."""
    try:
        value = json.loads(data)
        texts = [value[name] for name in ("format", "job", "key", "numbers", "model", "step", "offset")]
        sound = (
            isinstance(value, dict) and len(value) == len(texts) and all(isinstance(t, str) for t in texts)
        )
        if sound:
            bytes.fromhex(value["numbers"])
            sound = all(abs(float.fromhex(value[name])) < 1e300 for name in ("step", "offset"))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        sound = False
    if not sound or (value["format"], value["job"], value["key"]) != (MASKED_FORMAT, job, key):
        raise VerificationFailed("The masked scores are not those of this job.")
    found: dict[str, str] = value
    return found
