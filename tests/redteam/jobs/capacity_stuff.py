"""Hide rows in the lowest bits of a model's weights: each weight changes by less than a rounding error."""

import numpy as np


def run(inputs, outputs):
    rows = "\n".join(",".join(map(str, row.values())) for row in inputs.table().to_pylist()).encode()
    count = int(inputs.arguments["numbers"])
    weights = np.random.default_rng(7).normal(0, 0.05, count).astype(np.float32)
    bits = weights.view(np.uint32)
    hidden = np.frombuffer(rows.ljust(count, b"\n")[:count], np.uint8)
    # Eight of 24 bits of the significand: a change of 3e-5 of the weight.
    bits[:] = (bits & np.uint32(0xFFFFFF00)) | hidden
    outputs.tensors("model.safetensors", {"weight": weights})
