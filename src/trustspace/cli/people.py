"""Names instead of fingerprints: those that this party pinned, and nobody else's word for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from trustspace.cli.i18n import _, compose
from trustspace.cli.words import fingerprint, short

if TYPE_CHECKING:
    from trustspace.client.acting import Acting
    from trustspace.domain.trust import TrustFile


class People:
    """Looks fingerprints up in a trust file."""

    def __init__(self, trust: TrustFile, own: str = "") -> None:
        self._names = {party.fingerprint: party.name for party in trust.parties}
        self._names.setdefault(trust.space.operator, trust.space.name)
        self._own = own

    @classmethod
    def of(cls, home: Acting) -> People:
        """As this party knows them."""
        return cls(home.trust(), home.fingerprint)

    def name(self, digits: str) -> str:
        """The pinned name; for anybody else, that nobody compared this fingerprint."""
        known = self._names.get(digits)
        if known is None:
            return _("not in your trust file ({digits} …)", digits=fingerprint(short(digits)))
        return compose("{name} (you)", name=known) if digits == self._own else known

    def names(self, several: Iterable[str]) -> str:
        """Several of them in a row."""
        return _(", ").join(self.name(digits) for digits in several)

    def plain(self, digits: str) -> str:
        """The pinned name, or "", for programs."""
        return self._names.get(digits, "")
