"""Use of a server in equal buckets of time, which grow in number as the run goes on and, when too many, in length."""

MOST_BUCKETS = 1000


class Usage:
    """Of each bucket `[k · bucket_s, (k + 1) · bucket_s)`: seconds busy, and tokens of KV held times seconds."""

    __slots__ = ("bucket_s", "busy_s", "kv_token_s")

    def __init__(self, bucket_s: float) -> None:
        self.bucket_s = bucket_s
        self.busy_s: list[float] = []
        self.kv_token_s: list[float] = []

    def add(self, start: float, end: float, kv_tokens: float, *, busy: bool = True) -> None:
        """From `start` to `end`, holding `kv_tokens` in the mean."""
        while end >= self.bucket_s * MOST_BUCKETS:
            self.widen()
        bucket_s = self.bucket_s
        bucket, last = int(start / bucket_s), int(end / bucket_s)
        if last >= len(self.busy_s):
            for row in (self.busy_s, self.kv_token_s):
                row.extend([0.0] * (last + 1 - len(row)))
        while bucket < last:
            edge = (bucket + 1) * bucket_s
            self._fill(bucket, edge - start, kv_tokens, busy)
            bucket, start = bucket + 1, edge
        self._fill(last, end - start, kv_tokens, busy)

    def _fill(self, bucket: int, seconds: float, kv_tokens: float, busy: bool) -> None:
        if busy:
            self.busy_s[bucket] += seconds
        self.kv_token_s[bucket] += seconds * kv_tokens

    def widen(self) -> None:
        """Two buckets become one."""
        self.busy_s, self.kv_token_s = _in_pairs(self.busy_s), _in_pairs(self.kv_token_s)
        self.bucket_s *= 2


def _in_pairs(row: list[float]) -> list[float]:
    pairs = [*row, 0.0][: (len(row) + 1) // 2 * 2]
    return [one + other for one, other in zip(pairs[::2], pairs[1::2], strict=True)]
