"""Hidden weights that were crafted to steal, each with a control in which they do when the defence is away."""

import base64
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pytest
from support import scores
from support.enclaves import patients, publish
from support.story import Story

from trustspace.aggregation.paillier import proofs
from trustspace.aggregation.paillier.keys import PrivateKey
from trustspace.aggregation.paillier.proofs import EncryptedWeights, ProvenWeights, encrypt_weights
from trustspace.aggregation.paillier.scoring import Scorer, open_blinded, open_scores, unblind
from trustspace.client import budgets, jobs, scoring
from trustspace.client.broker import Broker
from trustspace.client.datasets import DEFAULT_POLICY
from trustspace.crypto.canonical import sha256_hex
from trustspace.domain import budget
from trustspace.domain.binding import score_context
from trustspace.errors import BudgetExhausted, VerificationFailed
from trustspace.jobs import encrypted_model
from trustspace.jobs.container import RawArtifact, pack, unpack
from trustspace.jobs.encrypted_model import encrypt_model, open_model
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.scoring import blinded_rows, group_sums, groups_of, steps
from trustspace.jobs.spec import load_job_file

CONTEXT = b"job one".ljust(32)


@pytest.fixture(scope="module", autouse=True)
def _small():
    with pytest.MonkeyPatch.context() as patch:
        scores.small_keys(patch)
        yield


@pytest.fixture(scope="module")
def key():
    return PrivateKey.generate(1024)


@pytest.fixture(scope="module")
def quiet_world():
    """A story that the tests of this module only read from, or end their jobs in."""
    story = Story(policy=DEFAULT_POLICY.model_copy(update={"quiet_millibits_per_developer": 2**50}))
    yield story
    story.close()


@pytest.fixture
def asked(quiet_world, tmp_path):
    """Parameters of a job over the patients, from a job file with the given end of [score]."""

    def make(rest='group = "diagnosis"\ngroups = ["B", "M"]', **changed):
        path = tmp_path / "job.toml"
        path.write_text(scores.score_text(quiet_world, rest, **changed), encoding="utf-8")
        return load_job_file(path).parameters()

    return make


def unproven(key, integers, bits):
    """What the evaluation would work with if nothing were verified: the owner's word for the range."""
    ciphertexts = tuple(key.public.encrypt(weight) for weight in integers)
    return ProvenWeights(key.public, ciphertexts, bits)


def failures(story, words):
    assert story.state != "in-review"
    assert any(words in failure.log for failure in story.enclave.failures()), story.enclave.failures()


def run_with(story, monkeypatch, craft, title="Mean risk by diagnosis"):
    """Submit and run a job whose model is whatever ``craft(key, integers, score, context)`` gives."""
    with monkeypatch.context() as crafted:
        crafted.setattr(scoring, "encrypt_model", craft)
        scores.ask(story, scores.score_text(story).replace("Mean risk by diagnosis", title))
    story.grant()
    return story.run()


def parts_of(blob):
    return {part.name: part.data for part in unpack(blob, max_bytes=1 << 24)}


def packed(parts):
    return pack([RawArtifact(name, "application/octet-stream", data) for name, data in parts.items()])


# -- one score that holds a whole row


