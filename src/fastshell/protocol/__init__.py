"""Bytes to meaning and back: pure functions and records; no thread, no socket, no IPython."""
