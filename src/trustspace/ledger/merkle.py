"""The append-only Merkle tree of RFC 6962 §2.1 (SHA-256), its proofs, and their verification.

A hash is 32 bytes. A leaf is SHA-256(0x00 || entry), an inner node SHA-256(0x01 || left || right); the
two prefixes keep an entry from being read as a node. Proofs are tuples of hashes, from the leaf's side
up. Sizes are bounded by :data:`MAX_SIZE`, hence a proof by 63 hashes, the bound of C2SP tlog-witness.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from trustspace.errors import InvalidInput, VerificationFailed

HASH_BYTES = 32
MAX_SIZE = 1 << 62
MAX_PROOF_HASHES = 63
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf: SHA-256(0x00 || entry)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node over its two children: SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


class MerkleTree:
    """A growing tree in memory: 64 bytes per leaf, append amortised O(1), proofs and roots O(log n).

    ``_levels[k]`` holds, one after the other, the hashes of all complete subtrees of 2**k leaves. These
    never change once written, so every earlier size can still be proven. One writer at a time: the
    caller serialises appends; readers see a consistent tree for any size up to one they have seen.
    """

    def __init__(self) -> None:
        self._levels: list[bytearray] = [bytearray()]
        self._size = 0

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    def append(self, entry: bytes) -> int:
        """Append an entry and return its index."""
        return self.append_leaf_hash(sha256(b"\x00" + entry).digest())

    def append_leaf_hash(self, leaf: bytes) -> int:
        """Append a leaf by its hash, as :func:`leaf_hash` gives it, and return its index.

        Raises InvalidInput unless ``leaf`` is 32 bytes.
        """
        if len(leaf) != HASH_BYTES:
            raise InvalidInput("A leaf hash has 32 bytes.")
        levels = self._levels
        index = self._size
        levels[0] += leaf
        # A trailing one in the index means that this leaf closes a subtree at that level.
        carry, level, right = index, 0, leaf
        while carry & 1:
            left = bytes(levels[level][-2 * HASH_BYTES : -HASH_BYTES])
            right = sha256(b"\x01" + left + right).digest()
            level += 1
            if level == len(levels):
                levels.append(bytearray())
            levels[level] += right
            carry >>= 1
        self._size = index + 1
        return index

    def leaf(self, index: int) -> bytes:
        """Return the leaf hash at ``index``. Raises InvalidInput when there is none."""
        if not 0 <= index < self._size:
            raise InvalidInput("The tree of {size} leaves has no leaf {index}.", size=self._size, index=index)
        return self._node(0, index)

    def root(self, size: int | None = None) -> bytes:
        """Return the root over the first ``size`` leaves (all of them by default), RFC 6962 §2.1.

        Raises InvalidInput when the tree is smaller than that.
        """
        size = self._check_size(self._size if size is None else size)
        return EMPTY_ROOT if size == 0 else self._edge(size.bit_length(), size)

    def inclusion_proof(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """Prove that the leaf at ``index`` is in the tree of ``size`` leaves (RFC 6962 §2.1.1).

        Raises InvalidInput unless 0 <= index < size <= the tree's size.
        """
        size = self._check_size(self._size if size is None else size)
        if not 0 <= index < size:
            raise InvalidInput("The tree of {size} leaves has no leaf {index}.", size=size, index=index)
        return tuple(self._path(0, index, size))

    def consistency_proof(self, old: int, new: int | None = None) -> tuple[bytes, ...]:
        """Prove that the tree of ``new`` leaves begins with the tree of ``old`` (RFC 6962 §2.1.2).

        Empty when ``old`` is 0 or equals ``new``. Raises InvalidInput unless
        0 <= old <= new <= the tree's size.
        """
        new = self._check_size(self._size if new is None else new)
        if not 0 <= old <= new:
            raise InvalidInput("A tree of {new} leaves has no earlier size {old}.", new=new, old=old)
        if old in (0, new):
            return ()
        # The last complete subtree of the old tree; its hash is the old root when old is a power of two.
        level = (old & -old).bit_length() - 1
        index = (old >> level) - 1
        seed = [self._node(level, index)] if index else []
        return tuple(seed + self._path(level, index, new))

    def _check_size(self, size: int) -> int:
        if not 0 <= size <= self._size:
            raise InvalidInput("The tree has {held} leaves, not {size}.", held=self._size, size=size)
        return size

    def _node(self, level: int, index: int) -> bytes:
        return bytes(self._levels[level][index * HASH_BYTES : (index + 1) * HASH_BYTES])

    def _edge(self, level: int, size: int) -> bytes:
        """Hash what is left of ``size`` leaves at the right, below ``level``: its complete subtrees, folded.

        Only called where there is something left: ``size`` has a bit set below ``level``.
        """
        folded = b""
        for low in range(level):
            if size >> low & 1:
                node = self._node(low, (size >> low) - 1)
                folded = node_hash(node, folded) if folded else node
        return folded

    def _path(self, level: int, index: int, size: int) -> list[bytes]:
        """Siblings from the node (level, index) up to the root of the first ``size`` leaves."""
        path: list[bytes] = []
        last = (size - 1) >> level
        while last:
            sibling = index ^ 1
            if (sibling + 1) << level <= size:
                path.append(self._node(level, sibling))
            elif sibling == last:
                path.append(self._edge(level, size))
            # Otherwise the node has no sibling, and is its own parent.
            level += 1
            index >>= 1
            last >>= 1
        return path


def _check_hashes(hashes: Sequence[bytes], what: str) -> None:
    if len(hashes) > MAX_PROOF_HASHES:
        raise VerificationFailed(
            "The {what} has more than {maximum} hashes.", what=what, maximum=MAX_PROOF_HASHES
        )
    if any(len(h) != HASH_BYTES for h in hashes):
        raise VerificationFailed("A hash of the {what} is not 32 bytes long.", what=what)


def verify_inclusion(
    entry_leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that the leaf is at ``index`` in the tree of ``size`` leaves with this root (RFC 9162 §2.1.3.2).

    Raises VerificationFailed. ``entry_leaf_hash`` must be :func:`leaf_hash` of the entry, computed by
    whoever relies on the answer.
    """
    what = "inclusion proof"
    if not 0 <= index < size <= MAX_SIZE:
        raise VerificationFailed("The {what} is for a leaf outside the tree.", what=what)
    _check_hashes(proof, what)
    _check_hashes((entry_leaf_hash, root), what)
    fn, sn, computed = index, size - 1, entry_leaf_hash
    for sibling in proof:
        if sn == 0:
            raise VerificationFailed("The {what} is too long.", what=what)
        if fn & 1 or fn == sn:
            computed = node_hash(sibling, computed)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            computed = node_hash(computed, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise VerificationFailed("The {what} is too short.", what=what)
    if computed != root:
        raise VerificationFailed("The {what} does not lead to the root.", what=what)


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the new tree begins with the old one (RFC 9162 §2.1.4.2).

    Raises VerificationFailed. From size 0 and between equal sizes the proof must be empty, as C2SP
    tlog-witness asks; the root of an empty tree must be SHA-256 of nothing.
    """
    what = "consistency proof"
    if not 0 <= old_size <= new_size <= MAX_SIZE:
        raise VerificationFailed("The {what} runs from a larger tree to a smaller one.", what=what)
    _check_hashes(proof, what)
    _check_hashes((old_root, new_root), what)
    if old_size == 0 and old_root != EMPTY_ROOT:
        raise VerificationFailed("The {what} starts from an empty tree with a wrong root.", what=what)
    if old_size in (0, new_size):
        if proof:
            raise VerificationFailed("The {what} is too long.", what=what)
        if old_size == new_size and old_root != new_root:
            raise VerificationFailed("Two trees of one size have different roots.")
        return
    nodes = list(proof)
    if old_size & (old_size - 1) == 0:
        nodes.insert(0, old_root)
    if not nodes:
        raise VerificationFailed("The {what} is too short.", what=what)
    fn, sn = old_size - 1, new_size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old_computed = new_computed = nodes[0]
    for sibling in nodes[1:]:
        if sn == 0:
            raise VerificationFailed("The {what} is too long.", what=what)
        if fn & 1 or fn == sn:
            old_computed = node_hash(sibling, old_computed)
            new_computed = node_hash(sibling, new_computed)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            new_computed = node_hash(new_computed, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise VerificationFailed("The {what} is too short.", what=what)
    if old_computed != old_root:
        raise VerificationFailed("The {what} does not lead to the old root.", what=what)
    if new_computed != new_root:
        raise VerificationFailed("The {what} does not lead to the new root.", what=what)
