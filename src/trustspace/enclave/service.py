"""What an enclave does for its own source unit: take sealed datasets in, delete withdrawn ones, report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from trustspace.domain.bodies import DatasetWithdrawn, Evidence, Party, Refusal
from trustspace.domain.permissions import signing_key
from trustspace.domain.records import DatasetRecord
from trustspace.domain.statements import dump, parse
from trustspace.enclave.datasets import DatasetStore, Progress
from trustspace.enclave.home import EnclaveHome
from trustspace.enclave.runner import Runner
from trustspace.errors import PermissionDenied, VerificationFailed
from trustspace.transport.session import Session


class EnclaveService:
    """The use cases behind the enclave's door. Thread-safe."""

    def __init__(
        self, home: EnclaveHome, session: Session, store: DatasetStore, runner: Runner, evidence: Evidence,
        sandbox: dict[str, Any],
    ) -> None:  # fmt: skip
        self._home = home
        self._session = session
        self._store = store
        self._runner = runner
        self._evidence = evidence
        self._sandbox = sandbox

    def _owner(self) -> Party:
        return self._session.party_body(self._session.party)

    def begin_upload(self, envelope: bytes) -> Progress:
        """Open or resume an upload whose manifest the source unit signed."""
        keys = [bytes.fromhex(key.public) for key in self._owner().keys if key.use == "act"]
        return self._store.begin(envelope, keys)

    def upload(self, upload: str, offset: int, pieces: Iterable[bytes]) -> Iterator[Progress]:
        """Take bytes in."""
        return self._store.append(upload, offset, pieces)

    def commit_upload(self, upload: str) -> Progress:
        """Verify and keep."""
        return self._store.commit(upload)

    def abort_upload(self, upload: str) -> Progress:
        """Discard."""
        return self._store.abort(upload)

    def withdraw(self, envelope: bytes) -> None:
        """Delete a dataset's ciphertext. The source unit's signature is enough, whether the space logs it or not."""
        statement = parse(envelope)
        if not isinstance(statement.body, DatasetWithdrawn) or statement.by != self._session.party:
            raise PermissionDenied("Only this enclave's source unit withdraws its datasets.")
        signing_key(self._owner(), statement)
        record: DatasetRecord = self._session.dataset(statement.body.dataset)
        if record.source_unit != self._session.party:
            raise VerificationFailed("The dataset is of another source unit.")
        self._store.withdraw(record.body.manifest)

    def stop(self, envelope: bytes) -> None:
        """End the run of a job that the source unit refuses, without asking the space for anything.

        The door lets in nobody but the source unit, and all that a stop can do is deny it its own part.
        """
        statement = parse(envelope)
        if not isinstance(statement.body, Refusal) or statement.by != self._session.party:
            raise PermissionDenied("Only this enclave's source unit stops its runs.")
        self._runner.stop_job(statement.body.job)

    def status(self) -> dict[str, Any]:
        """What the enclave holds, how it isolates, and what failed, for its source unit alone."""
        return {
            "enclave_key": self._home.card.enclave_key,
            "evidence": dump(self._evidence),
            "sandbox": self._sandbox,
            "datasets": [
                {"dataset": m.dataset, "version": m.version, "sealed_bytes": m.sealed_bytes}
                for m in self._store.holdings()
            ],
            "failures": [asdict(failure) for failure in self._runner.failures()],
            "first_row_ms": self._runner.first_row_ms(),
        }
