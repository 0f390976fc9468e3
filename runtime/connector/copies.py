"""The bytes of tiles that a rank holds beside the agent's pool, bounded: whoever would add to them waits its turn."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Copies:
    """Of tiles that are fetched and not yet in their blocks. `held_bytes` of them are there."""

    def __init__(self) -> None:
        self.held_bytes = 0
        self._turn = threading.Lock()
        self._freed = threading.Condition()

    @contextmanager
    def one_more(self, length: int, *, within: int) -> Iterator[None]:
        """Hold that many bytes, when all together are `within` bytes; one that is larger is held alone.

        One at a time waits for bytes, the others for their turn: else small copies would keep out a large one for ever.
        """
        with self._turn, self._freed:
            self._freed.wait_for(lambda: not self.held_bytes or self.held_bytes + length <= within)
            self.held_bytes += length
        try:
            yield
        finally:
            with self._freed:
                self.held_bytes -= length
                self._freed.notify()
