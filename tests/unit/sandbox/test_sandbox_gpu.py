"""GPUs where there is none: what a sandbox is shown, whose turn it is, when memory counts as overwritten."""

import dataclasses
import errno
import threading

import pytest
from test_sandbox_seccomp import ALLOW, NUMBERS, refused, run

from trustspace.errors import CannotIsolate, InvalidInput, Unavailable
from trustspace.sandbox import bubblewrap, clearing, gpu, seccomp
from trustspace.sandbox.config import Limits, SandboxConfig

# As Debian's packages and a container toolkit's mount leave it in the linker's cache.
LISTING = """\
    libnvidia-ml.so.1 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1
    libcuda.so.1 (libc6,x86-64) => /usr/local/nvidia/lib64/libcuda.so.1
    libcuda.so (libc6,x86-64) => /usr/local/nvidia/lib64/libcuda.so
    libcudart.so.12 (libc6,x86-64) => /opt/other/libcudart.so.12
    libc.so.6 (libc6,x86-64) => /lib/x86_64-linux-gnu/libc.so.6
"""
PLAN_FREE = {"seccomp": 3, "status": 4, "copies": {}}


# -- what is shown


def test_only_what_lies_elsewhere_is_shown_of_the_driver():
    shown = ["/usr/lib/x86_64-linux-gnu"]
    assert gpu.driver_folders(LISTING, shown) == ("/usr/local/nvidia/lib64",)
    assert gpu.driver_folders(LISTING, [*shown, "/usr/local/nvidia"]) == ()
    assert gpu.driver_folders("", shown) == ()


def test_a_gpu_is_shown_as_devices_and_the_rest_read_only():
    options = gpu.mounts(2, ["/usr/local/nvidia/lib64"])
    bound = [(options[i + 1], options[i + 2]) for i, name in enumerate(options) if name == "--dev-bind"]
    assert [inside for _, inside in bound] == ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia2"]
    assert all(outside == inside for outside, inside in bound)
    assert "--bind" not in options
    assert ["--ro-bind", "/usr/local/nvidia/lib64", "/usr/local/nvidia/lib64"] == options[
        options.index("--ro-bind") : options.index("--ro-bind") + 3
    ]


def test_orders_name_each_gpu_and_where_its_libraries_are():
    orders = gpu.orders([0, 3], ["/lib/one", "/lib/two"], "filter")
    assert set(orders["each"]) == {"0", "3"}
    assert "/dev/nvidia3" not in orders["each"]["0"]["devices"]
    assert orders["environment"]["LD_LIBRARY_PATH"] == "/lib/one:/lib/two"
    assert "LD_LIBRARY_PATH" not in gpu.orders([0], [], "filter")["environment"]


def test_a_sandbox_without_a_gpu_is_as_it_was(tmp_path):
    from trustspace.sandbox.runtime import Runtime

    runtime = Runtime(tmp_path, "python/bin/python3", "3.11", "0", shared_library=False)
    made = bubblewrap.Plan(runtime, tmp_path, None, 1, 1, 1)
    plain = bubblewrap.options(made, **PLAN_FREE)
    assert not [option for option in plain if "nvidia" in option or option == "--proc"]
    with_gpu = bubblewrap.options(made, **PLAN_FREE, more=gpu.mounts(0, []), variables=gpu.ENVIRONMENT)
    assert "/dev/nvidia0" in with_gpu
    # Before /dev and / are made read-only.
    assert with_gpu.index("/dev/nvidia0") < with_gpu.index("/dev", with_gpu.index("/dev/nvidia0") + 1)
    assert set(plain) < set(with_gpu)


def test_a_gpu_that_is_not_there_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "devices", lambda number: (str(tmp_path / "there"), str(tmp_path / f"{number}")))
    (tmp_path / "there").touch()
    with pytest.raises(CannotIsolate, match="GPU 1 is not there") as raised:
        gpu.check([1])
    assert str(tmp_path / "there") not in str(raised.value)
    (tmp_path / "1").touch()
    gpu.check([1])


# -- the filter


@pytest.mark.parametrize("counted", [True, False])
def test_the_driver_s_ioctls_are_allowed_to_those_alone_that_have_a_gpu(counted):
    """NV_ESC_CARD_INFO, NV_ESC_RM_ALLOC; UVM_INITIALIZE, UVM_DEINITIALIZE, UVM_MAP_EXTERNAL_ALLOCATION."""
    plain = seccomp.compile_filter(memory_counted=counted)
    wide = seccomp.compile_filter(memory_counted=counted, gpu=True)
    for request in (0xC90046C8, 0xC020462B, 0x30000001, 0x30000002, 33):
        assert run(plain, NUMBERS["ioctl"], (5, request)) == refused(errno.EPERM)
        assert run(wide, NUMBERS["ioctl"], (5, request)) == ALLOW
    # TIOCSTI, TIOCLINUX, TUNSETIFF, KDSETMODE, BTRFS_IOC_SNAP_CREATE.
    for request in (0x5412, 0x541C, 0x400454CA, 0x4B3A, 0x50009401):
        assert run(wide, NUMBERS["ioctl"], (5, request)) == refused(errno.EPERM)


