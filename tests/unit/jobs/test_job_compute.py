from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from job_runs import compute_parameters, patients, run

from trustspace.errors import InvalidInput
from trustspace.jobs.artifacts import check_artifacts, parse_csv
from trustspace.jobs.png import parse_png
from trustspace.jobs.spec import load_job_file, read_code
from trustspace.jobs.tensors import read_tensors

EXAMPLES = Path(__file__).parents[3] / "examples" / "jobs"
JSON = {"name": "a.json", "media_type": "application/json", "max_bytes": 1000}
CSV = {"name": "t.csv", "media_type": "text/csv", "max_bytes": 1000}
PNG = {"name": "p.png", "media_type": "image/png", "max_bytes": 1000}
TENSORS = {"name": "w.safetensors", "media_type": "application/x-safetensors", "max_bytes": 1000}


def compute(body: str, outputs=(JSON,), *, files=None, **arguments):
    main = "import numpy as np\ndef run(inputs, outputs):\n" + "".join(
        f"    {line}\n" for line in body.splitlines()
    )
    return run(
        "compute",
        compute_parameters(list(outputs), **arguments),
        patients(30),
        code={"main.py": main, **(files or {})},
    )


def test_every_kind_of_output():
    job = compute_parameters([JSON, CSV, TENSORS, PNG])
    made = compute(
        "t = inputs.table()\n"
        "outputs.png('p.png', np.full((2, 3, 3), 7, np.uint8))\n"
        "outputs.tensors('w.safetensors', {'w': np.ones(3)})\n"
        "outputs.csv('t.csv', t.select(['age']).slice(0, 2))\n"
        "outputs.json('a.json', {'rows': t.num_rows, 'none': None})",
        (JSON, CSV, TENSORS, PNG),
    )
    check_artifacts(list(made.values()), job)
    assert list(made) == ["a.json", "t.csv", "w.safetensors", "p.png"], "in declared order"
    assert json.loads(made["a.json"].data) == {"rows": 30, "none": None}
    assert [len(parse_csv(made["t.csv"].data)), parse_csv(made["t.csv"].data)[0]] == [3, ["age"]]
    assert read_tensors(made["w.safetensors"].data)["w"].tolist() == [1, 1, 1]
    assert parse_png(made["p.png"].data).tolist() == [[[7, 7, 7]] * 3] * 2


def test_cells():
    body = (
        "a, b, c = [1, None, True], [0.5, float('nan'), np.float64(-2)], ['x', 'é', 'a,b']\n"
        "outputs.csv('t.csv', {'a': a, 'b': b, 'c': c})"
    )
    assert parse_csv(compute(body, (CSV,))["t.csv"].data) == [
        ["a", "b", "c"], ["1", "0.5", "x"], ["", "", "é"], ["true", "-2.0", "a,b"],
    ]  # fmt: skip


def test_arguments_and_files_reach_the_code():
    body = (
        "import helpers.names\n"
        "found = [inputs.arguments['by'], helpers.names.X, inputs.files['note.txt'], inputs.parameters['kind']]\n"
        "outputs.json('a.json', found)"
    )
    files = {"helpers/__init__.py": "", "helpers/names.py": "X = 3\n", "note.txt": "hello"}
    assert json.loads(compute(body, files=files, by="sex")["a.json"].data) == ["sex", 3, "hello", "compute"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("pass", "did not hand out a.json"),
        ("outputs.json('b.json', 1)", "was not declared"),
        ("outputs.json('a.json', 1)\noutputs.json('a.json', 2)", "handed out already"),
        ("outputs.json('a.json', 'x' * 2000)", "declared 1000 bytes"),
        ("outputs.json('a.json', float('nan'))", "JSON cannot say"),
        ("outputs.csv('a.json', {'a': [1]})", "media type"),
    ],
)
def test_only_what_was_declared_comes_out(body, message):
    with pytest.raises(InvalidInput, match=message):
        compute(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("outputs.csv('t.csv', {'a': [1], 'b': []})", "differ in length"),
        ("outputs.csv('t.csv', {'a': ['=1+1']})", "formula"),
        ("outputs.csv('t.csv', {})", "not a table"),
    ],
)
def test_tables_are_checked_where_they_are_made(body, message):
    with pytest.raises(InvalidInput, match=message):
        compute(body, (CSV,))


def test_an_error_of_the_code_is_its_own_and_shows_its_line():
    import traceback

    with pytest.raises(ZeroDivisionError) as caught:
        compute("x = 0\noutputs.json('a.json', 1 / x)")
    shown = "".join(traceback.format_exception(caught.value))
    assert 'File "bundle/main.py", line 4' in shown
    assert "outputs.json('a.json', 1 / x)" in shown


def test_a_bundle_cannot_take_the_place_of_a_module_of_the_platform():
    files = {
        "numpy.py": "raise SystemExit('shadowed')\n",
        "pyarrow/__init__.py": "raise SystemExit('shadowed')\n",
    }
    assert compute("import numpy, pyarrow\noutputs.json('a.json', numpy.__name__)", files=files)


def test_code_is_never_written_to_disk(monkeypatch):
    import builtins

    opened = []
    real = builtins.open
    monkeypatch.setattr(
        builtins, "open", lambda path, *a, **k: opened.append(str(path)) or real(path, *a, **k)
    )
    compute("import side\noutputs.json('a.json', side.X)", files={"side.py": "X = 1\n"})
    assert not [path for path in opened if "main" in path or "side" in path]


def test_one_bundle_does_not_see_the_modules_of_another():
    body = "import side\noutputs.json('a.json', side.X)"
    assert compute(body, files={"side.py": "X = 1\n"})["a.json"].data == b"1"
    assert compute(body, files={"side.py": "X = 2\n"})["a.json"].data == b"2"
    with pytest.raises(ModuleNotFoundError):
        compute(body)


def test_the_same_computation_gives_the_same_bytes():
    body = "outputs.json('a.json', {'b': 1, 'a': [0.1 + 0.2, inputs.table()['age'][0].as_py()]})"
    assert compute(body) == compute(body)


def test_the_example_leaves_small_groups_out():
    path = EXAMPLES / "group-summary.toml"
    job = load_job_file(path)
    draw = np.random.default_rng(1)
    names = ["M"] * 30 + ["B"] * 25 + ["rare"] * 3
    table = pa.table(
        {"diagnosis": names, "mean radius": draw.normal(14, 3, 58), "mean texture": draw.normal(19, 4, 58)}
    )
    made = run("compute", job.parameters(), table, code=read_code(job, path))
    check_artifacts(list(made.values()), job.parameters())
    rows = parse_csv(made["groups.csv"].data)
    assert [row[0] for row in rows] == ["diagnosis", "B", "M"]
    assert json.loads(made["summary.json"].data) == {"groups": 2, "smallest_group": 10}
