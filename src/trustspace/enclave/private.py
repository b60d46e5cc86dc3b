"""What a training with differential privacy gets besides its rows: whose each row is, and the secret of its noise."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from trustspace.jobs.chance import SEED_BYTES
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.participants import NOISE_INPUT, PATIENTS_INPUT


def private_inputs(parameters: Parameters, patients: NDArray[np.int64]) -> dict[str, bytes]:
    """Inputs by name, none for a training that claims nothing. ``patients``: the patient of each row, int64 [rows].

    The secret is drawn here, anew for every run, and stays in memory: a repetition within the run takes the same inputs
    and gives the same bytes, another run gives another model and spends anew. The numbers say who is who to nobody.
    """
    if parameters.privacy is None:
        return {}
    _, dense = np.unique(patients, return_inverse=True)
    return {PATIENTS_INPUT: dense.astype("<i4").tobytes(), NOISE_INPUT: os.urandom(SEED_BYTES)}
