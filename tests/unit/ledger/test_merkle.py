"""The tree against the published vectors, the RFC's own recursive definition, and mutated proofs."""

from functools import cache
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_parties import entry, tree_of, vectors

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.ledger import (
    EMPTY_ROOT,
    MerkleTree,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from trustspace.ledger.merkle import MAX_PROOF_HASHES, MAX_SIZE

PUBLISHED = vectors("ledger_merkle.json")
LIMIT = 70
ENTRIES = tuple(entry(i) for i in range(LIMIT))
TREE = tree_of(LIMIT)


def split(count: int) -> int:
    """The largest power of two smaller than count."""
    return 1 << (count - 1).bit_length() - 1


@cache
def mth(start: int, end: int) -> bytes:
    """RFC 6962 §2.1: MTH(D[start:end])."""
    if end == start:
        return sha256(b"").digest()
    if end - start == 1:
        return sha256(b"\x00" + ENTRIES[start]).digest()
    k = split(end - start)
    return sha256(b"\x01" + mth(start, start + k) + mth(start + k, end)).digest()


def path(m: int, start: int, end: int) -> list[bytes]:
    """RFC 6962 §2.1.1: PATH(m, D[start:end])."""
    if end - start == 1:
        return []
    k = split(end - start)
    if m < k:
        return [*path(m, start, start + k), mth(start + k, end)]
    return [*path(m - k, start + k, end), mth(start, start + k)]


def subproof(m: int, start: int, end: int, known: bool) -> list[bytes]:
    """RFC 6962 §2.1.2: SUBPROOF(m, D[start:end], known)."""
    if m == end - start:
        return [] if known else [mth(start, end)]
    k = split(end - start)
    if m <= k:
        return [*subproof(m, start, start + k, known), mth(start + k, end)]
    return [*subproof(m - k, start + k, end, False), mth(start, start + k)]


def published_tree() -> MerkleTree:
    tree = MerkleTree()
    for leaf in PUBLISHED["leaves"]:
        tree.append(bytes.fromhex(leaf))
    return tree


def test_published_roots():
    tree = published_tree()
    assert tree.root(0).hex() == PUBLISHED["empty_root"]
    assert [tree.root(n).hex() for n in range(1, 9)] == PUBLISHED["roots"]


@pytest.mark.parametrize("case", PUBLISHED["inclusion"])
def test_published_inclusion_proofs(case):
    index, size, proof = case["index"], case["size"], [bytes.fromhex(h) for h in case["proof"]]
    assert list(published_tree().inclusion_proof(index, size)) == proof
    leaf = leaf_hash(bytes.fromhex(PUBLISHED["leaves"][index]))
    verify_inclusion(leaf, index, size, proof, bytes.fromhex(PUBLISHED["roots"][size - 1]))


@pytest.mark.parametrize("case", PUBLISHED["consistency"])
def test_published_consistency_proofs(case):
    old, new, proof = case["old"], case["new"], [bytes.fromhex(h) for h in case["proof"]]
    assert list(published_tree().consistency_proof(old, new)) == proof
    roots = [bytes.fromhex(r) for r in PUBLISHED["roots"]]
    verify_consistency(old, roots[old - 1], new, roots[new - 1], proof)


def test_the_rfc_example_of_seven_leaves():
    # RFC 6962 §2.1.3 names the nodes of a tree of seven leaves and lists these proofs.
    a, b, c, d, e, f, j = (leaf_hash(entry(i)) for i in range(7))
    g, h, i = node_hash(a, b), node_hash(c, d), node_hash(e, f)
    k, l = node_hash(g, h), node_hash(i, j)
    assert TREE.root(7) == node_hash(k, l)
    assert TREE.inclusion_proof(0, 7) == (b, h, l)
    assert TREE.inclusion_proof(3, 7) == (c, g, l)
    assert TREE.inclusion_proof(4, 7) == (f, j, k)
    assert TREE.inclusion_proof(6, 7) == (i, k)
    assert TREE.consistency_proof(3, 7) == (c, d, g, l)
    assert TREE.consistency_proof(4, 7) == (l,)
    assert TREE.consistency_proof(6, 7) == (i, j, k)


def test_every_root_and_proof_up_to_seventy_leaves_is_the_recursive_definition():
    for size in range(LIMIT + 1):
        assert TREE.root(size) == mth(0, size)
        for index in range(size):
            proof = TREE.inclusion_proof(index, size)
            assert list(proof) == path(index, 0, size)
            verify_inclusion(leaf_hash(ENTRIES[index]), index, size, proof, mth(0, size))
        for old in range(size + 1):
            proof = TREE.consistency_proof(old, size)
            if old:
                assert list(proof) == subproof(old, 0, size, True)
            verify_consistency(old, mth(0, old), size, mth(0, size), proof)


def test_appending_changes_no_earlier_root_or_proof():
    tree = MerkleTree()
    assert tree.root() == EMPTY_ROOT
    for number in range(LIMIT):
        assert tree.append(entry(number)) == number
        assert tree.size == number + 1
        assert tree.root() == mth(0, number + 1)
        assert tree.leaf(number) == leaf_hash(entry(number))
    assert all(tree.root(n) == TREE.root(n) for n in range(LIMIT + 1))


def flipped(hashes):
    """Every sequence that differs from ``hashes`` in one byte, one hash left out, doubled, moved or added."""
    hashes = list(hashes)
    for i, value in enumerate(hashes):
        for j in range(32):
            yield [*hashes[:i], value[:j] + bytes([value[j] ^ 1]) + value[j + 1 :], *hashes[i + 1 :]]
        yield [*hashes[:i], *hashes[i + 1 :]]
        yield [*hashes[:i], value, *hashes[i:]]
        yield [*hashes[:i], value[:31], *hashes[i + 1 :]]
        yield [*hashes[:i], value + b"\x00", *hashes[i + 1 :]]
        if i:
            yield [*hashes[: i - 1], value, hashes[i - 1], *hashes[i + 1 :]]
    for extra in (b"", bytes(32), EMPTY_ROOT):
        yield [extra, *hashes]
        yield [*hashes, extra]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8, 11])
