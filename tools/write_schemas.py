"""Write the published JSON schemas, docs/job.schema.json and docs/report.schema.json, from the models."""

from __future__ import annotations

import json
from pathlib import Path

from trustspace.evidence.report import schema
from trustspace.jobs.spec import job_schema

DOCS = Path(__file__).resolve().parents[1] / "docs"


def main() -> None:
    """Write both files."""
    for name, value in (("job.schema.json", job_schema()), ("report.schema.json", schema())):
        text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
        (DOCS / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
