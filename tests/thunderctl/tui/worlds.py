"""Deployments by hand for the status screen: documents as `status --json` prints them, events, and an hour's series."""

import math
from collections.abc import Sequence
from typing import Any

from thunderctl.status.documents.events import rfc3339

NOW = 1_800_000_000.0
"""2027-01-15 08:00:00 UTC."""
HOUR_S = 3600.0
Document = dict[str, Any]


def machine(name: str, gpu: str, count: int, usd: float, provider: str = "vast", region: str = "eu-de", **known: Any):
    return {
        "id": name,
        "lease_id": f"lease-{name}",
        "provider": provider,
        "region": region,
        "offer_id": f"offer-{name}",
        "gpu": gpu,
        "gpu_count": count,
        "interruptible": False,
        "state": "ready",
        "reason": "",
        "usd_per_hour": usd,
        "created_at": NOW - 3.8 * HOUR_S,
        "expires_at": NOW + 8.2 * HOUR_S,
        "address": "203.0.113.7",
        "agent": f"https://203.0.113.7:4{name[1:].zfill(4)}",
        "problem": "",
        "kv_pool_used_share": 0.25,
        "kv": {},
        **known,
    }


def replica(name: str, phase: str, on: Sequence[str], running: int, most: int, kv: float, **known: Any) -> Document:
    return {
        "id": name,
        "phase": phase,
        "state": "ready",
        "instances": list(on),
        "tp": 2,
        "pp": len(on),
        "running": running,
        "waiting": 0,
        "max_requests": most,
        "kv_usage": kv,
        "pid": 4242,
        "started_at": NOW - 3.5 * HOUR_S,
        "detail": "",
        **known,
    }


def route(prefill: str, decode: str, share: float, codec: str, measured: float | None, planned: float | None = 10.0):
    return {
        "prefill": prefill,
        "decode": decode,
        "share": share,
        "codec": codec,
        "local_below_tokens": 0,
        "planned_gbit_per_s": planned,
        "measured_gbit_per_s": measured,
    }


def serving(**known: Any) -> Document:
    """Six replicas on five machines of two providers, well within all targets."""
    return {
        "schema": "thunder.status/v1",
        "at": NOW,
        "deployment": "default",
        "state": "serving",
        "plan_id": "k7f3q2",
        "model": "llama-30b",
        "epoch": 7,
        "endpoint": "http://127.0.0.1:8000/v1",
        "cost_usd_per_hour": 11.32,
        "spent_usd": 43.02,
        "budget_usd_per_hour": 14.0,
        "ending": {
            "max_total_usd": 150.0,
            "counted_usd": 43.02,
            "leases_end_at": NOW + 8.2 * HOUR_S,
            "money_ends_at": NOW + 9.45 * HOUR_S,
            "at": NOW + 8.2 * HOUR_S,
            "left_s": 8.2 * HOUR_S,
        },
        "slo": {"ttft_s": 2.0, "tpot_s": 0.15, "attainment": 0.9},
        "instances": [
            machine("i0", "A40", 4, 1.84),
            machine("i1", "A40", 4, 1.84),
            machine("i2", "RTX 3090", 8, 1.92, region="us-tx", interruptible=True),
            machine("i3", "A6000", 4, 2.12, region="nl"),
            machine("i4", "A10G", 4, 3.60, provider="aws", region="us-east-1"),
        ],
        "awaited": [],
        "replicas": [
            replica("p0", "prefill", ["i0"], 5, 8, 0.31),
            replica("p1", "prefill", ["i3"], 7, 8, 0.44, waiting=2),
            replica("d0", "decode", ["i1"], 41, 64, 0.62),
            replica("d1", "decode", ["i2"], 52, 64, 0.83, tp=4, pp=2),
            replica("d2", "decode", ["i4"], 23, 48, 0.39),
            replica("m0", "mixed", ["i0"], 6, 20, 0.22),
        ],
        "routes": [
            route("p0", "d0", 0.26, "int4", 3.52, planned=4.0),
            route("p0", "d1", 0.18, "int4", 1.21, planned=1.5),
            route("p1", "d1", 0.17, "int8", 9.4),
            route("p1", "d2", 0.15, "int4", 0.84, planned=2.5),
            route("m0", "m0", 0.24, "local", None, planned=None),
        ],
        "links": [],
        "observed": {
            "rate_rps": 7.91,
            "prompt_tokens_mean": 1024.0,
            "output_tokens_mean": 211.0,
            "ttft_p50_s": 0.62,
            "ttft_p99_s": 2.31,
            "tpot_p50_s": 0.061,
            "tpot_p99_s": 0.118,
            "slo_attainment": 0.963,
        },
        "predicted": {
            "goodput_rps": 9.2,
            "slo_attainment": 0.95,
            "ttft_p50_s": 0.7,
            "ttft_p99_s": 2.2,
            "tpot_p50_s": 0.06,
            "tpot_p99_s": 0.12,
            "calibrated": True,
        },
        "controller": {"state": "running", "since": NOW - 3.8 * HOUR_S, "waits_for": ""},
        "alerts": [],
        **known,
    }


