from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustspace.crypto.canonical import canonical_json
from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs.bundle import MAX_FILES, build_bundle, make_bundle, parse_bundle, require_entry

MAIN = "def run(inputs, outputs):\n    pass\n"
texts = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"), include_characters="\n\t"),
    max_size=40,
)


@given(
    st.dictionaries(st.from_regex(r"\A(lib/)?[a-z]{3,8}_x\.(py|json|md)\Z"), texts, min_size=1, max_size=4)
)
def test_what_is_bundled_comes_out(files):
    data = make_bundle(files)
    assert parse_bundle(data) == files
    assert make_bundle(parse_bundle(data)) == data


def test_a_folder_gives_the_same_bytes_wherever_it_is(tmp_path):
    bundles = []
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / "helpers").mkdir(parents=True)
        (folder / "__pycache__").mkdir()
        (folder / ".git").mkdir()
        (folder / ".git" / "config.txt").write_text("secret")
        (folder / "__pycache__" / "main.pyc").write_bytes(b"\0")
        files = [("main.py", MAIN), ("helpers/groups.py", "X = 1\n"), ("notes.md", "Größe 大小")]
        for path, text in files if name == "one" else reversed(files):
            (folder / path).write_text(text, encoding="utf-8")
        bundles.append(build_bundle(folder))
    assert bundles[0] == bundles[1]
    assert set(parse_bundle(bundles[0])) == {"main.py", "helpers/groups.py", "notes.md"}


def test_windows_files_are_the_same_code(tmp_path):
    (tmp_path / "main.py").write_bytes(b"\xef\xbb\xbf" + MAIN.replace("\n", "\r\n").encode())
    assert parse_bundle(build_bundle(tmp_path / "main.py")) == {"main.py": MAIN}


def test_a_symbolic_link_is_refused(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("the developer's own password")
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "main.py").write_text(MAIN)
    assert build_bundle(folder)
    os.symlink(secret, folder / "data.txt")
    with pytest.raises(InvalidInput, match="symbolic link"):
        build_bundle(folder)
    os.remove(folder / "data.txt")
    os.symlink(tmp_path, folder / "up")
    with pytest.raises(InvalidInput, match="symbolic link"):
        build_bundle(folder)
    os.symlink(folder / "main.py", tmp_path / "link.py")
    with pytest.raises(InvalidInput, match="symbolic link"):
        build_bundle(tmp_path / "link.py")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("weights.pt", b"\x80\x04", "kind that may not"),
        ("main.py", b"\xff\xfe", "UTF-8"),
        ("main.py", b"x" * ((1 << 20) + 1), "larger than"),
        ("main.py", b"x = 1\rimport os", "U\\+000D"),
        ("main.py", "x = '\u202e' # trojan source".encode(), "U\\+202E"),
        ("main.py", "x = '\u200b'".encode(), "U\\+200B"),
        ("main.py", b"x = '\x1b[2J'", "U\\+001B"),
        ("torch.py", b"", None),
        ("json.py", b"", "module of Python's own"),
        ("my code.py", b"", "path in the code bundle"),
    ],
)
def test_files_a_reviewer_could_not_judge_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    if message is None:
        assert build_bundle(tmp_path)
        return
    with pytest.raises(InvalidInput, match=message):
        build_bundle(tmp_path)


def test_number_and_size_are_bounded(tmp_path):
    for index in range(MAX_FILES + 1):
        (tmp_path / f"m{index}.py").write_text("")
    with pytest.raises(InvalidInput, match="1 to 100 files"):
        build_bundle(tmp_path)
    with pytest.raises(InvalidInput, match="larger than"):
        make_bundle({f"m{i}_x.py": "x" * 200_000 for i in range(6)})
    with pytest.raises(InvalidInput, match="1 to 100 files"):
        make_bundle({})
    with pytest.raises(InvalidInput, match="missing"):
        build_bundle(tmp_path / "gone")


@pytest.mark.parametrize(
    "path",
    [
        "../main.py",
        "/main.py",
        "a//b.py",
        "a/./b.py",
        "a/../b.py",
        "main.sh",
        "",
        "a\\b.py",
        "é.py",
        "a/" * 9 + "m.py",
    ],
)
def test_paths_that_could_mean_something_else_are_refused(path):
    with pytest.raises(InvalidInput):
        make_bundle({path: ""})
    forged = canonical_json({"format": "trustspace-bundle-v1", "files": {path: ""}})
    with pytest.raises(VerificationFailed):
        parse_bundle(forged)


def test_names_that_differ_only_in_case_are_refused():
    with pytest.raises(InvalidInput, match="differ only in case"):
        make_bundle({"main.py": "", "Main.py": ""})


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.update(format="other"),
        lambda v: v.update(more=1),
        lambda v: v["files"].update({"x_y.py": 1}),
        lambda v: v.update(files=["main.py"]),
        lambda v: v["files"].update({"x_y.py": "\u202e"}),
    ],
)
def test_a_forged_bundle_is_refused(change):
    value = json.loads(make_bundle({"main.py": MAIN}))
    parse_bundle(canonical_json(value))
    change(value)
    with pytest.raises(VerificationFailed):
        parse_bundle(canonical_json(value))
    with pytest.raises(VerificationFailed):
        parse_bundle(b" " + make_bundle({"main.py": MAIN}))


def test_the_entry_is_found_without_running_it():
    require_entry({"main.py": "raise SystemExit\n" + MAIN}, "main.py", "run")
    for text in ("run = 3", "class A:\n    def run(self): pass\n", "def other(): pass"):
        with pytest.raises(InvalidInput, match="does not define"):
            require_entry({"main.py": text}, "main.py", "run")
    with pytest.raises(InvalidInput, match="line 2"):
        require_entry({"main.py": "x = 1\ndef run(:\n"}, "main.py", "run")
    with pytest.raises(InvalidInput, match=r"no model\.py"):
        require_entry({"main.py": MAIN}, "model.py", "build")
