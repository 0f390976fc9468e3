"""The router's limits, with what they default to."""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """Times in seconds.

    `first_byte_s` bounds how long a decode engine may take to begin a stream (an answer that is not streamed comes
    whole, and only `deadline_s` bounds it), `idle_s` the pause between two chunks of a stream, `stop_grace_s` how long
    running requests have when told to stop (told twice, they end at once).
    `deadline_s` bounds a whole request (a client may shorten its own), `queue_s` what it waits to be let in,
    `bereft_s` (no longer than that) what one waits in all whose decode replicas are all down, for the next plan or for
    one to come back, and `head_s` and `body_s` how long its head and its body may take to come. `client_idle_s` is how
    long a client's connection may be without a request, and how long it may take nothing of a stream that waits for it.
    `max_in_flight` bounds sequences where the routes don't say what their replicas hold.
    `send_buffer_bytes` is what the kernel may hold for a client that is slow (Linux doubles it, and
    takes 4 MB unasked). `max_bodies_bytes` bounds the memory that the bodies of all requests under way take together,
    as they came and parsed. `moves` is how often a stream may be taken up by other replicas, and `deaths` how many may
    die with a request on them before it is given to no other. With `stream_kv` KV crosses while it is computed: where
    agents stand before the engines, the decode leg begins when prefill has begun. `queues_every_s` is how often each
    engine is asked for its queue (it works for some milliseconds on the answer). Idle connections to engines are
    given up before vLLM's server does so itself, after 5 s; agents keep them longer. A probe ends after
    `probe_timeout_s`, or when its host acknowledged nothing for `lost_after_s`; both together with `probe_every_s` are
    how late a host is missed that is gone without a word. Of more replicas than `most_probes_per_s` allow (each costs
    about 0.5 ms of CPU), each is probed less often.
    """

    max_body_bytes: int = 32 * MIB
    max_bodies_bytes: int = 1024 * MIB
    max_header_bytes: int = 8190
    max_in_flight: int = 16_384
    max_queued: int = 1024
    send_buffer_bytes: int = 128 * KIB
    queue_s: float = 30.0
    bereft_s: float = 10.0
    deadline_s: float = 3600.0
    head_s: float = 15.0
    body_s: float = 60.0
    client_idle_s: float = 75.0
    connect_s: float = 5.0
    prefill_s: float = 120.0
    first_byte_s: float = 600.0
    idle_s: float = 300.0
    moves: int = 3
    deaths: int = 2
    stream_kv: bool = True
    probe_every_s: float = 0.5
    most_probes_per_s: float = 500.0
    probe_timeout_s: float = 5.0
    lost_after_s: float = 1.0
    queues_every_s: float = 2.0
    engine_keepalive_s: float = 3.0
    agent_keepalive_s: float = 60.0
    stop_grace_s: float = 60.0
