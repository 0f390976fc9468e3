"""Which ranks of which engines are connected to an agent."""

from collections import Counter


class Ranks:
    """By engine (`owner`) and rank, on how many connections."""

    def __init__(self) -> None:
        self._here: Counter[tuple[str, int]] = Counter()

    def connected(self, owner: str, ranks: int) -> bool:
        """Whether all ranks of an engine are here: only they can encode a ticket."""
        return all(self._here[owner, rank] > 0 for rank in range(ranks))

    def arrived(self, owner: str, rank: int) -> None:
        self._here[owner, rank] += 1

    def left(self, owner: str, rank: int) -> bool:
        """One connection of a rank ended. False when it had come back on another before that was seen."""
        self._here[owner, rank] -= 1
        if self._here[owner, rank]:
            return False
        del self._here[owner, rank]
        return True

    def __len__(self) -> int:
        return len(self._here)
