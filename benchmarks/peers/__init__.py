"""Other people's ways to sum protected vectors, and to guess members of a training: each in a locked environment of its
own, driven over a pipe.

``environments`` makes the virtual environments, outside the repository; ``process`` drives one peer from here.
``drive_*`` and ``loop`` run inside those environments and import nothing of trustspace.
"""
