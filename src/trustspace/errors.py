"""One root for every error that may reach a person, and one catalogue of what each code means.

A message is a template and its details, kept apart, so that it can be shown in another language and
so that what may be shown is visible where it is raised. Neither ever carries a data value or a secret:
details are names of fields, identifiers, sizes and limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """What kind of error it is; the catalogue maps it to a gRPC status and an exit code."""

    INVALID_INPUT = "invalid-input"
    VERIFICATION_FAILED = "verification-failed"
    UNAUTHENTICATED = "unauthenticated"
    PERMISSION_DENIED = "permission-denied"
    NOT_FOUND = "not-found"
    ALREADY_EXISTS = "already-exists"
    INVALID_TRANSITION = "invalid-transition"
    POLICY_REFUSED = "policy-refused"
    STALE = "stale"
    BUDGET_EXHAUSTED = "budget-exhausted"
    UNAVAILABLE = "unavailable"
    LOG_CORRUPTED = "log-corrupted"
    CANNOT_ISOLATE = "cannot-isolate"
    INTERNAL = "internal"


@dataclass(frozen=True)
class Meaning:
    """How a code leaves the program: the name of its gRPC status and its process exit code."""

    grpc_status: str
    exit_code: int


CATALOGUE: dict[Code, Meaning] = {
    Code.INVALID_INPUT: Meaning("INVALID_ARGUMENT", 2),
    Code.VERIFICATION_FAILED: Meaning("INVALID_ARGUMENT", 3),
    Code.UNAUTHENTICATED: Meaning("UNAUTHENTICATED", 4),
    Code.PERMISSION_DENIED: Meaning("PERMISSION_DENIED", 5),
    Code.NOT_FOUND: Meaning("NOT_FOUND", 6),
    Code.ALREADY_EXISTS: Meaning("ALREADY_EXISTS", 7),
    Code.INVALID_TRANSITION: Meaning("FAILED_PRECONDITION", 8),
    Code.POLICY_REFUSED: Meaning("FAILED_PRECONDITION", 9),
    Code.STALE: Meaning("ABORTED", 10),
    Code.BUDGET_EXHAUSTED: Meaning("RESOURCE_EXHAUSTED", 11),
    Code.UNAVAILABLE: Meaning("UNAVAILABLE", 12),
    Code.LOG_CORRUPTED: Meaning("DATA_LOSS", 13),
    Code.CANNOT_ISOLATE: Meaning("FAILED_PRECONDITION", 14),
    Code.INTERNAL: Meaning("INTERNAL", 1),
}


class TrustspaceError(Exception):
    """An error with a code, a message template, and a fix that the reader can act on.

    ``message`` and ``fix`` are ``str.format`` templates over ``details``; the templates are what a
    translation is looked up by. Subclasses fix the code.
    """

    code = Code.INTERNAL

    def __init__(self, message: str, *, fix: str = "", **details: str | int) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.details = details

    @property
    def public_message(self) -> str:
        """The English text: what is wrong and, where there is one, what to do about it."""
        text = self.message.format(**self.details)
        return f"{text} {self.fix.format(**self.details)}" if self.fix else text

    def __str__(self) -> str:
        return self.public_message


class InvalidInput(TrustspaceError):
    """What the caller gave cannot be used as it is."""

    code = Code.INVALID_INPUT


class VerificationFailed(TrustspaceError):
    """A signature, digest, proof, commitment or authenticated decryption does not hold."""

    code = Code.VERIFICATION_FAILED


class Unauthenticated(TrustspaceError):
    """Nobody knows who is calling."""

    code = Code.UNAUTHENTICATED


class PermissionDenied(TrustspaceError):
    """The caller may not do this; raised before saying whether the thing exists."""

    code = Code.PERMISSION_DENIED


class NotFound(TrustspaceError):
    """The caller may ask, and there is no such thing."""

    code = Code.NOT_FOUND


class AlreadyExists(TrustspaceError):
    """There is one already, and it is different."""

    code = Code.ALREADY_EXISTS


class InvalidTransition(TrustspaceError):
    """The thing is not in a state in which this can happen."""

    code = Code.INVALID_TRANSITION


class PolicyRefused(TrustspaceError):
    """A rule that a party set forbids this."""

    code = Code.POLICY_REFUSED


class Stale(TrustspaceError):
    """Something newer has taken the place of what the caller refers to."""

    code = Code.STALE


class BudgetExhausted(TrustspaceError):
    """A limit on number, size or time is used up."""

    code = Code.BUDGET_EXHAUSTED


class Unavailable(TrustspaceError):
    """Not now; the same call may succeed later."""

    code = Code.UNAVAILABLE


class LogCorrupted(TrustspaceError):
    """The ledger contradicts itself or what was verified before."""

    code = Code.LOG_CORRUPTED


class CannotIsolate(TrustspaceError):
    """This host cannot give the isolation that is asked for."""

    code = Code.CANNOT_ISOLATE


BY_CODE: dict[Code, type[TrustspaceError]] = {
    kind.code: kind
    for kind in (
        InvalidInput, VerificationFailed, Unauthenticated, PermissionDenied, NotFound, AlreadyExists,
        InvalidTransition, PolicyRefused, Stale, BudgetExhausted, Unavailable, LogCorrupted, CannotIsolate,
        TrustspaceError,
    )
}  # fmt: skip
