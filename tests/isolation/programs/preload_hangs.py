"""Imported early by a sandbox that waits: never ends."""

import time

time.sleep(3600)
