"""Where the developer's code meets the data: one fresh, sealed-off process tree for every task.

Use::

    launcher = Launcher.start(SandboxConfig())       # first thing in the process, before threads and keys
    result = launcher.run(Task("train", {"data": fd, "parameters": fd2}, Limits()))
    with launcher.open(Task("a-session", {"data": fd}), Channel(down, up)) as conversation:
        reply = conversation.ask({"do": "something"}, timeout_seconds=60)
        result = conversation.close()

``launcher`` is the enclave's handle (``task`` what it is given and gives back, ``conversation`` its side of
a program that stays and is asked), ``service`` the keyless process behind it, ``spawn`` the making of one
sandbox out of what ``backends`` names (``bubblewrap``, ``confined``, ``gvisor``), ``seccomp``, ``limits`` and
``cgroup``; ``inside`` is the worker, which first shuts itself in (``walls``: ``landlock``, ``filters``), and what a
first one finds of itself is compared with what was ordered (``selfcheck``). ``doctor`` says what the host can give
(``remedies``: in words, ``diagnosis``: for people), ``runtime`` finds and ``build`` makes the files that a sandbox
sees.
"""