def test_a_mutated_inclusion_proof_is_refused(size):
    root = TREE.root(size)
    for index in range(size):
        leaf, proof = leaf_hash(ENTRIES[index]), TREE.inclusion_proof(index, size)
        verify_inclusion(leaf, index, size, proof, root)
        for mutated in flipped(proof):
            with pytest.raises(VerificationFailed):
                verify_inclusion(leaf, index, size, mutated, root)
        for other_leaf, other_root in [(m[0], m[1]) for m in flipped([leaf, root]) if len(m) == 2]:
            if (other_leaf, other_root) != (leaf, root):
                with pytest.raises(VerificationFailed):
                    verify_inclusion(other_leaf, index, size, proof, other_root)
        for other in range(-1, size + 2):
            if other != index:
                with pytest.raises(VerificationFailed):
                    verify_inclusion(leaf, other, size, proof, root)


@pytest.mark.parametrize(
    ("old", "new"), [(1, 2), (1, 8), (2, 5), (3, 7), (4, 7), (6, 7), (6, 8), (7, 11), (8, 11)]
)
def test_a_mutated_consistency_proof_is_refused(old, new):
    roots, proof = [TREE.root(old), TREE.root(new)], TREE.consistency_proof(old, new)
    verify_consistency(old, roots[0], new, roots[1], proof)
    for mutated in flipped(proof):
        with pytest.raises(VerificationFailed):
            verify_consistency(old, roots[0], new, roots[1], mutated)
    for mutated in flipped(roots):
        if len(mutated) == 2 and mutated != roots:
            with pytest.raises(VerificationFailed):
                verify_consistency(old, mutated[0], new, mutated[1], proof)
    with pytest.raises(VerificationFailed):
        verify_consistency(old, roots[0], new, roots[1], [])
    with pytest.raises(VerificationFailed):
        verify_consistency(new, roots[1], old, roots[0], proof)


def refused(verify, *args) -> bool:
    try:
        verify(*args)
    except VerificationFailed:
        return True
    return False


