"""Use a released model as its buyer would: check the certificate, then score a table. Needs NumPy, not torch.

    python examples/use_model.py DIRECTORY TABLE.csv

DIRECTORY is what `trustspace release fetch JOB --into DIRECTORY` wrote. Works for logistic regressions and small
neural networks (`logistic_regression` and `mlp` in the job file).
"""

from __future__ import annotations

import sys
from pathlib import Path

from trustspace.data.reading import read_table
from trustspace.domain import certificate
from trustspace.domain.trust import TrustFile
from trustspace.jobs.released import load_released


def main() -> None:
    """Print the scores of the first rows."""
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/use_model.py DIRECTORY TABLE.csv")
    directory = Path(sys.argv[1])
    trust = TrustFile.model_validate_json((directory / "trust.json").read_bytes())
    proof = certificate.load((directory / "certificate.json").read_bytes())
    model = (directory / "model.safetensors").read_bytes()

    verified = certificate.verify(proof, trust)
    certificate.verify_content(proof, verified, "model.safetensors", model)
    print(f"released by {', '.join(trust.name_of(unit) for unit in verified.source_units)}, "
          f"approved by {', '.join(verified.reviewers)}")  # fmt: skip

    released = load_released(model, verified.job.body.parameters)
    for row, score in enumerate(released.predict(read_table(Path(sys.argv[2])))[:5], 1):
        print(f"row {row}: {score:.3f}")


if __name__ == "__main__":
    main()
