"""Where the developer's code meets the data: one fresh, sealed-off process tree for every task.

Use::

    launcher = Launcher.start(SandboxConfig())       # first thing in the process, before threads and keys
    result = launcher.run(Task("train", {"data": fd, "parameters": fd2}, Limits()))

``launcher`` is the enclave's handle, ``service`` the keyless process behind it, ``bubblewrap``, ``seccomp``,
``landlock``, ``limits`` and ``cgroup`` the walls, ``inside`` the worker, ``doctor`` what the host can give,
``runtime`` and ``build`` the files a sandbox sees.
"""