def test_a_proof_of_the_wrong_length_for_its_sizes_is_refused():
    # A root alone does not say how many leaves it covers (a checkpoint does), so that some proofs also hold
    # for a neighbouring size; never for one whose proofs have another length.
    for size in range(1, 18):
        for index in range(size):
            leaf, proof, root = leaf_hash(ENTRIES[index]), TREE.inclusion_proof(index, size), TREE.root(size)
            for other_size in range(1, 40):
                for other in range(other_size):
                    if len(path(other, 0, other_size)) != len(proof):
                        assert refused(verify_inclusion, leaf, other, other_size, proof, root)
        for old in range(1, size):
            proof, roots = TREE.consistency_proof(old, size), (TREE.root(old), TREE.root(size))
            for other_size in range(1, 40):
                for other in range(1, other_size):
                    if len(subproof(other, 0, other_size, True)) != len(proof):
                        assert refused(verify_consistency, other, roots[0], other_size, roots[1], proof)


def test_a_byte_cannot_move_from_one_hash_to_its_neighbour():
    left, right = TREE.leaf(0), TREE.leaf(1)
    # The node's preimage would be the same bytes.
    assert node_hash(left + right[:1], right[1:]) == TREE.root(2)
    with pytest.raises(VerificationFailed, match="not 32 bytes"):
        verify_inclusion(left + right[:1], 0, 2, [right[1:]], TREE.root(2))
    with pytest.raises(VerificationFailed, match="not 32 bytes"):
        verify_consistency(1, left + right[:1], 2, TREE.root(2), [right[1:]])


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_no_proof_leads_from_a_rewritten_log_to_the_real_one(data):
    size = data.draw(st.integers(2, LIMIT))
    old = data.draw(st.integers(1, size - 1))
    victim = data.draw(st.integers(0, old - 1))
    rewritten = MerkleTree()
    for index in range(size):
        rewritten.append(b"rewritten" if index == victim else ENTRIES[index])
    # Any proof that the dishonest log could assemble from the nodes of either tree, in either order.
    proofs = [TREE.consistency_proof(old, size), rewritten.consistency_proof(old, size)]
    proofs.append([data.draw(st.sampled_from([x, y])) for x, y in zip(*proofs, strict=True)])
    for proof in proofs:
        with pytest.raises(VerificationFailed):
            verify_consistency(old, TREE.root(old), size, rewritten.root(), proof)
    verify_consistency(old, rewritten.root(old), size, rewritten.root(), proofs[1])


@pytest.mark.parametrize(
    ("old", "old_root", "new", "new_root", "proof"),
    [
        (0, EMPTY_ROOT, 0, bytes(32), ()),
        (0, bytes(32), 0, bytes(32), ()),
        (0, bytes(32), 1, mth(0, 1), ()),
        (0, EMPTY_ROOT, 1, mth(0, 1), (EMPTY_ROOT,)),
        (0, EMPTY_ROOT, 0, EMPTY_ROOT, (EMPTY_ROOT,)),
        (1, mth(0, 1), 1, mth(0, 1), (EMPTY_ROOT,)),
        (1, mth(0, 1), 1, mth(0, 2), ()),
        (1, mth(0, 1), 0, EMPTY_ROOT, ()),
        (-1, EMPTY_ROOT, 0, EMPTY_ROOT, ()),
    ],
)
def test_degenerate_consistency_is_refused(old, old_root, new, new_root, proof):
    with pytest.raises(VerificationFailed):
        verify_consistency(old, old_root, new, new_root, proof)


def test_a_long_proof_is_refused_before_anything_is_hashed(monkeypatch):
    def no_hashing(*_):
        raise AssertionError("hashed")

    monkeypatch.setattr("trustspace.ledger.merkle.node_hash", no_hashing)
    long = [bytes(32)] * (MAX_PROOF_HASHES + 1)
    with pytest.raises(VerificationFailed, match="more than 63"):
        verify_inclusion(bytes(32), 0, MAX_SIZE, long, bytes(32))
    with pytest.raises(VerificationFailed, match="more than 63"):
        verify_consistency(1, bytes(32), MAX_SIZE, bytes(32), long)