def degraded() -> Document:
    """A machine is gone, an engine has failed, and the answers are late."""
    found = serving(
        state="degraded",
        alerts=[
            "d1 can't serve: the agent of i2 can't be reached. `thunderctl up` mends what it can.",
            "i2 (vast 8812734, $1.920/h) is to be taken back by its provider at 08:12 UTC: it is being drained.",
            "The lease of i4 ends at 08:47 UTC, in 47 min: [budget] max_hours.",
            "Replica d2 failed: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.20 GiB.",
        ],
    )
    found["instances"][2] |= {"problem": "the agent [lease-i2] can't be reached: no answer", "state": "ready"}
    found["instances"][4] |= {"expires_at": NOW + 2820.0}
    found["replicas"][3] |= {"state": "unknown", "running": 0, "kv_usage": None}
    found["replicas"][4] |= {"state": "failed", "detail": "torch.OutOfMemoryError: CUDA out of memory"}
    found["replicas"][1] |= {"running": 8, "waiting": 11, "kv_usage": 0.97}
    found["ending"] |= {"at": NOW + 2820.0, "leases_end_at": NOW + 2820.0, "left_s": 2820.0}
    found["observed"] |= {"ttft_p50_s": 2.4, "ttft_p99_s": 7.9, "slo_attainment": 0.61}
    return found


def starting() -> Document:
    """Machines come up; nothing is routed yet."""
    found = serving(state="starting", epoch=0, endpoint="", routes=[], cost_usd_per_hour=7.72, spent_usd=0.41)
    found["ending"] |= {"counted_usd": 0.41}
    found["awaited"] = [found["instances"].pop()]
    states = ("ready", "ready", "created", "sent")
    for one, state, minutes in zip(found["instances"], states, (9, 9, 6, 1), strict=True):
        one |= {"state": state, "created_at": NOW - minutes * 60.0}
    for one, state in zip(found["replicas"], ("ready", "absent", "starting", "absent", "absent", "ready"), strict=True):
        one |= {"state": state, "running": 0, "kv_usage": 0.0}
    found["observed"] = dict.fromkeys(found["observed"])
    found["alerts"] = ["Bringing it up was not finished: `thunderctl up` resumes."]
    return found


def stopping() -> Document:
    found = serving(state="stopping", endpoint="", routes=[], alerts=[])
    for one in found["instances"]:
        one |= {"state": "deleting", "reason": "down"}
    for one in found["replicas"]:
        one |= {"state": "absent"}
    return found


def absent() -> Document:
    found = serving(state="absent", epoch=0, endpoint="", model="", routes=[], instances=[], replicas=[])
    nothing: Document = {"cost_usd_per_hour": 0.0, "budget_usd_per_hour": 0.0, "ending": {}, "slo": {}, "predicted": {}}
    return found | nothing | {"observed": dict.fromkeys(found["observed"]), "controller": {"state": "stopped"}}


def alone() -> Document:
    """One mixed replica on this host."""
    return serving(
        model="tiny-llama",
        cost_usd_per_hour=0.02,
        budget_usd_per_hour=0.06,
        instances=[machine("i0", "CPU", 1, 0.02, provider="local", region="local")],
        replicas=[replica("r0", "mixed", ["i0"], 0, 12, 0.0, tp=1)],
        routes=[route("r0", "r0", 1.0, "local", None, planned=None)],
    )


