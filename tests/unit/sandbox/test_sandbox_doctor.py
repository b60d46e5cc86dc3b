"""The doctor's judgement on recorded facts: messages of real bubblewraps, hosts that are not at hand.

Every host below is recorded, not probed: what it would say stands here as it was read there or in its documentation.
"""

import dataclasses
import errno

import pytest

from trustspace.domain.tiers import TIER_FULL, TIER_WITHOUT_LANDLOCK
from trustspace.sandbox import diagnosis, remedies
from trustspace.sandbox.config import BACKENDS
from trustspace.sandbox.doctor import HostFacts, assess
from trustspace.sandbox.gvisor import GvisorFacts, Tools

DEBIAN_12 = HostFacts(
    root=True, kernel="6.1.0-28-amd64", distribution="debian", distribution_version="12", container="",
    bwrap_version="0.12.0", libseccomp=True, user_problem="", runtime_problem="", landlock_abi=2,
    max_user_namespaces=63000, unprivileged_userns_clone=1, apparmor_restricts_userns=None, swap=False,
    core_pattern="core", trial_error=None,
)  # fmt: skip
NO_PERMISSION = (
    "bwrap: No permissions to create new namespace, likely because the kernel does not allow non-privileged user "
    "namespaces. See <https://deb.li/bubblewrap> or <file:///usr/share/doc/bubblewrap/README.Debian.gz>."
)
UBUNTU_24_04 = dataclasses.replace(
    DEBIAN_12, distribution="ubuntu", distribution_version="24.04", kernel="6.8.0-45-generic", landlock_abi=4,
    bwrap_version="0.12.1", apparmor_restricts_userns=1, trial_error="bwrap: setting up uid map: Permission denied",
)  # fmt: skip
HARDENED_RHEL_10 = dataclasses.replace(
    DEBIAN_12, distribution="rhel", distribution_version="10.0", kernel="6.12.0-55.el10", landlock_abi=6,
    bwrap_version="0.12.0", unprivileged_userns_clone=None, max_user_namespaces=0,
    trial_error="bwrap: Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces exceeded",
)  # fmt: skip
OLD_DEBIAN = dataclasses.replace(
    DEBIAN_12, distribution_version="11", kernel="5.10.0-33-amd64", unprivileged_userns_clone=0, landlock_abi=0,
    trial_error=NO_PERMISSION,
)  # fmt: skip
DOCKER = dataclasses.replace(DEBIAN_12, root=False, container="docker", trial_error=NO_PERMISSION)
KUBERNETES = dataclasses.replace(DOCKER, container="kubernetes")
OLD_DOCKER = dataclasses.replace(DOCKER, landlock_abi=0, landlock_errno=errno.EPERM)
RUNSC = Tools("/usr/bin/runsc", "systrap", "/usr/bin/unshare")
WITH_GVISOR = dataclasses.replace(
    DEBIAN_12, gvisor=GvisorFacts(RUNSC, "release-20250505.0", counted=True, trial_error=None)
)
RECORDED = {
    "Debian 12": DEBIAN_12, "Ubuntu 24.04": UBUNTU_24_04, "a hardened RHEL 10": HARDENED_RHEL_10, "Debian 11": OLD_DEBIAN,
    "Docker": DOCKER, "an old Docker": OLD_DOCKER, "Kubernetes": KUBERNETES, "Debian with gVisor": WITH_GVISOR,
}  # fmt: skip


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


@pytest.mark.parametrize("name", [*remedies._BLOCKING, *remedies._REMARKS])
def test_every_finding_speaks_both_languages(name):
    found = remedies.finding(name, "what was said")
    assert set(found.text) == set(found.fix) == {"en", "zh"}
    assert found.text["en"]
    assert any("一" <= letter <= "鿿" for letter in found.text["zh"])
    # Those that carry their remedy in what was said have none of their own in English.
    assert found.fix["zh"] or not found.fix["en"]


def test_remarks_do_not_refuse():
    facts = dataclasses.replace(DEBIAN_12, root=False, swap=True)
    assert assess(facts).tier == TIER_FULL
    assert names(facts) == {"swap", "same-user"}
    facts = dataclasses.replace(
        DEBIAN_12, core_pattern="|/usr/lib/systemd/systemd-coredump %P %u", counted="none"
    )
    assert assess(facts).tier == TIER_FULL
    assert names(facts) == {"core-pattern", "uncounted"}
    assert "systemd-coredump" in assess(facts).render("en")


def test_a_bubblewrap_that_follows_links_is_named_and_not_refused():
    for version, named in (("0.11.9", True), ("0.8.0", True), ("0.12.0", False), ("0.13.1", False)):
        facts = dataclasses.replace(DEBIAN_12, bwrap_version=version)
        assert ("bubblewrap-links" in names(facts)) == named
        assert assess(facts).tier == TIER_FULL
    assert "CVE-2026-87766" in assess(dataclasses.replace(DEBIAN_12, bwrap_version="0.8.0")).render("zh")


# -- without namespaces, and with gVisor


