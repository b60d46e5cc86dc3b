"""Promise 3: no one sees one hospital's contribution.

Joint runs, protected updates and their sums come with a later version; until then a run is over one source unit's data.
What stands already, and is tested here, is the frame that they will rest on: the set of source units is fixed by
the job and never shrinks, an output that leaves one of them without its share is refused, none opens with fewer
than all of them, and nothing runs before as many take part as the job says.
"""

import pytest
from support.enclaves import JOB, make_enclave, publish, write_job
from support.units import Consortium
from support.world import World, trio

from trustspace.client import jobs
from trustspace.client.broker import Broker
from trustspace.crypto.seal import open_bytes
from trustspace.crypto.shares import combine, decode_share, encode_share, split
from trustspace.domain.binding import artifact_context
from trustspace.errors import InvalidInput, PolicyRefused, VerificationFailed


@pytest.fixture
def consortium():
    world = World()
    yield Consortium(world)
    world.close()


@pytest.fixture
def running(consortium):
    consortium.grant()
    consortium.offer()
    assert consortium.release_keys() == [1, 1, 1]
    return consortium


@pytest.mark.parametrize("left_out", [0, 1, 2])
def test_no_source_unit_is_left_without_its_share(running, left_out):
    honest = running.pack()
    first = honest.artifacts[0]
    fewer = tuple(u for n, u in enumerate(first.units) if n != left_out)
    forged = first.model_copy(update={"units": fewer, "unit_threshold": 2})
    with pytest.raises(PolicyRefused, match="without its share"):
        running.units[0].act(honest.model_copy(update={"artifacts": (forged, *honest.artifacts[1:])}))
    running.units[0].act(honest)
    assert running.world.state(running.job) == "in-review"


@pytest.mark.parametrize("threshold", [1, 2])
def test_none_opens_with_fewer_source_units_than_there_are(running, threshold):
    honest = running.pack()
    first = honest.artifacts[0].model_copy(update={"unit_threshold": threshold})
    with pytest.raises(PolicyRefused, match="fewer source units"):
        running.units[0].act(honest.model_copy(update={"artifacts": (first, *honest.artifacts[1:])}))


def test_the_threshold_of_units_is_in_the_key_itself(running):
    """Not a number that somebody reads: two units' shares are no key."""
    from support.cast import Cast

    from trustspace.enclave.packing import Content, pack_artifact

    cast = Cast().until("offer_all")
    run = cast.run(cast.units[0])
    everybody = tuple(u.fingerprint for u in cast.units)
    artifact, blob = pack_artifact(
        b"s" * 32, run, Content("sum.json", "application/json", "result", b"{}", everybody)
    )
    assert artifact.unit_threshold == 3
    shares = []
    for unit, held in zip(cast.units, artifact.units, strict=True):
        opened = []
        for number, share in enumerate(held.shares[:2], 1):
            from trustspace.domain.binding import share_binding

            info = share_binding(job=run.job, offer=run.offer, artifact="sum.json", source_unit=unit.fingerprint,
                                 reviewer=share.reviewer)  # fmt: skip
            opened.append(
                decode_share(unit.keys.open(f"review-open-{number}", bytes.fromhex(share.sealed), info)[32:])
            )
        shares.append(decode_share(combine(opened, 2)))
    context = artifact_context(run.job, run.offer, "sum.json")
    assert open_bytes(combine(shares, 3), context, blob.data)
    for pair in ((0, 1), (0, 2), (1, 2)):
        with pytest.raises(InvalidInput):
            combine([shares[n] for n in pair], 3)
        with pytest.raises(VerificationFailed):
            open_bytes(combine([shares[n] for n in pair], 2), context, blob.data)


def test_a_lone_share_says_nothing():
    """Every secret fits it equally well: for any other key there is a share that completes it."""
    secret, other = b"k" * 32, b"q" * 32
    one, two = split(secret, 2, 2)
    completing = bytes(a ^ b ^ c for a, b, c in zip(two.value, secret, other, strict=True))
    forged = decode_share(encode_share(type(two)(two.index, completing)))
    assert combine([one, two], 2) == secret
    assert combine([one, forged], 2) != secret


def test_it_waits_for_every_source_unit(consortium):
    """Two of three have granted, and even given keys of their own: nothing runs, no state says so."""
    for unit in consortium.units[:2]:
        jobs.grant(unit.home, consortium.job, threshold=2)
    assert [Broker(u.home).attend() for u in consortium.units] == [0, 0, 0]
    assert consortium.world.state(consortium.job) == "submitted"
    jobs.grant(consortium.units[2].home, consortium.job, threshold=2)
    consortium.offer()
    for unit in consortium.units[:2]:
        assert Broker(unit.home).attend() == 1
    with pytest.raises(Exception, match="granted"):
        consortium.units[0].act(consortium.pack())
    assert Broker(consortium.units[2].home).attend() == 1
    assert consortium.world.state(consortium.job) == "running"


def test_the_set_of_source_units_never_shrinks(running):
    """One withdraws its data after its key was opened: its consent is needed all the same."""
    from trustspace.domain.bodies import DatasetWithdrawn

    unit = running.units[2]
    unit.home.submit(DatasetWithdrawn(dataset=unit.dataset), "act")
    honest = running.pack()
    first = honest.artifacts[0]
    without = first.model_copy(update={"units": first.units[:2], "unit_threshold": 2})
    with pytest.raises(PolicyRefused, match="without its share"):
        running.units[0].act(honest.model_copy(update={"artifacts": (without, *honest.artifacts[1:])}))
    running.units[0].act(honest)
    from trustspace.client import review

    for one in running.units[:2]:
        for person in one.people[:2]:
            review.approve(
                one.home, review.open_case(one.home, running.job, person), comment="x", accept_red=True
            )
    assert running.world.state(running.job) == "in-review"


def test_a_minimum_that_cannot_be_met_is_refused():
    world = World()
    try:
        hospital, developer, _ = trio(world)
        enclave = make_enclave(world, hospital)
        publish(hospital, world)
        with pytest.raises(InvalidInput, match="minimum_participants"):
            jobs.submit(developer, write_job(world, JOB + "\n[terms]\nminimum_participants = 3\n"))
        assert jobs.submit(developer, write_job(world, JOB))
        enclave.stop()
    finally:
        world.close()
