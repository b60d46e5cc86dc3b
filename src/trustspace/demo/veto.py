"""A hospital's veto: what three of four approvals open, and what the fourth one adds."""

from __future__ import annotations

from dataclasses import replace

from trustspace.client import releases
from trustspace.crypto.seal import open_bytes
from trustspace.crypto.shares import combine, decode_share
from trustspace.demo.attempts import Cheat
from trustspace.demo.cast import Play
from trustspace.demo.thieves import artifact_of, output_of
from trustspace.domain.binding import artifact_context
from trustspace.domain.bodies import Release
from trustspace.errors import InvalidTransition, NotFound, PolicyRefused, VerificationFailed


class Veto:
    """The cheat of leaving out one hospital's approval; its control needs that approval, so it has two halves."""

    def __init__(self, play: Play) -> None:
        self.cheat = Cheat("approval-left-out")
        self._play = play

    def without_the_last(self) -> None:
        """Everybody but the last hospital has approved: operator and buyer do without it, together."""
        play, cheat, operator = self._play, self.cheat, self._play.operator
        given = len(play.hospitals) - 1
        details: dict[str, str | int] = {"given": given, "missing": play.hospitals[-1].name}
        output = output_of(play)
        names = tuple(a.name for a in output.body.artifacts if a.role != "log")
        body = Release(
            job=play.job, output=output.statement, decisions=tuple(output.decisions.values()), artifacts=names
        )
        note = operator.sign(body, operator.space.operator_fingerprint())
        cheat.attack(
            "veto.ledger", lambda: operator.link.submit(note.envelope.to_bytes()), PolicyRefused, **details
        )
        cheat.attack(
            "veto.client", lambda: releases.fetch(play.buyer, play.job), InvalidTransition, **details
        )
        cheat.attack("veto.shares", lambda: self._open(given), VerificationFailed, **details)

    def with_all(self) -> None:
        """The control: with the last approval the same shares and one more open the model."""
        everybody = len(self._play.hospitals)
        self.cheat.control("veto.control", lambda: self._open(everybody), given=everybody)

    def _open(self, hospitals: int) -> bytes:
        """Put the model's key together from the first hospitals' shares alone, and try it on the ciphertext.

        Raises:
            VerificationFailed: it is not the key.

        """
        play, buyer = self._play, self._play.buyer
        # The operator leaks what the buyer is not shown yet: every approval that there is.
        dossier = replace(buyer.session.job(play.job), view=play.operator.view())
        output = output_of(play)
        model = artifact_of(output)
        approved = {hospital.home.fingerprint for hospital in play.hospitals[:hospitals]}
        units = [unit for unit in model.units if unit.source_unit in approved]
        if len(units) != hospitals:
            raise NotFound("There is no output {name}.", name=model.name)
        # As the buyer's client does it, which however asks for all of them first.
        shares = [decode_share(releases._unit_share(buyer, dossier, output, model, unit)) for unit in units]
        sealed = play.operator.blob(model.blob).read_bytes()
        return open_bytes(
            combine(shares, len(shares)), artifact_context(play.job, output.body.run, model.name), sealed
        )
