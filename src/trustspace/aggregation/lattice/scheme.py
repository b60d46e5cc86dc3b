"""The lattice sum as a way to protect a sum: fresh keys, and who can put the sum of the keys together.

A member's protected vector is ``a * s + e + words``, with ``a`` known to all and renewed by every attempt's
context, ``s`` a secret drawn for this attempt alone and ``e`` small noise. Protected vectors add up to
``a * (sum of s) + (sum of e) + (sum of words)``, and the sum of the secrets is all that it takes to open that.
It is far shorter than the vectors, and whatever opens it opens no part: the sum of uniform secrets says
nothing about one of them.

Two vectors under one secret and one ``a`` would give away their difference. So a secret exists in one place:
``begin`` draws it, no argument brings one in, each position is protected once, and no copy can be made.

What opening notices is a wrong sum of secrets: noise or words leave their range, in every block, whatever row
is wrong. It does not notice words that were added to a protected sum: who adds up is audited for that, by
adding again. And in one block, whoever knows all other reveals could choose a false one that opens it to what
he likes, since a block has no more equations than a secret has unknowns. So where all open together each is
bound to its reveal beforehand, by ``commitment``; where some are enough, and what they reveal hangs on who is
there, the key must open two blocks.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping, Sequence
from typing import NoReturn

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from trustspace.aggregation.lattice.backend import Backend, best_backend, check_words
from trustspace.aggregation.lattice.keys import AllTogether, AnyEnough, Keys
from trustspace.aggregation.lattice.parameters import KEY_BYTES, LatticeParameters
from trustspace.aggregation.masks import Taken
from trustspace.aggregation.residues import uniform
from trustspace.aggregation.scheme import SECRET_BYTES, Words
from trustspace.errors import InvalidInput, InvalidTransition, VerificationFailed

_PUBLIC = b"trustspace lattice public v1"


class LatticeSum:
    """The scheme of one parameter set: all members open the sum, or any ``threshold`` of them.

    Raises InvalidInput for a threshold below 2 or beyond the set's participants.
    """

    def __init__(
        self, parameters: LatticeParameters, threshold: int = 0, backend: Backend | None = None
    ) -> None:
        if threshold and not 2 <= threshold <= parameters.max_participants:
            raise InvalidInput(
                "A threshold lies between 2 and the {limit} participants that a sum may have.",
                limit=parameters.max_participants,
            )
        self.parameters = parameters
        self.threshold = threshold
        self.backend = backend or best_backend()

    @property
    def name(self) -> str:
        """As ``Scheme.name``."""
        return self.parameters.name

    @property
    def block(self) -> int:
        """As ``Scheme.block``."""
        return self.parameters.block

    @property
    def largest(self) -> int:
        """As ``Scheme.largest``."""
        return self.parameters.largest

    def needed(self, members: int) -> int:
        """As ``Scheme.needed``."""
        return self.threshold or members

    def begin(self, own: int, secrets: Mapping[int, bytes], context: bytes) -> LatticeVector:
        """As ``Scheme.begin``, with a fresh secret and fresh noise. Raises InvalidInput also for a threshold that is
        not above half of the members.
        """
        return _begin(self, own, secrets, context, draw_secret(self.parameters), os.urandom(KEY_BYTES))

    def add_into(self, total: Words, addend: Words) -> None:
        """As ``Scheme.add_into``. Raises InvalidInput also for words that no protection makes."""
        self.backend.add_into(self.parameters, total, addend)


def public_key(context: bytes) -> bytes:
    """The key of the public residues of one attempt: everybody who knows its context can derive it."""
    return HKDF(SHA256(), 32, salt=None, info=_PUBLIC).derive(context)[:KEY_BYTES]


def draw_secret(parameters: LatticeParameters) -> Words:
    """A fresh secret from ``os.urandom``: uint32 [rows, n], each row uniform modulo its prime."""
    rows = [uniform(1, parameters.n, prime)[0] for prime in parameters.primes]
    return np.stack(rows).astype(np.uint32)


def _begin(
    scheme: LatticeSum, own: int, secrets: Mapping[int, bytes], context: bytes, secret: Words, noise: bytes
) -> LatticeVector:
    """``begin`` with a given secret and noise key, for test vectors."""
    parameters, members = scheme.parameters, len(secrets) + 1
    if not 2 <= members <= parameters.max_participants:
        raise InvalidInput(
            "A protected sum has between 2 and {limit} members.", limit=parameters.max_participants
        )
    if own in secrets or {own, *secrets} != set(range(members)):
        raise InvalidInput("The members of a sum stand at positions 0 to {last}.", last=members - 1)
    if any(len(shared) != SECRET_BYTES for shared in secrets.values()):
        raise InvalidInput("A secret of two members is {size} bytes long.", size=SECRET_BYTES)
    keys: Keys
    if scheme.threshold:
        keys = AnyEnough(parameters, scheme.threshold, own, members, context, secret)
    else:
        keys = AllTogether(parameters, own, secrets, context, secret)
    return LatticeVector(parameters, scheme.backend, members, public_key(context), keys, secret, noise)


class LatticeVector:
    """One member's side of one attempt; made by ``LatticeSum.begin``."""

    def __init__(
        self,
        parameters: LatticeParameters,
        backend: Backend,
        members: int,
        public: bytes,
        keys: Keys,
        secret: Words,
        noise: bytes,
    ) -> None:
        self._parameters = parameters
        self._backend = backend
        self._members = members
        self._public = public
        self._keys: Keys | None = keys
        self._secret: Words | None = secret
        self._noise = noise
        self._taken = Taken()
        self._prepared: dict[int, Words] = {}
        self._answer: tuple[frozenset[int], bytes] | None = None
        self._opening: tuple[Words, int] | None = None

    def commitment(self) -> bytes:
        """As ``Protection.commitment``: none where what is revealed hangs on who is in the sum."""
        return self._living().commitment()

    def shares(self) -> Mapping[int, bytes]:
        """As ``Protection.shares``: none where all members open the sum together."""
        return self._living().shares()

    def prepare(self, start: int, length: int) -> None:
        """Compute now what ``protect`` of just this piece will only have to add: 4 bytes of memory a word.

        It is used once, and forgotten by ``reveal`` and ``destroy``. Raises as ``protect`` does.
        """
        secret = self._protecting()
        if length < 0:
            raise InvalidInput("A piece of a vector is not shorter than nothing.")
        mask = np.empty(length, np.uint32)
        first = self._first(start, mask)
        self._backend.mask(self._parameters, self._public, secret, self._noise, first, mask)
        self._prepared[start] = mask

    def protect(self, start: int, words: Words) -> Words:
        """As ``Protection.protect``. Words that are refused have used up their positions all the same."""
        secret = self._protecting()
        first = self._first(start, words)
        self._taken.take(start, start + len(words))
        mask = self._prepared.pop(start, None)
        if mask is not None and len(mask) == len(words):
            self._backend.apply(self._parameters, words, mask)
            return mask
        out = np.empty(len(words), np.uint32)
        self._backend.protect(self._parameters, self._public, secret, self._noise, first, words, out)
        return out

    def reveal(self, members: Sequence[int], shares: Mapping[int, bytes]) -> bytes:
        """As ``Protection.reveal``. A second set of members is refused: two sums would give away a part."""
        keys = self._living()
        among = self._among(members)
        self._stop_protecting()
        if self._answer is not None and self._answer[0] != among:
            raise InvalidTransition("This member has revealed what opens the sum of other members.")
        if self._answer is None or not self._answer[1]:
            # Also if nothing comes of it: what the others reveal may open the sum of these members, and of no others.
            self._answer = among, b""
            self._answer = among, keys.reveal(among, shares)
        return self._answer[1]

    def unlock(self, members: Sequence[int], reveals: Mapping[int, bytes], sample: Words) -> tuple[int, ...]:
        """As ``Protection.unlock``; ``sample`` is whole blocks, with a threshold two of them or more.

        Where all members open together, a false reveal is noticed here and nobody can say whose it was: any one
        of them may be what does not fit the others. Their commitments tell.
        """
        keys = self._living()
        among = self._among(members)
        if self._answer is None or self._answer[0] != among:
            raise InvalidTransition("A member opens the sum of the members that it revealed for.")
        self._first(0, sample)
        if len(sample) < keys.sample_blocks * self._parameters.block:
            raise InvalidInput(
                "The sample of a protected sum is at least {count} of its blocks.", count=keys.sample_blocks
            )
        if not hmac.compare_digest(reveals.get(keys.own, b""), self._answer[1]):
            raise VerificationFailed("What is given as this member's own reveal is another.")
        bound = self._parameters.noise_bound(len(among))
        room = np.empty(len(sample), np.uint32)

        def opens(secret: Words) -> bool:
            return self._backend.open(self._parameters, self._public, secret, 0, sample, bound, room)

        secret, false = keys.combine(reveals, opens)
        self._opening = secret, bound
        return false

    def open(self, start: int, total: Words) -> Words:
        """As ``Protection.open``. Raises VerificationFailed where noise or words are out of range."""
        self._living()
        if self._opening is None:
            raise InvalidTransition("A sum opens only after its members have revealed.")
        secret, bound = self._opening
        first = self._first(start, total)
        out = np.empty(len(total), np.uint32)
        if not self._backend.open(self._parameters, self._public, secret, first, total, bound, out):
            raise VerificationFailed(
                "A protected sum does not open: it was altered, or somebody revealed falsely."
            )
        return out

    def destroy(self) -> None:
        """As ``Protection.destroy``. Arrays are wiped; of bytes Python can only forget the references."""
        self._stop_protecting()
        if self._opening is not None:
            self._opening[0][:] = 0
        self._keys = self._answer = self._opening = None

    def __reduce__(self) -> NoReturn:
        # A copy would protect the same positions a second time.
        raise TypeError("a protection cannot be copied")

    def _living(self) -> Keys:
        if self._keys is None:
            raise InvalidTransition("The secrets of this sum have been destroyed.")
        return self._keys

    def _protecting(self) -> Words:
        self._living()
        if self._secret is None:
            raise InvalidTransition("What opens the sum has been revealed; nothing more can be protected.")
        return self._secret

    def _stop_protecting(self) -> None:
        if self._secret is not None:
            self._secret[:] = 0
        self._secret, self._noise = None, b""
        for mask in self._prepared.values():
            mask[:] = 0
        self._prepared = {}

    def _first(self, start: int, words: Words) -> int:
        check_words(self._parameters, words)
        number, rest = divmod(start, self._parameters.block)
        if rest or number < 0:
            raise InvalidInput(
                "A piece of a protected vector begins at a multiple of {size}.", size=self._parameters.block
            )
        return number

    def _among(self, members: Sequence[int]) -> frozenset[int]:
        among = frozenset(members)
        if len(among) != len(members) or not among <= set(range(self._members)) or not among:
            raise InvalidInput("The members of a sum stand at positions 0 to {last}.", last=self._members - 1)
        return among
