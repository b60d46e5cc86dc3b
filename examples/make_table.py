"""Write a real clinical table as CSV, to try trustspace with: scikit-learn's diagnostic breast cancer data.

    python examples/make_table.py breast-cancer.csv

569 fine-needle aspirates with 30 measurements each (Wolberg, Street and Mangasarian, UCI repository, 1995). The table
names no patients: each row gets a made-up one. ``diagnosis`` is M (malignant) or B (benign).
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from sklearn.datasets import load_breast_cancer


def main() -> None:
    """Write the file named on the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/make_table.py FILE.csv")
    data = load_breast_cancer()
    with Path(sys.argv[1]).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["patient", *data.feature_names, "diagnosis"])
        for number, (values, benign) in enumerate(zip(data.data, data.target, strict=True), 1):
            rows.writerow([f"p{number:04d}", *map(float, values), "B" if benign else "M"])


if __name__ == "__main__":
    main()
