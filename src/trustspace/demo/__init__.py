"""The story once, played for real: processes, keys, clinical data, cheats that fail. Nothing in it is a mock-up."""
