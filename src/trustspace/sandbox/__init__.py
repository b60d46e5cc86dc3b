"""Where the developer's code meets the data: one fresh, sealed-off process tree for every task.

Use::

    launcher = Launcher.start(SandboxConfig())       # first thing in the process, before threads and keys
    result = launcher.run(Task("train", {"data": fd, "parameters": fd2}, Limits()))

``launcher`` is the enclave's handle (``task`` what it is given and gives back), ``service`` the keyless
process behind it, ``spawn`` the making of one sandbox out of ``bubblewrap``, ``seccomp``, ``limits`` and
``cgroup``; ``inside`` is the worker, which adds ``landlock``; ``doctor`` says what the host can give
(``remedies``: in words), ``runtime`` finds and ``build`` makes the files that a sandbox sees.
"""