class UniformTree(MerkleTree):
    """A tree of any size whose leaves are all alike, so that it needs one hash per level; counts reads."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self.reads = 0
        self.hashes = [leaf_hash(b"")]
        for _ in range(size.bit_length()):
            self.hashes.append(node_hash(self.hashes[-1], self.hashes[-1]))

    def _node(self, level: int, index: int) -> bytes:
        assert (index + 1) << level <= self._size
        self.reads += 1
        return self.hashes[level]


@given(st.integers(1, MAX_SIZE), st.data())
@settings(max_examples=200, deadline=None)
def test_proofs_at_every_scale_verify_and_cost_a_logarithm(size, data):
    tree = UniformTree(size)
    index = data.draw(st.integers(0, size - 1))
    proof = tree.inclusion_proof(index)
    assert tree.reads <= 2 * size.bit_length()
    verify_inclusion(leaf_hash(b""), index, size, proof, tree.root())
    old = data.draw(st.integers(0, size))
    tree.reads = 0
    proof = tree.consistency_proof(old)
    assert tree.reads <= 2 * size.bit_length()
    verify_consistency(old, tree.root(old), size, tree.root(), proof)


def test_sizes_beyond_the_bound_are_refused():
    size = MAX_SIZE + 1
    tree = UniformTree(size)
    for index in (0, MAX_SIZE):
        with pytest.raises(VerificationFailed, match="outside the tree"):
            verify_inclusion(leaf_hash(b""), index, size, tree.inclusion_proof(index), tree.root())
    with pytest.raises(VerificationFailed):
        verify_consistency(MAX_SIZE, tree.root(MAX_SIZE), size, tree.root(), tree.consistency_proof(MAX_SIZE))


def test_the_longest_proofs_fit_the_bound():
    tree = UniformTree(MAX_SIZE)
    assert len(tree.inclusion_proof(0)) == 62
    proof = tree.consistency_proof(MAX_SIZE // 2 - 1)
    assert len(proof) == MAX_PROOF_HASHES
    verify_consistency(MAX_SIZE // 2 - 1, tree.root(MAX_SIZE // 2 - 1), MAX_SIZE, tree.root(), proof)


def test_an_inner_node_does_not_pass_for_an_entry():
    def unprefixed(data: bytes) -> bytes:
        return sha256(data).digest()

    # Without the prefixes the attack works: the two children of the root, joined, are "an entry".
    left, right = unprefixed(b"a"), unprefixed(b"b")
    root = unprefixed(left + right)
    forged = left + right
    assert unprefixed(forged) == root
    # With them it does not: the same bytes as an entry have another hash than as a node.
    tree = MerkleTree()
    tree.append(b"a")
    tree.append(b"b")
    with pytest.raises(VerificationFailed):
        verify_inclusion(leaf_hash(tree.leaf(0) + tree.leaf(1)), 0, 1, (), tree.root())


def test_hashes_are_appended_as_they_are():
    tree = MerkleTree()
    for number in range(9):
        assert tree.append_leaf_hash(leaf_hash(entry(number))) == number
    assert tree.root() == TREE.root(9)


def test_what_the_tree_does_not_hold_is_refused():
    tree = tree_of(5)
    for call in (
        lambda: tree.root(6),
        lambda: tree.root(-1),
        lambda: tree.leaf(5),
        lambda: tree.leaf(-1),
        lambda: tree.inclusion_proof(5),
        lambda: tree.inclusion_proof(3, 3),
        lambda: tree.inclusion_proof(-1),
        lambda: tree.inclusion_proof(0, 6),
        lambda: tree.inclusion_proof(0, 0),
        lambda: tree.consistency_proof(4, 3),
        lambda: tree.consistency_proof(-1, 3),
        lambda: tree.consistency_proof(3, 6),
        lambda: tree.append_leaf_hash(bytes(31)),
    ):
        with pytest.raises(InvalidInput):
            call()
    assert tree.size == 5
    assert tree.root() == TREE.root(5)
