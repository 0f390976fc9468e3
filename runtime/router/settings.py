"""The router's limits, with what they default to."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """Times in seconds.

    `first_byte_s` bounds how long a decode engine may take to answer (an answer that is not streamed comes whole),
    `idle_s` the pause between two chunks of a stream, `stop_grace_s` how long running requests have when told to stop.
    Idle connections to engines are given up before vLLM's server does so itself, after 5 s; agents keep them longer.
    """

    max_body_bytes: int = 32 * MIB
    connect_s: float = 5.0
    prefill_s: float = 120.0
    first_byte_s: float = 600.0
    idle_s: float = 300.0
    probe_every_s: float = 1.0
    probe_timeout_s: float = 5.0
    engine_keepalive_s: float = 3.0
    agent_keepalive_s: float = 60.0
    stop_grace_s: float = 5.0
