"""Names instead of fingerprints: those that this party pinned, and nobody else's word for them."""

from __future__ import annotations

from collections.abc import Iterable

from trustspace.client.acting import Acting
from trustspace.evidence.words import Language
from trustspace.web.words import words


class People:
    """Looks fingerprints up in the trust file of a home."""

    def __init__(self, home: Acting, language: Language) -> None:
        trust = home.trust()
        self._names = {party.fingerprint: party.name for party in trust.parties}
        self._names.setdefault(trust.space.operator, trust.space.name)
        self._own, self._language = home.fingerprint, language

    def name(self, digits: str) -> str:
        """The pinned name; for anybody else, that nobody compared this fingerprint."""
        known = self._names.get(digits)
        if known is None:
            return words("unpinned", self._language, digits=digits[:12])
        return words("you", self._language, name=known) if digits == self._own else known

    def plain(self, digits: str) -> str:
        """The same, without saying which of them is one's own."""
        return self._names.get(digits) or self.name(digits)

    def names(self, several: Iterable[str]) -> str:
        """Several of them in a row."""
        return ("，" if self._language == "zh" else ", ").join(self.name(digits) for digits in several)
