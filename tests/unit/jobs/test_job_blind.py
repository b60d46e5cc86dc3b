"""A sealed code bundle: it opens to exactly what was declared, and to nothing else."""

import linecache
import traceback

import pytest
from job_runs import compute_parameters, parameters

from trustspace.crypto.canonical import commit
from trustspace.crypto.padding import pad
from trustspace.crypto.seal import Sealer, seal_bytes
from trustspace.domain.binding import code_context
from trustspace.domain.bodies import HOST_CAN_READ
from trustspace.errors import InvalidInput, TrustspaceError, VerificationFailed
from trustspace.jobs.blind import MAX_SEALED_BYTES, declared, interface, open_bundle, seal_bundle
from trustspace.jobs.bundle import MAX_BYTES, make_bundle
from trustspace.jobs.code import files_of, load_entry
from trustspace.jobs.spec import parse_job_file

KEY, SALT, DEVELOPER = b"k" * 32, b"s" * 32, "d" * 64
PARAMETERS = compute_parameters([{"name": "out.json", "media_type": "application/json", "max_bytes": 1000}])
BUNDLE = make_bundle(
    {"main.py": "import helper\n\n\ndef run(inputs, outputs):\n    pass\n", "helper.py": "X = 1\n"}
)


def sealed(bundle=BUNDLE, salt=SALT, commitment=None):
    context = code_context(DEVELOPER, commitment or commit(bundle, salt))
    return seal_bundle(Sealer(KEY, context), bundle, salt)


def told(bundle=BUNDLE, **changes):
    said = declared(PARAMETERS, bundle, SALT, len(sealed(bundle)), host_can_read=True)
    return said.model_copy(update=changes)


def test_it_opens_to_what_was_sealed():
    said = told()
    assert open_bundle(KEY, DEVELOPER, said, PARAMETERS, sealed()) == BUNDLE
    assert (said.entry, said.files, said.host_can_read) == ("main.py: run(inputs, outputs)", 2, HOST_CAN_READ)
    assert declared(PARAMETERS, BUNDLE, SALT, 1, host_can_read=False).host_can_read == ""


def test_what_is_called_follows_from_the_kind_of_job():
    assert interface(parameters()) == ""
    custom = parameters(model="custom", max_parameters=10)
    assert interface(custom) == "model.py: build(parameters)"
    with pytest.raises(VerificationFailed):
        open_bundle(KEY, DEVELOPER, told(), custom, sealed())


@pytest.mark.parametrize(
    "change",
    [
        {"commitment": "ab" * 32}, {"entry": "main.py: walk(inputs, outputs)"}, {"files": 1}, {"files": 3},
        {"sealed_bytes": 1},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_what_was_not_declared_does_not_open(change):
    with pytest.raises(VerificationFailed):
        open_bundle(KEY, DEVELOPER, told(**change), PARAMETERS, sealed())


def test_another_key_developer_or_ciphertext_does_not_open():
    data = sealed()
    for key, developer, content in (
        (b"x" * 32, DEVELOPER, data), (KEY, "e" * 64, data), (KEY, DEVELOPER, data[:-1] + bytes([data[-1] ^ 1])),
        (KEY, DEVELOPER, b""), (KEY, DEVELOPER, data[:-1]),
    ):  # fmt: skip
        with pytest.raises(TrustspaceError):
            open_bundle(key, developer, told(sealed_bytes=max(1, len(content))), PARAMETERS, content)


@pytest.mark.parametrize("content", [b"", b"short", SALT, SALT + b"{}", SALT + b'{"files":{}}'])
def test_what_is_no_bundle_is_refused(content):
    """Under the developer's own key and a true commitment to it."""
    salt, rest = content[:32], content[32:]
    commitment = commit(rest, salt) if len(salt) == 32 else "ab" * 32
    data = seal_bytes(KEY, code_context(DEVELOPER, commitment), pad(content))
    said = told(commitment=commitment, sealed_bytes=len(data))
    with pytest.raises(TrustspaceError):
        open_bundle(KEY, DEVELOPER, said, PARAMETERS, data)


def test_a_function_of_another_name_is_not_the_one_that_is_called():
    for text in (
        "def runs(inputs, outputs):\n    pass\n",
        "    def run(a, b):\n        pass\n",
        "# def run\n",
    ):
        bundle = make_bundle({"main.py": text})
        with pytest.raises(VerificationFailed):
            open_bundle(KEY, DEVELOPER, told(bundle), PARAMETERS, sealed(bundle))


def test_its_size_says_little_and_fits_the_limit():
    sizes = {
        len(sealed(make_bundle({"main.py": "def run(a, b):\n    pass\n" + "#" * n})))
        for n in range(0, 3000, 500)
    }
    assert len(sizes) == 1
    largest = make_bundle({"main.py": "#" * (MAX_BYTES - 100)})
    assert len(sealed(largest)) <= MAX_SEALED_BYTES < 2 * MAX_BYTES


# -- logs


def failing(text, *, blind):
    inputs = {
        "code": make_bundle({"main.py": "import other\n\ndef run(a, b):\n    other.go()\n", "other.py": text})
    }
    files = files_of(inputs | ({"blind": b"1"} if blind else {}))
    linecache.clearcache()
    try:
        load_entry(files, "main.py", "run")(None, None)
    except Exception:
        return traceback.format_exc()
    finally:
        linecache.clearcache()
    raise AssertionError("it did not fail")


@pytest.mark.parametrize(
    "text", ["def go():\n    1 / 0  # canary\n", "def go(:  # canary\n"], ids=["raises", "syntax"]
)
def test_a_traceback_shows_lines_of_open_code_only(text):
    shown, hidden = failing(text, blind=False), failing(text, blind=True)
    assert "canary" in shown
    assert "canary" not in hidden
    assert "other.go()" not in hidden
    assert "bundle/other.py" in hidden


# -- the job file

FILE = """
[job]
title = "t"
purpose = "p"
kind = "compute"

[parties]
buyer = "b"

[[datasets]]
id = "d"
version = 1
columns = ["a"]

[compute]
outputs = [{ name = "o.json", media_type = "application/json", max_bytes = 100 }]

[code]
path = "main.py"
"""


def test_a_job_file_says_that_its_code_is_blind():
    assert not parse_job_file(FILE).code.blind
    file = parse_job_file(FILE + "blind = true\nhost_can_read = true\n")
    assert (file.code.blind, file.code.host_can_read) == (True, True)
    assert parse_job_file(FILE + "blind = true\n").code.host_can_read is False


def test_words_about_open_code_make_no_sense():
    with pytest.raises(InvalidInput, match="host_can_read") as refused:
        parse_job_file(FILE + "host_can_read = true\n")
    assert "blind = true" in str(refused.value)
