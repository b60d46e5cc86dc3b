"""The doctor's judgement on recorded facts: messages of real bubblewraps, hosts that are not at hand."""

import dataclasses

import pytest

from trustspace.domain.tiers import TIER_FULL, TIER_WITHOUT_LANDLOCK
from trustspace.sandbox.doctor import HostFacts, assess

DEBIAN_12 = HostFacts(
    root=True, kernel="6.1.0-28-amd64", distribution="debian", distribution_version="12", container="",
    bwrap_version="0.8.0", libseccomp=True, user_problem="", runtime_problem="", landlock_abi=2,
    max_user_namespaces=63000, unprivileged_userns_clone=1, apparmor_restricts_userns=None, swap=False,
    core_pattern="core", trial_error=None,
)  # fmt: skip
NO_PERMISSION = (
    "bwrap: No permissions to create new namespace, likely because the kernel does not allow non-privileged user "
    "namespaces. See <https://deb.li/bubblewrap> or <file:///usr/share/doc/bubblewrap/README.Debian.gz>."
)
UBUNTU_24_04 = dataclasses.replace(
    DEBIAN_12, distribution="ubuntu", distribution_version="24.04", kernel="6.8.0-45-generic", landlock_abi=4,
    bwrap_version="0.9.0", apparmor_restricts_userns=1, trial_error="bwrap: setting up uid map: Permission denied",
)  # fmt: skip
HARDENED_RHEL_10 = dataclasses.replace(
    DEBIAN_12, distribution="rhel", distribution_version="10.0", kernel="6.12.0-55.el10", landlock_abi=6,
    bwrap_version="0.10.0", unprivileged_userns_clone=None, max_user_namespaces=0,
    trial_error="bwrap: Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces exceeded",
)  # fmt: skip
OLD_DEBIAN = dataclasses.replace(
    DEBIAN_12, distribution_version="11", kernel="5.10.0-33-amd64", unprivileged_userns_clone=0, landlock_abi=0,
    trial_error=NO_PERMISSION,
)  # fmt: skip
DOCKER = dataclasses.replace(DEBIAN_12, root=False, container="docker", trial_error=NO_PERMISSION)
KUBERNETES = dataclasses.replace(DOCKER, container="kubernetes")


def names(facts):
    return {finding.name for finding in assess(facts).findings}


def test_a_host_with_everything():
    report = assess(DEBIAN_12)
    assert report.tier == TIER_FULL
    assert report.findings == ()
    assert report.render("en") == f"sandbox tier: {TIER_FULL}"


def test_without_landlock_the_tier_says_so():
    report = assess(dataclasses.replace(DEBIAN_12, landlock_abi=0))
    assert report.tier == TIER_WITHOUT_LANDLOCK
    assert [(finding.name, finding.blocks) for finding in report.findings] == [("landlock", False)]


@pytest.mark.parametrize(
    ("facts", "name", "remedy"),
    [
        (UBUNTU_24_04, "apparmor", "bwrap-userns-restrict"),
        (HARDENED_RHEL_10, "userns-max", "user.max_user_namespaces"),
        (OLD_DEBIAN, "userns-clone", "kernel.unprivileged_userns_clone=1"),
        (DOCKER, "container", "seccomp"),
        (KUBERNETES, "kubernetes", "hostUsers: false"),
        (dataclasses.replace(DEBIAN_12, trial_error="bwrap: strange"), "trial", "bwrap --unshare-all"),
        (dataclasses.replace(DEBIAN_12, bwrap_version=""), "bubblewrap", "apt-get install bubblewrap"),
        (dataclasses.replace(DEBIAN_12, bwrap_version="0.6.3"), "bubblewrap-version", "Debian 12"),
        (dataclasses.replace(DEBIAN_12, libseccomp=False), "libseccomp", "libseccomp2"),
        (dataclasses.replace(DEBIAN_12, user_problem="No user. Run `make sandbox`."), "user", "make sandbox"),
        (
            dataclasses.replace(DEBIAN_12, runtime_problem="No runtime. Run `make sandbox`."),
            "runtime",
            "make sandbox",
        ),
    ],
)
def test_what_is_in_the_way_is_named_with_its_remedy_and_refuses(facts, name, remedy):
    report = assess(facts)
    assert report.tier is None
    assert [finding.name for finding in report.findings if finding.blocks] == [name]
    assert remedy in report.render("en")
    assert remedy in report.reasons("en")
    assert "refuse" in report.render("en")
    assert "拒绝" in report.render("zh")


def test_every_finding_speaks_both_languages():
    everything = [UBUNTU_24_04, HARDENED_RHEL_10, OLD_DEBIAN, DOCKER, KUBERNETES,
                  dataclasses.replace(DEBIAN_12, root=False, swap=True, landlock_abi=0, bwrap_version="",
                                      libseccomp=False, runtime_problem="x"),
                  dataclasses.replace(DEBIAN_12, bwrap_version="0.4.1", user_problem="x", trial_error="x")]  # fmt: skip
    for facts in everything:
        for finding in assess(facts).findings:
            assert set(finding.text) == set(finding.fix) == {"en", "zh"}
            assert finding.text["en"]
            assert any("一" <= letter <= "鿿" for letter in finding.text["zh"]), finding.name


def test_remarks_do_not_refuse():
    facts = dataclasses.replace(DEBIAN_12, root=False, swap=True)
    assert assess(facts).tier == TIER_FULL
    assert names(facts) == {"swap", "same-user"}


@pytest.mark.parametrize(
    ("version", "good"), [("0.8.0", True), ("0.10.0", True), ("1.0", True), ("0.7.99", False)]
)
def test_versions_are_compared_as_numbers(version, good):
    assert (assess(dataclasses.replace(DEBIAN_12, bwrap_version=version)).tier is not None) == good