def test_weights_that_pack_a_row_into_a_score_are_refused(key, asked, quiet_world, monkeypatch):
    asked_one = asked()
    rows = steps(quiet_world.table, asked_one)
    shift = 1 << 40
    # Control: with no proof asked for, the sums of both columns stand side by side in one plaintext.
    unbounded = unproven(key, (1, shift), 60)
    found = group_sums(unbounded, quiet_world.table, asked_one, 10)
    total = open_scores(key, found.slots, found.ciphertexts, 2)[0]
    groups = groups_of(quiet_world.table, asked_one.scoring())
    assert [total % shift, total // shift] == rows[groups == 0].sum(axis=0).tolist()

    def wide(private, integers, score, context):
        """Honestly proven for 60 bits, in a job that says 16."""
        weights = encrypt_weights(private.public, (1, shift), 60, context)
        parts = (
            private.public.to_bytes(),
            proofs.prove_modulus(private, context),
            weights.to_bytes(private.public),
        )
        return packed(dict(zip(("key", "modulus", "weights"), parts, strict=True)))

    def relabelled(private, integers, score, context):
        parts = parts_of(wide(private, integers, score, context))
        weights = EncryptedWeights.from_bytes(private.public, parts["weights"])
        narrow = EncryptedWeights(weights.ciphertexts, score.weight_bits - 1, weights.proof)
        return packed(parts | {"weights": narrow.to_bytes(private.public)})

    def exchanged(private, integers, score, context):
        """An honest proof, and another ciphertext where it spoke of one."""
        parts = parts_of(encrypt_model(private, integers, score, context))
        weights = EncryptedWeights.from_bytes(private.public, parts["weights"])
        swapped = EncryptedWeights(
            (weights.ciphertexts[0], private.public.encrypt(shift)), weights.bits, weights.proof
        )
        return packed(parts | {"weights": swapped.to_bytes(private.public)})

    for craft, words in (
        (wide, "other weights"),
        (relabelled, "proof of encrypted weights"),
        (exchanged, "does not hold"),
    ):
        run_with(quiet_world, monkeypatch, craft)
        failures(quiet_world, words)
    # The same hands, with an honest model, get through.
    assert run_with(quiet_world, monkeypatch, encrypt_model) == "in-review"


# -- one column, row by row


def test_a_column_cannot_be_exported_row_by_row(key, asked, quiet_world):
    asked_rows = asked('result = "rows"')
    table = quiet_world.table
    column = steps(table, asked_rows)[:, 0].tolist()
    # Control: without the masks a weight of 1 on one column decrypts to that column.
    weights = unproven(key, (1, 0), 28)
    scorer = Scorer(weights, asked_rows.scoring().feature_bits)
    bare = scorer.score(steps(table, asked_rows))
    assert open_scores(key, scorer.slots, bare, len(column)) == column
    # With them, what the key's owner decrypts is as likely for any other column.
    found, blinds = blinded_rows(weights, table, asked_rows)
    numbers = open_blinded(key, found.ciphertexts)
    with pytest.raises(VerificationFailed):
        assert open_scores(key, found.slots, found.ciphertexts, len(column)) == column
    assert unblind(key.public, blinds.slots, numbers, blinds.numbers, blinds.rows) == column
    others = [(255 - value) for value in column]
    for_others = [
        (number - packed) % key.public.n
        for number, packed in zip(numbers, blinds.slots.pack(others), strict=True)
    ]
    assert unblind(key.public, blinds.slots, numbers, for_others, len(others)) == others
    # And the masks of a second run are others: the difference of the two tells nothing either.
    again = open_blinded(key, blinded_rows(weights, table, asked_rows)[0].ciphertexts)
    assert not set(numbers) & set(again)


# -- a group of one


def test_a_group_of_one_is_hidden_and_does_not_follow(key, asked, quiet_world):
    """By a policy that allows it a single patient's value is read; else neither it nor what is left of all rows."""
    asked_one, everybody = asked(), asked("")
    table = quiet_world.table
    labels = [
        "odd one" if n == 17 else label for n, label in enumerate(table.column("diagnosis").to_pylist())
    ]
    table = table.set_column(table.schema.get_field_index("diagnosis"), "diagnosis", pa.array(labels))
    value = int(steps(table, asked_one)[17, 0])
    weights = unproven(key, (1, 0), 28)

    def sums(minimum, parameters):
        found = group_sums(weights, table, parameters, minimum)
        opened = iter(open_scores(key, found.slots, found.ciphertexts, found.length))
        return [next(opened) if rows else None for rows in found.rows], found.rows

    shown, rows = sums(1, asked_one)
    assert (shown[2], rows[2]) == (value, 1)
    shown, rows = sums(10, asked_one)
    assert rows[2] is None
    (total,), (count,) = sums(10, everybody)
    rest = total - sum(s for s in shown if s is not None)
    assert rest != value
    assert count - sum(r for r in rows if r) >= 10, "what is hidden is as many rows as a group that is shown"


def test_a_rare_mark_in_a_large_group_is_not_counted(key, asked, quiet_world):
    """A weight on the mark alone counts those who have it: three of more than forty."""
    table = quiet_world.table
    ends = scores.ranges(quiet_world)["texture"].replace('"', "").split(",")
    low, high = float(ends[0]), float(ends[1])
    marked = pa.array([high if n < 3 else low for n in range(table.num_rows)])
    table = table.set_column(table.schema.get_field_index("texture"), "texture", marked)
    everybody = asked("")
    weights = unproven(key, (0, 1), 28)
    found = group_sums(weights, table, everybody, 1)
    assert open_scores(key, found.slots, found.ciphertexts, 1) == [3 * 255]
    assert group_sums(weights, table, everybody, 10).ciphertexts == ()
    assert group_sums(weights, table, everybody, 10).rows == (None,)


def test_rows_without_a_value_are_scored_all_the_same(key, asked, quiet_world):
    """Were they left out, a job that weighs another column as well would differ from one that does not by these rows."""
    table = quiet_world.table
    holes = pa.array([None if n < 2 else v for n, v in enumerate(table.column("texture").to_pylist())])
    table = table.set_column(table.schema.get_field_index("texture"), "texture", holes)
    everybody = asked("")
    weights = unproven(key, (1, 0), 28)

    def total(rows):
        found = group_sums(weights, rows, everybody, 10)
        return open_scores(key, found.slots, found.ciphertexts, 1)[0], found.rows[0]

    complete = table.filter(pa.compute.is_valid(table.column("texture")))
    left_out = total(quiet_world.table)[0] - total(complete)[0]
    assert left_out == int(steps(quiet_world.table, everybody)[:2, 0].sum()), "two patients, by subtraction"
    assert total(table) == total(quiet_world.table)


def test_groups_cut_anew_would_tell_a_small_one_and_are_refused(key, asked, quiet_world, monkeypatch):
    """Two partitions, each with large groups only, whose difference is three patients."""
    table = quiet_world.table
    labels = ["M1" if n < 3 else label for n, label in enumerate(table.column("diagnosis").to_pylist())]
    table = table.set_column(table.schema.get_field_index("diagnosis"), "diagnosis", pa.array(labels))
    weights = unproven(key, (1, 0), 28)
    with_b = asked('group = "diagnosis"\ngroups = ["B"]')
    with_m = asked('group = "diagnosis"\ngroups = ["M"]')
    left, right = (group_sums(weights, table, p, 10) for p in (with_b, with_m))
    assert None not in (*left.rows, *right.rows)
    of_b = open_scores(key, left.slots, left.ciphertexts, 2)[0]
    of_not_m = open_scores(key, right.slots, right.ciphertexts, 2)[1]
    assert of_not_m - of_b == int(steps(table, with_b)[:3, 0].sum()), "three patients, by subtraction"
    # The developer's own client refuses such a job; and where that is got round, so do the others.
    text = scores.score_text(quiet_world, 'group = "diagnosis"\ngroups = ["B"]')
    with pytest.raises(VerificationFailed, match=r"score\.groups"):
        scores.ask(quiet_world, text)
    monkeypatch.setattr(scoring, "encrypted", forced)
    scores.ask(quiet_world, text)
    with pytest.raises(VerificationFailed, match=r"score\.groups"):
        jobs.request(quiet_world.hospital, quiet_world.job)


def forced(home, body, model, datasets):
    """The client's encryption without its checks."""
    score = Parameters.from_json(body.parameters).scoring()
    return encrypt_model(scoring.private_key(home), model.integers, score, score_context(body))


def test_a_range_that_asks_for_a_threshold_is_refused(key, asked, quiet_world, monkeypatch):
    """With one bit and a chosen range a sum counts the rows above any number; two such counts differ by a few rows."""
    table = quiet_world.table
    sizes = np.sort(table.column("size").to_numpy())
    weights, counts = unproven(key, (1, 0), 28), []
    for place in (40, 43):
        edge = float(sizes[place]) - 1e-9
        one = asked("feature_bits = 1", size=f'"{edge - 50:.9f}", "{edge + 50:.9f}"')
        found = group_sums(weights, table, one, 10)
        counts.append(open_scores(key, found.slots, found.ciphertexts, 1)[0])
    assert counts[0] - counts[1] == 3, "three patients between two numbers"
    text = scores.score_text(quiet_world, "feature_bits = 1", size='"3.5", "15.25"')
    with pytest.raises(VerificationFailed, match=r"score\.features"):
        scores.ask(quiet_world, text)
    monkeypatch.setattr(scoring, "encrypted", forced)
    scores.ask(quiet_world, text)
    with pytest.raises(VerificationFailed, match=r"score\.features"):
        jobs.request(quiet_world.hospital, quiet_world.job)


def test_a_guess_at_the_rows_cannot_be_checked_against_a_ciphertext(key, asked, quiet_world, monkeypatch):
    """Whoever made the weights' ciphertexts could compute what a product of theirs must be, and compare."""
    table, everybody = quiet_world.table, asked("")
    weights = unproven(key, (3, -5), 28)
    guess = steps(table, everybody).sum(axis=0).tolist()
    square = key.public.n**2
    first, second = (pow(c, x, square) for c, x in zip(weights.ciphertexts, guess, strict=True))
    assert group_sums(weights, table, everybody, 10).ciphertexts != (first * second % square,)
    with monkeypatch.context() as bare:
        bare.setattr(type(key.public), "hide", lambda _, ciphertext: ciphertext)
        assert group_sums(weights, table, everybody, 10).ciphertexts == (first * second % square,)


# -- keys and proofs


def test_a_modulus_without_its_proof_is_refused(quiet_world, monkeypatch):
    def another(private, integers, score, context):
        """The proof of another modulus."""
        parts = parts_of(encrypt_model(private, integers, score, context))
        return packed(parts | {"modulus": proofs.prove_modulus(PrivateKey.generate(1024), context)})

    run_with(quiet_world, monkeypatch, another)
    failures(quiet_world, "proof of a Paillier modulus")
    # Control: it is that proof alone which stops it.
    with monkeypatch.context() as trusting:
        trusting.setattr(encrypted_model, "verify_modulus", lambda *_: None)
        assert run_with(quiet_world, monkeypatch, another) == "in-review"


def test_a_modulus_with_a_small_factor_or_too_short_is_refused(key, asked):
    score = asked().scoring()
    blob = parts_of(encrypt_model(key, (1, 1), score, CONTEXT))
    open_model(packed(blob), score, CONTEXT)
    head, n, h = blob["key"][:-256], key.public.n, key.public.h
    divisible = n + next(step for step in range(0, 12, 2) if (n + step) % 3 == 0)
    weak = head + divisible.to_bytes(128, "big") + h.to_bytes(128, "big")
    for wrong in (weak, head + n.to_bytes(128, "big") + (1).to_bytes(128, "big"), blob["key"][:-2]):
        with pytest.raises(VerificationFailed):
            open_model(packed(blob | {"key": wrong}), score, CONTEXT)


def test_a_model_is_of_one_job_alone(key, asked):
    score = asked().scoring()
    blob = encrypt_model(key, (1, 2), score, CONTEXT)
    open_model(blob, score, CONTEXT)
    with pytest.raises(VerificationFailed):
        open_model(blob, score, b"job two")
    # Each of its proofs by itself.
    for name in ("modulus", "weights"):
        other = parts_of(encrypt_model(key, (1, 2), score, b"job two"))
        with pytest.raises(VerificationFailed):
            open_model(packed(parts_of(blob) | {name: other[name]}), score, CONTEXT)


def test_a_model_replayed_in_another_job_gives_nothing(quiet_world, monkeypatch):
    """Also by its own developer, with the very same parameters: another word in the title is another job."""
    kept = []

    def keeping(*arguments):
        kept.append(encrypt_model(*arguments))
        return kept[-1]

    assert run_with(quiet_world, monkeypatch, keeping) == "in-review"
    run_with(quiet_world, monkeypatch, lambda *_: kept[0], "Mean risk again")
    failures(quiet_world, "proof of a Paillier modulus")
    # Control: bound to no job, it would have worked.
    with monkeypatch.context() as unbound:
        unbound.setattr("trustspace.enclave.run.score_context", lambda _: CONTEXT)
        unbound.setattr(scoring, "score_context", lambda _: CONTEXT)
        kept.clear()
        assert run_with(quiet_world, monkeypatch, keeping) == "in-review"
        assert run_with(quiet_world, monkeypatch, lambda *_: kept[0], "Mean risk again") == "in-review"


@pytest.mark.parametrize("part", ["key", "modulus", "weights"])
def test_a_bit_turned_anywhere_is_refused(key, asked, part):
    score = asked().scoring()
    parts = parts_of(encrypt_model(key, (1, 2), score, CONTEXT))
    size = len(parts[part])
    for place in (0, 40, 4 + key.public.ciphertext_bytes // 2, size // 2, size - 1):
        turned = bytearray(parts[part])
        turned[min(place, size - 1)] ^= 4
        with pytest.raises(VerificationFailed):
            open_model(packed(parts | {part: bytes(turned)}), score, CONTEXT)


def test_a_tampered_file_of_scores_does_not_decrypt_as_another(quiet_world):
    scores.until_review(quiet_world)
    quiet_world.approve()
    (delivered,), _ = quiet_world.fetch()
    honest = scoring.decrypt(quiet_world.developer, quiet_world.job, delivered.content)
    assert [g.rows for g in honest if g.mean is not None]
    value = json.loads(delivered.content)
    for change in (
        {"key": value["key"][:-8] + "AAAAAAA="},
        {"key": base64.b64encode(PrivateKey.generate(1024).public.to_bytes()).decode()},
        {"groups": [{**g, "rows": 50} if g["rows"] else g for g in value["groups"]], "value_bits": 1},
        {"ciphertexts": value["ciphertexts"][4:]},
        {"context": "0" * 64},
        {"note": 1},
    ):
        changed = json.dumps({**value, **change}, sort_keys=True, separators=(",", ":")).encode()
        with pytest.raises(VerificationFailed):
            scoring.decrypt(quiet_world.developer, quiet_world.job, changed)


# -- one query after the other


def test_columns_leave_sum_by_sum_until_the_budget_is_spent(quiet_world, monkeypatch):
    """A developer may weigh one column at a time, and nobody who reviews sees that. So the number of sums is bounded."""
    story = quiet_world
    name = "limited"
    limited = DEFAULT_POLICY.model_copy(
        update={"score_sums_per_developer": 5, "quiet_millibits_per_developer": 2**50}
    )
    publish(story.hospital, story.world, patients(), name=name, policy=limited)
    text = scores.score_text(story).replace('"cytology"', f'"{name}"')
    columns = [{"weights": {"size": 1, "texture": 0}}, {"weights": {"size": 0, "texture": 1}}]
    scores.until_review(story, text, columns[0])
    scores.ask(story, text, columns[1])
    with pytest.raises(BudgetExhausted, match="at most 5 sums of scores of dataset limited: 4 are spent"):
        story.grant()
    # A space that shows nothing of it, and a grant that was not checked: the broker has counted for itself.
    monkeypatch.setattr(budget, "require", lambda *_: None)
    with monkeypatch.context() as unasked:
        unasked.setattr(budgets, "require", lambda *_: None)
        story.grant()
    story.offer()
    Broker(story.hospital).attend()
    assert story.state == "refused"
    assert budgets.sums_spent(story.hospital, name) == {story.developer.fingerprint: 4}
    # Control: with neither count the second column leaves too.
    monkeypatch.setattr(budgets, "count", lambda *_: None)
    monkeypatch.setattr(budgets, "require", lambda *_: None)
    scores.until_review(story, text, columns[1])


def test_the_model_that_ran_is_the_one_that_was_granted(quiet_world):
    """The key opens for the bytes that the job names: a space that serves another model gets no run."""
    scores.ask(quiet_world)
    quiet_world.grant()
    quiet_world.offer()
    assert quiet_world.release_key() == 1
    other = encrypt_model(PrivateKey.generate(1024), (1, 1), load(quiet_world).scoring(), CONTEXT)
    digest = quiet_world.record.body.code
    assert sha256_hex(other) != digest
    (quiet_world.world.home / "blobs" / digest).write_bytes(other)
    quiet_world.enclave.attend()
    assert quiet_world.state != "in-review"


def load(story):
    return Parameters.from_json(story.record.body.parameters)
