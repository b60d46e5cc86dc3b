"""Generate src/trustspace/api/v1 from proto/trustspace/v1. With --check, only say whether it is fresh."""

from __future__ import annotations

import argparse
import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "src" / "trustspace" / "api" / "v1"


def generate(into: Path) -> Path:
    """Run protoc; the package path is mapped so that imports read ``trustspace.api.v1``."""
    staged = into / "proto" / "trustspace" / "api" / "v1"
    staged.mkdir(parents=True)
    for proto in sorted((ROOT / "proto" / "trustspace" / "v1").glob("*.proto")):
        shutil.copy(proto, staged / proto.name)
    out = into / "out"
    out.mkdir()
    include = Path(grpc_tools.__file__).parent / "_proto"
    files = [str(path) for path in sorted(staged.glob("*.proto"))]
    arguments = ["protoc", f"-I{into / 'proto'}", f"-I{include}", f"--python_out={out}", f"--pyi_out={out}"]
    if protoc.main([*arguments, f"--grpc_python_out={out}", *files]) != 0:
        sys.exit("protoc failed")
    return out / "trustspace" / "api" / "v1"


def main() -> None:
    """Write the generated files, or compare them with those checked in."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        fresh = generate(Path(scratch))
        names = sorted(path.name for path in fresh.iterdir())
        if options.check:
            present = sorted(p.name for p in TARGET.iterdir() if p.name not in {"__init__.py", "__pycache__"})
            _, different, missing = filecmp.cmpfiles(fresh, TARGET, names, shallow=False)
            if names != present or different or missing:
                sys.exit("src/trustspace/api/v1 is not what proto/ generates: run `make protos`")
            return
        for name in names:
            shutil.copy(fresh / name, TARGET / name)


if __name__ == "__main__":
    main()
