"""Busy time in equal buckets, which grow in number as the run goes on and, when they are too many, in length."""

MOST_BUCKETS = 1000


class BusyTime:
    """Seconds of each bucket `[k · bucket_s, (k + 1) · bucket_s)` in which a server was busy."""

    __slots__ = ("bucket_s", "seconds")

    def __init__(self, bucket_s: float) -> None:
        self.bucket_s = bucket_s
        self.seconds: list[float] = []

    def add(self, start: float, end: float) -> None:
        """Busy from `start` to `end`."""
        while end >= self.bucket_s * MOST_BUCKETS:
            self.widen()
        bucket_s, seconds = self.bucket_s, self.seconds
        first, last = int(start / bucket_s), int(end / bucket_s)
        if last >= len(seconds):
            seconds.extend([0.0] * (last + 1 - len(seconds)))
        if first == last:
            seconds[first] += end - start
            return
        seconds[first] += (first + 1) * bucket_s - start
        for bucket in range(first + 1, last):
            seconds[bucket] += bucket_s
        seconds[last] += end - last * bucket_s

    def widen(self) -> None:
        """Two buckets become one."""
        pairs = [*self.seconds, 0.0][: (len(self.seconds) + 1) // 2 * 2]
        self.seconds = [one + other for one, other in zip(pairs[::2], pairs[1::2], strict=True)]
        self.bucket_s *= 2
