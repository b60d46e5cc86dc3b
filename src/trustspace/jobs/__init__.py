"""What a job is: the job file, the code bundle, the platform's own training, and what may come out.

``programs`` names what runs in a sandbox; of the modules it loads when called, ``models``, ``optimise``,
``training``, ``rounds_program``, ``evaluate`` and ``references`` are the only ones that import torch. All others run
anywhere: ``federation`` is the enclave's side of a joint training, NumPy only.
"""
