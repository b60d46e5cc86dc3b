"""Helpers of the tests: a cast in memory, a world with a real space, enclaves, forged spaces, child processes."""
