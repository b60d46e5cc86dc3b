"""What a data scientist with the file would run: PyTorch and nothing of ours around it, in a fresh process.

    python bare.py FILE MODEL EPOCHS BATCH OPTIMISER

Reads the table, sets a fifth of the rows aside, standardises, trains the same network with the same optimiser,
judges it on both parts, writes the model. ``torch`` takes torch.optim's Adam; ``ours`` the platform's, which is
the same arithmetic without what torch.optim imports.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import nn

LEARNING_RATE, HIDDEN, SEED = 0.003, 16, 1


def auc(score: np.ndarray, target: np.ndarray) -> float:
    """Area under the ROC curve by ranks; ties do not occur in what is measured here."""
    ranks = np.empty(len(score))
    ranks[np.argsort(score)] = np.arange(1, len(score) + 1)
    positive = target == 1
    count = int(positive.sum())
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(target) - count)))


def main() -> None:
    """Train and say how long which part took."""
    file, into, epochs, batch, optimiser = (
        sys.argv[1],
        sys.argv[2],
        int(sys.argv[3]),
        int(sys.argv[4]),
        sys.argv[5],
    )
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    table = pq.read_table(file)
    target = np.array(table["diagnosis"].to_pylist()) == "M"
    names = [name for name in table.column_names if name not in ("patient", "diagnosis")]
    raw = np.stack([table[name].to_numpy() for name in names], axis=1)
    withheld = np.zeros(len(raw), dtype=bool)
    withheld[np.random.default_rng(SEED).permutation(len(raw))[: -(-len(raw) // 5)]] = True
    mean, scale = raw[~withheld].mean(axis=0), raw[~withheld].std(axis=0)
    inputs = torch.from_numpy(((raw - mean) / scale).astype(np.float32))
    wanted = torch.from_numpy(target.astype(np.float32))
    seen, judged = inputs[~withheld], wanted[~withheld]
    first_row = time.time_ns()
    module = nn.Sequential(nn.Linear(len(names), HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
    adam: Any
    if optimiser == "torch":
        adam = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE)
    else:
        from trustspace.jobs.optimise import make_optimiser

        adam = make_optimiser("adam", module.parameters(), learning_rate=LEARNING_RATE, weight_decay=0.0)
    loss_of = nn.functional.binary_cross_entropy_with_logits
    order = torch.Generator().manual_seed(SEED)
    begun = time.time_ns()
    for _ in range(epochs):
        module.train()
        shuffled = torch.randperm(len(seen), generator=order)
        for start in range(0, len(seen), batch):
            rows = shuffled[start : start + batch]
            adam.zero_grad()
            loss = loss_of(module(seen[rows])[:, 0], judged[rows])
            loss.backward()
            adam.step()
    trained = time.time_ns()
    module.eval()
    with torch.no_grad():
        scores = module(inputs)[:, 0].numpy()
    quality = (
        f"{auc(scores[~withheld], target[~withheld]):.4f}, {auc(scores[withheld], target[withheld]):.4f}"
    )
    torch.save(module.state_dict(), into)
    found = {
        "first_row_ns": first_row,
        "training_seconds": (trained - begun) / 1e9,
        "auc": quality,
        "torch": torch.__version__,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
