"""A space that lies: it holds the ledger's key and shows whom it likes whatever it likes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.cast import Cast
from trustspace.domain.statements import Statement, parse
from trustspace.ledger.checkpoint import Checkpoint, sign_checkpoint
from trustspace.ledger.merkle import MerkleTree
from trustspace.transport.links import Entry, Proof, Receipt, Subject


class ShownSpace:
    """Stands where a SpaceLink stands. ``shown`` is the ledger as this caller sees it; change it to lie.

    ``selects`` says which of its statements are shown as being about a subject: all, unless told otherwise.
    """

    def __init__(self, cast: Cast, shown: list[Statement] | None = None) -> None:
        self.cast = cast
        self.shown = list(cast.statements if shown is None else shown)
        self.selects: Callable[[list[tuple[int, Statement]]], list[tuple[int, Statement]]] = lambda all_: all_
        self.cosigned_note = ""
        self.cosigned_shown: list[Statement] = []
        self.asked = 0

    def tree(self, shown: list[Statement] | None = None) -> MerkleTree:
        return self.cast.tree(self.shown if shown is None else shown)

    def note(self, tree: MerkleTree) -> str:
        keys = self.cast.ledger
        origin = self.cast.trust().space.origin
        checkpoint = Checkpoint(origin, tree.size, tree.root())
        return sign_checkpoint(checkpoint, origin, keys.public("ledger"), lambda m: keys.sign("ledger", m))

    @staticmethod
    def _consistency(tree: MerkleTree, known: int) -> tuple[bytes, ...]:
        # A liar shows the best proof it can make.
        return tuple(tree.consistency_proof(known)) if 0 < known <= tree.size else ()

    def checkpoint(self, known_size: int) -> tuple[str, tuple[bytes, ...]]:
        self.asked += 1
        tree = self.tree()
        return self.note(tree), self._consistency(tree, known_size)

    def prove(self, what: Subject, known_size: int = 0, *, cosigned_by: int = 0) -> Proof:
        shown = self.cosigned_shown if cosigned_by else self.shown
        tree = self.tree(shown)
        entries = tuple(
            Entry(index, s.envelope.to_bytes(), tuple(tree.inclusion_proof(index)))
            for index, s in self.selects(list(enumerate(shown)))
        )
        note = self.cosigned_note if cosigned_by else self.note(tree)
        return Proof(entries, note, self._consistency(tree, known_size))

    def submit(self, envelope: bytes, known_size: int = 0) -> Receipt:
        self.shown.append(parse(envelope))
        tree = self.tree()
        index = tree.size - 1
        return Receipt(
            index, self.note(tree), tuple(tree.inclusion_proof(index)), self._consistency(tree, known_size)
        )

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the session asked for {name}")