def test_where_namespaces_are_forbidden_landlock_alone_is_weaker_and_there():
    for facts in (DOCKER, KUBERNETES, UBUNTU_24_04, HARDENED_RHEL_10):
        assert assess(facts).tier is None
        report = assess(facts, "landlock")
        assert report.tier == "landlock+seccomp"
        # What is weaker stands there, always.
        assert "confined" in {finding.name for finding in report.findings}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"landlock_abi": 0, "landlock_errno": errno.ENOSYS}, "landlock"),
        ({"landlock_abi": 0, "landlock_errno": errno.EOPNOTSUPP}, "landlock-off"),
        ({"landlock_abi": 0, "landlock_errno": errno.EPERM}, "landlock-forbidden"),
        ({"confined_error": "Permission denied"}, "confined-trial"),
        ({"libseccomp": False}, "libseccomp"),
        ({"user_problem": "No user."}, "user"),
        ({"runtime_problem": "No runtime."}, "runtime"),
    ],
)
def test_what_keeps_landlock_alone_from_working(changes, name):
    report = assess(dataclasses.replace(DOCKER, **changes), "landlock")
    assert report.tier is None
    assert [finding.name for finding in report.findings if finding.blocks] == [name]
    in_namespaces = assess(dataclasses.replace(DEBIAN_12, **changes))
    assert (in_namespaces.tier is None) == (name in {"libseccomp", "user", "runtime"})


def test_bubblewrap_is_not_needed_without_namespaces():
    facts = dataclasses.replace(DEBIAN_12, bwrap_version="")
    assert assess(facts).tier is None
    assert assess(facts, "landlock").tier == "landlock+seccomp"


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (None, "gvisor-missing"),
        (GvisorFacts(None, "", counted=False, trial_error=None), "gvisor-missing"),
        (GvisorFacts(RUNSC, "1", counted=True, trial_error="no"), "gvisor-trial"),
        (GvisorFacts(RUNSC, "1", counted=False, trial_error=None), "gvisor-uncounted"),
    ],
)
def test_what_keeps_gvisor_from_working(facts, name):
    assert assess(WITH_GVISOR, "gvisor").tier == "gvisor"
    report = assess(dataclasses.replace(DEBIAN_12, gvisor=facts), "gvisor")
    assert report.tier is None
    assert [finding.name for finding in report.findings if finding.blocks] == [name]


# -- what people read


def survey(facts):
    return [assess(facts, backend) for backend in BACKENDS]


@pytest.mark.parametrize("host", RECORDED)
def test_every_kind_is_said_with_its_tier_or_what_is_in_the_way(host):
    reports = survey(RECORDED[host])
    for language, cannot in (("en", "cannot be had here"), ("zh", "本机不可用")):
        text = diagnosis.render(reports, "namespaces", language, own=False)
        parts = text.split("\nsandbox = ")[1:]
        assert len(parts) == len(BACKENDS)
        for report, part in zip(reports, parts, strict=True):
            assert part.startswith(f'"{report.backend}"')
            assert (cannot in part) == (report.tier is None)
            assert report.tier is None or report.tier in part
            for finding in report.findings:
                assert finding.text[language] in text
        said = diagnosis.document(reports, "namespaces", language)
        assert [kind["tier"] for kind in said["kinds"]] == [report.tier or "" for report in reports]
        assert said["tier"] == (reports[0].tier or "")


@pytest.mark.parametrize(
    ("host", "chosen", "last"),
    [
        ("Debian 12", "namespaces", "An enclave can run here as it is set."),
        ("Debian 12", "landlock", 'Stronger: put `sandbox = "namespaces"` into enclave.toml'),
        ("Debian with gVisor", "namespaces", 'Stronger: put `sandbox = "gvisor"` into enclave.toml'),
        ("Docker", "namespaces", 'or put `sandbox = "landlock"` into enclave.toml (tier landlock+seccomp)'),
        ("Docker", "landlock", "An enclave can run here as it is set."),
        ("an old Docker", "namespaces", "This computer cannot run an enclave yet."),
        ("Debian 11", "landlock", "This computer cannot run an enclave yet."),
    ],
)
def test_the_last_line_says_what_to_write(host, chosen, last):
    reports = survey(RECORDED[host])
    assert last in diagnosis.render(reports, chosen, "en", own=True).split("\n\n")[-1]
    chinese = diagnosis.render(reports, chosen, "zh", own=True).split("\n\n")[-1]
    assert any("一" <= letter <= "鿿" for letter in chinese)


def test_a_minimum_that_is_not_met_is_said():
    reports = survey(DOCKER)
    assert diagnosis.accepted(reports, "landlock")
    assert not diagnosis.accepted(reports, "namespaces")
    assert not diagnosis.accepted(reports, "landlock", "namespaces+seccomp")
    text = diagnosis.render(reports, "landlock", "en", own=True, minimum="namespaces+seccomp")
    assert 'refused here: `minimum_tier = "namespaces+seccomp"`' in text


def test_what_is_in_the_way_stands_before_what_is_good_to_know():
    facts = dataclasses.replace(DOCKER, bwrap_version="0.8.0")
    marks = [
        line.split()[0] for line in assess(facts).render("en").split("\n") if line.startswith(("  x", "  !"))
    ]
    assert marks == sorted(marks, reverse=True)
    assert set(marks) == {"x", "!"}


def test_what_is_true_of_the_computer_is_said_once():
    facts = dataclasses.replace(DEBIAN_12, swap=True, counted="none")
    text = diagnosis.render(survey(facts), "namespaces", "en", own=False)
    assert text.count("Swap is on") == text.count("No control groups") == 1


@pytest.mark.parametrize(
    ("version", "good"), [("0.8.0", True), ("0.10.0", True), ("1.0", True), ("0.7.99", False)]
)
def test_versions_are_compared_as_numbers(version, good):
    assert (assess(dataclasses.replace(DEBIAN_12, bwrap_version=version)).tier is not None) == good