def test_nothing_else_is_allowed_for_a_gpu():
    plain, wide = (seccomp.compile_filter(memory_counted=True, gpu=gpu) for gpu in (False, True))
    for name, number in NUMBERS.items():
        if name != "ioctl":
            assert run(plain, number) == run(wide, number), name


# -- settings


def test_a_gpu_takes_namespaces():
    SandboxConfig(gpus=(0, 1))
    for backend in ("landlock", "gvisor"):
        SandboxConfig(backend=backend)
        with pytest.raises(InvalidInput, match=backend):
            SandboxConfig(backend=backend, gpus=(0,))


@pytest.mark.parametrize("gpus", [(0, 0), (-1,), (64,)])
def test_a_list_of_gpus_that_cannot_be(gpus):
    with pytest.raises(InvalidInput, match="gpus"):
        SandboxConfig(gpus=gpus)


def test_a_task_has_no_gpu_unless_it_says_so():
    assert Limits().gpu is False
    assert gpu.CLEARING_LIMITS.gpu is True


# -- turns


def taken(leases):
    """The result of taking a GPU in a thread, and the thread."""
    result = []

    def take():
        try:
            result.append(leases.take())
        except Unavailable as error:
            result.append(error)

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    return result, thread


def test_nobody_gets_a_gpu_before_it_has_been_cleared():
    leases = gpu.Leases([0])
    result, thread = taken(leases)
    thread.join(0.2)
    assert result == []
    leases.give_back(0)
    thread.join(30)
    assert result == [0]


def test_one_job_has_a_gpu_at_a_time():
    leases = gpu.Leases([0, 1])
    for number in (0, 1):
        leases.give_back(number)
    assert {leases.take(), leases.take()} == {0, 1}
    third, thread = taken(leases)
    thread.join(0.2)
    assert third == []
    leases.give_back(1)
    thread.join(30)
    assert third == [1]


def test_one_that_cannot_be_cleared_is_never_given_again():
    leases = gpu.Leases([0, 1])
    leases.give_back(0)
    assert leases.take() == 0
    waiting, thread = taken(leases)
    leases.withdraw(0)
    leases.give_back(0)
    thread.join(0.2)
    assert waiting == [], "there is another one still, and it may come back"
    leases.withdraw(1)
    thread.join(30)
    assert isinstance(waiting[0], Unavailable)
    with pytest.raises(Unavailable, match="no GPU"):
        leases.take()


def test_without_any_gpu_nobody_waits():
    with pytest.raises(Unavailable, match="no GPU"):
        gpu.Leases().take()


def test_who_waits_hears_of_the_end():
    leases = gpu.Leases([0])
    waiting, thread = taken(leases)
    leases.close()
    thread.join(30)
    assert isinstance(waiting[0], Unavailable)


# -- clearing


class OutOfMemoryError(RuntimeError):
    pass


class Card:
    """Stands in for torch.cuda: so many bytes are free, in one piece, and it remembers what was overwritten."""

    uint8 = "uint8"
    OutOfMemoryError = OutOfMemoryError

    def __init__(self, free, *, broken_below=0):
        self.free = free
        self.broken_below = broken_below
        self.synchronized = False
        self.cuda = self

    def zeros(self, size, dtype, device):
        assert (dtype, device) == ("uint8", "cuda")
        if size > self.free or size < self.broken_below:
            raise OutOfMemoryError
        self.free -= size
        return object()

    def synchronize(self):
        self.synchronized = True


GIB, MIB = 1 << 30, 1 << 20


def test_all_that_is_free_is_overwritten():
    card = Card(10 * GIB + 130 * MIB + MIB)
    assert clearing.clear(card, card.free, card.free + 300 * MIB) == 10 * GIB + 130 * MIB
    assert card.free == MIB
    assert card.synchronized, "kernels run later than they are asked for"


def test_memory_that_somebody_else_has_is_not_cleared():
    card = Card(8 * GIB)
    with pytest.raises(RuntimeError, match="somebody else"):
        clearing.clear(card, 8 * GIB, 10 * GIB)


def test_memory_that_cannot_be_reached_is_not_cleared():
    with pytest.raises(RuntimeError, match="could be overwritten"):
        clearing.clear(Card(GIB + 700 * MIB, broken_below=GIB), GIB + 700 * MIB, GIB + 700 * MIB)


def test_a_copy_of_limits_without_a_gpu():
    assert dataclasses.replace(gpu.CLEARING_LIMITS, gpu=False).gpu is False
