"""What a job is: the job file, the code bundle, the platform's own training, and what may come out.

``sections``, ``spec``, ``messages``, ``bundle``, ``container``, ``artifacts``, ``tensors``, ``registry`` and
``released`` run anywhere and never import torch. ``programs`` names what runs in a sandbox; the modules it
loads when called (``models``, ``training``, ``evaluate``, ``compute``) are the only ones that do.
"""
