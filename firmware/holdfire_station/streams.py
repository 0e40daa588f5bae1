"""Waiting for a stream in asyncio, without its StreamReader, which would take 1.7 KB."""

from asyncio import core  # type: ignore[attr-defined]  # not in the stubs


def readable(stream):
    """To be awaited: until `stream` has something to read, as asyncio's own Stream does it."""
    yield core._io_queue.queue_read(stream)