def many(count: int = 40) -> Document:
    """So many replicas, each on a machine of its own."""
    prefills = count // 4
    names = [f"p{n}" if n < prefills else f"d{n - prefills}" for n in range(count)]
    return serving(
        cost_usd_per_hour=count * 0.9,
        budget_usd_per_hour=count * 1.0,
        instances=[machine(f"i{n}", "A40", 2, 0.9) for n in range(count)],
        replicas=[
            replica(name, "prefill" if name[0] == "p" else "decode", [f"i{n}"], n * 7 % 33, 32, (n * 13 % 100) / 100)
            for n, name in enumerate(names)
        ],
        routes=[
            route(f"p{n % prefills}", f"d{n}", 1 / (count - prefills), "int4", 2.0 + n / 7)
            for n in range(count - prefills)
        ],
    )


def huge(count: int = 500) -> Document:
    """So many replicas of a market's mixture: six kinds of machines, three phases, some of them in trouble."""
    kinds = (
        ("A40", 4, 1.84, "vast", "eu-de"),
        ("RTX 3090", 8, 1.92, "vast", "us-tx"),
        ("A6000", 4, 2.12, "vast", "nl"),
        ("A10G", 4, 3.60, "aws", "us-east-1"),
        ("RTX 4090", 2, 0.88, "runpod", "eu-ro"),
        ("L40S", 4, 3.20, "runpod", "us-ks"),
    )
    machines, replicas = [], []
    for n in range(count):
        gpu, cards, usd, provider, region = kinds[(n * n + n // 7) % 6]
        machines.append(machine(f"i{n}", gpu, cards, usd, provider, region, expires_at=NOW + (4 + n % 9) * HOUR_S))
        phase = "mixed" if n % 25 == 24 else "prefill" if n % 4 == 0 else "decode"
        known = {"tp": 4 if cards == 8 else 2, "waiting": 3 if n % 61 == 7 else 0}
        name = f"{phase[0]}{n}"
        replicas.append(replica(name, phase, [f"i{n}"], n * 7 % 33, 32, (n * 13 % 96) / 100, **known))
    for n, (state, detail) in enumerate((("failed", "torch.OutOfMemoryError: CUDA out of memory"), ("starting", ""))):
        for one in replicas[30 + n :: 101]:
            one |= {"state": state, "detail": detail, "running": 0, "waiting": 0, "kv_usage": None}
    for one in machines[17::173]:
        one |= {"problem": f"the agent [lease-{one['id']}] can't be reached: no answer"}
    ids = {phase: [one["id"] for one in replicas if one["phase"] == phase] for phase in ("prefill", "decode", "mixed")}
    ways = [
        (ids["prefill"][(3 * n + turn * 5) % len(ids["prefill"])], name, 2 - turn, ("int4", "int8")[n % 5 == 0])
        for n, name in enumerate(ids["decode"])
        for turn in (0, 1)
    ]
    whole = sum(weight for *_, weight, _ in ways) + len(ids["mixed"])
    routes = [
        route(prefill, decode, weight / whole, codec, 1.0 + n % 90 / 10, planned=4.0)
        for n, (prefill, decode, weight, codec) in enumerate(ways)
    ]
    routes += [route(one, one, 1 / whole, "local", None, planned=None) for one in ids["mixed"]]
    found = serving(
        state="degraded",
        model="llama-3.1-70b",
        cost_usd_per_hour=sum(one["usd_per_hour"] for one in machines),
        budget_usd_per_hour=1200.0,
        spent_usd=8123.4,
        instances=machines,
        replicas=replicas,
        routes=routes,
        alerts=[f"Replica {one['id']} {one['state']}." for one in replicas if one["state"] != "ready"]
        + [f"{one['id']}: {one['problem']}" for one in machines if one["problem"]],
        controller={"state": "running", "since": NOW - 3.8 * HOUR_S, "waits_for": "", "adapting": adapting()},
    )
    found["ending"] |= {"max_total_usd": 20_000.0, "counted_usd": 8123.4}
    found["observed"] |= {"rate_rps": 512.3}
    found["predicted"] |= {"goodput_rps": 590.0}
    return found


def adapting(**known: Any) -> Document:
    """What the controller found when it last looked at the routes."""
    return {
        "assessed_at": NOW - 12,
        "predicted_now": 0.83,
        "predicted_best": 0.94,
        "gain": 0.11,
        "waits": "the last change is too recent",
        "cooling_until": NOW + 190,
        **known,
    }


def long_names() -> Document:
    """Whatever can be long is."""
    long = "production-europe-west-conversation-"
    found = serving(deployment=f"{long}blue", model="meta-llama/Llama-3.1-70B-Instruct-very-long-quantised-variant")
    found["endpoint"] = "https://thunder.internal.example-company-with-a-long-name.com:8443/v1"
    rename = {one["id"]: f"{long}{one['id']}" for key in ("instances", "replicas") for one in found[key]}
    for one in (*found["instances"], *found["replicas"]):
        one["id"] = rename[one["id"]]
    for one in found["replicas"]:
        one["instances"] = [rename[name] for name in one["instances"]]
    for one in found["routes"]:
        one |= {"prefill": rename[one["prefill"]], "decode": rename[one["decode"]]}
    return found


def events() -> list[Document]:
    told = (
        (4210, "step.lease", "i4 done in 4.1 s"),
        (3900, "step.start", "d1 done in 212.8 s"),
        (3880, "plan.in_force", "plan k7f3q1 is in force (epoch 1)"),
        (2710, "controller.alert", "i3 (vast 8812734): its price rises to $0.58/h on 2027-01-20"),
        (1804, "rebalance", "epoch 6: m1 mixed → decode"),
        (1203, "lease.renewed", "leases end at 16:12 UTC, 4.0 h later than before"),
        (610, "controller.route", "epoch 7 over d0, d1, d2, m0, p0, p1, chosen by a rebalance"),
        (188, "controller.failed", "i2: the agent gave no answer within 2 s"),
        (42, "plan.in_force", "plan k7f3q2 is in force (epoch 7), in place of k7f3q1"),
    )
    return [{"at": rfc3339(NOW - ago), "kind": kind, "message": message, "detail": {}} for ago, kind, message in told]


def series(*, late: bool = False) -> list[Document]:
    """A quarter of an hour, a point every five seconds, in gentle waves; `late`: TTFT rises in the end."""
    points = []
    for n in range(180):
        wave = math.sin(n / 9) + 0.5 * math.sin(n / 2.3)
        worse = 1 + max(0, n - 120) / 12 if late else 1.0
        ttft, tpot = (0.55 + 0.12 * wave) * worse, 0.058 + 0.006 * wave
        tail = 1.7 + 0.5 * math.sin(n / 4) + 0.3 * math.sin(n / 1.3)
        points.append(
            {
                "at": NOW - 900 + n * 5.0,
                "rate_rps": 7.9 + wave,
                "ttft_p50_s": ttft,
                "ttft_p99_s": ttft * (1 + tail),
                "tpot_p50_s": tpot,
                "tpot_p99_s": tpot * (1.5 + 0.3 * tail),
                "slo_attainment": 0.96,
            }
        )
    return points


def decided(*, flips: bool = True, epoch: int = 7) -> Document:
    """What `rebalance --dry-run --json` prints."""
    before = {"slo_attainment": 0.83, "goodput_rps": 6.4, "ttft_p50_s": 1.9, "ttft_p99_s": 6.1, "tpot_p50_s": 0.05}
    after = {"slo_attainment": 0.94, "goodput_rps": 8.8, "ttft_p50_s": 0.8, "ttft_p99_s": 2.4, "tpot_p50_s": 0.05}
    return {
        "schema": "thunder.rebalance/v1",
        "decide_s": 0.41,
        "confirm_s": 0.93,
        "apply_s": 0.02,
        "epoch": epoch,
        "changes": flips,
        "flips": [{"replica": "d2", "from": "decode", "to": "prefill"}] if flips else [],
        "routes": serving()["routes"],
        "links": [],
        "predicted_before": before | {"tpot_p99_s": 0.11},
        "predicted_after": after | {"tpot_p99_s": 0.13},
        "why": ["prefill was the bottleneck: its replicas are used to 97 %"],
        "plan_id": "k7f3q2",
    }
