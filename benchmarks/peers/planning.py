"""Each planner's best fleet for each case, how long it took to find, and what each scorer says of everybody's."""

import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.peers.asked import Peer
from benchmarks.peers.cases import CASES, MAX_MODEL_LEN, USD_PER_HOUR, Case, Fleet, fleet_of, fleet_of_plan, in_words
from benchmarks.peers.judged import goodput_rps
from planner.models import llm_named
from planner.parallel.layouts import Capacities
from planner.plan import plan

OURS = "thunderctl"
PLANNERS = {"AIConfigurator": "aic", "vllm-sr-sim": "sr_sim"}
SEED = 0
TIE = 0.01
"""Scores nearer than this to the best are as good."""


@dataclass(frozen=True, slots=True)
class Found:
    """A planner's fleet, or why it has none, and the requests/s that each scorer gives it (a text where it can't)."""

    planner: str
    fleet: Fleet
    refused: str
    cpu_s: float
    scores: Mapping[str, float | str] = field(default_factory=dict)


def solved(case: Case, peers: Mapping[str, Peer]) -> list[Found]:
    """Everybody's answer to one case, scored by everybody."""
    print(case, file=sys.stderr)
    everyone = [_ours(case), *(_theirs(name, case, peer) for name, peer in peers.items())]
    capacities = Capacities(case.task)
    return [_scored(one, case, peers, capacities) for one in everyone]


def solved_all(cases: Sequence[Case] = CASES) -> Iterator[tuple[Case, list[Found]]]:
    with Peer(PLANNERS["AIConfigurator"]) as aic, Peer(PLANNERS["vllm-sr-sim"]) as sr_sim:
        peers = dict(zip(PLANNERS, (aic, sr_sim), strict=True))
        for case in cases:
            yield case, solved(case, peers)


def _ours(case: Case) -> Found:
    started = _cpu_s()
    found = plan(
        case.market,
        llm_named(case.model),
        case.demand,
        case.slo,
        budget_usd_per_hour=USD_PER_HOUR,
        max_model_len=MAX_MODEL_LEN,
        seed=SEED,
    )
    return Found(OURS, fleet_of_plan(found), "", _cpu_s() - started)


def _cpu_s() -> float:
    """Of this process and of those that ended which it started: planning may use others beside it."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _theirs(name: str, case: Case, peer: Peer) -> Found:
    told = peer.ask("plan", **case.question)
    fleet = () if told.refused else fleet_of(told.found["groups"])
    return Found(name, fleet, told.refused, told.cpu_s)


def _scored(one: Found, case: Case, peers: Mapping[str, Peer], capacities: Capacities) -> Found:
    if not one.fleet:
        return one
    scores: dict[str, float | str] = {OURS: goodput_rps(case, one.fleet, capacities, seed=SEED)}
    for name, peer in peers.items():
        told = peer.ask("score", groups=[group.as_asked for group in one.fleet], **case.question)
        scores[name] = told.refused or float(told.found)
    return Found(one.planner, one.fleet, one.refused, one.cpu_s, scores)


def table(results: Sequence[tuple[Case, Sequence[Found]]]) -> Iterator[str]:
    """A row for each case and planner; the best of a scorer's column in its case is bold."""
    scorers = (OURS, *PLANNERS)
    yield f"| case | planner | its fleet | CPU s | {' | '.join(f'by {name}' for name in scorers)} |"
    yield "|---|---|---|--:|" + "--:|" * len(scorers)
    for case, found in results:
        best = {name: max((_figure(one, name) for one in found), default=0.0) for name in scorers}
        for one in found:
            cells = " | ".join(_cell(one, name, best[name]) for name in scorers)
            yield f"| {case} | {one.planner} | {_fleet(one)} | {one.cpu_s:.2f} | {cells} |"


def _fleet(one: Found) -> str:
    return in_words(one.fleet) if one.fleet else f"none ({one.refused})"


def _figure(one: Found, scorer: str) -> float:
    score = one.scores.get(scorer, 0.0)
    return score if isinstance(score, float) else 0.0


def _cell(one: Found, scorer: str, best: float) -> str:
    score = one.scores.get(scorer)
    if not isinstance(score, float):
        return "–"
    text = f"{score:.2f}"
    return f"**{text}**" if score == best > 0 else text


def refusals(results: Sequence[tuple[Case, Sequence[Found]]]) -> Iterator[str]:
    """Why a scorer had no figure, each reason once."""
    told = {
        f"{name} of {in_words(one.fleet)}: {score}"
        for _, found in results
        for one in found
        for name, score in one.scores.items()
        if isinstance(score, str)
    }
    yield from (f"* {line}" for line in sorted(told))


def verdict(results: Sequence[tuple[Case, Sequence[Found]]], scorer: str) -> str:
    """`AIConfigurator's own scorer puts thunderctl first in 2 of 5 cases …`."""
    firsts = dict.fromkeys((OURS, *PLANNERS), 0)
    for _, found in results:
        best = max(found, key=lambda one: _figure(one, scorer))
        for one in found:
            if _figure(one, scorer) >= _figure(best, scorer) * (1 - TIE) and _figure(best, scorer) > 0:
                firsts[one.planner] += 1
    counted = ", ".join(f"{name} {count}" for name, count in firsts.items())
    return f"* scored by {scorer}, first (or within {TIE:.0%} of it) in so many of {len(results)} cases: {counted}"
