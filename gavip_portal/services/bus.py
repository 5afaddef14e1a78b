"""Tells open pages what changes: an in-process broadcast of instances by owner.

Invariant: a reader that does not keep up misses nothing it needs, for each message is the whole present state.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator

from gavip_api.models import Instance

_DEPTH = 64


class InstanceBus:
    """Subscriptions to the instances of one owner."""

    def __init__(self) -> None:
        self._readers: dict[str, set[asyncio.Queue[Instance]]] = defaultdict(set)

    def publish(self, instance: Instance) -> None:
        """Tell all readers of the instance's owner."""
        for queue in self._readers.get(instance.owner, ()):
            if queue.full():
                queue.get_nowait()  # the oldest state is the least worth
            queue.put_nowait(instance)

    @contextlib.contextmanager
    def subscribe(self, owner: str) -> Iterator[asyncio.Queue[Instance]]:
        """Give a queue that receives every change from now on."""
        queue: asyncio.Queue[Instance] = asyncio.Queue(_DEPTH)
        self._readers[owner].add(queue)
        try:
            yield queue
        finally:
            self._readers[owner].discard(queue)
            if not self._readers[owner]:
                del self._readers[owner]
