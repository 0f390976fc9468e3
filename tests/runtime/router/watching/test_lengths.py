"""What arrives is known while the longest answers of it go on: as long as they are, however few have ended."""

from pathlib import Path
from statistics import correlation, fmean

import pytest

from planner.traces import trace_from_csv
from runtime.router.watching.lengths import FEWEST_ENDED, Answer, expected_lengths, points
from tests.runtime.router.watching.crowd import Crowd

ROOT = Path(__file__).parents[4]
TRACE = trace_from_csv((ROOT / "examples/writing.csv").read_text(), "writing")
WRITING = tuple(zip(TRACE.prompt_tokens.tolist(), TRACE.output_tokens.tolist(), strict=True))
WINDOW_S = 120.0
QUICK, SLOW = 900.0, 220.0
"""Tokens/s of all answers together, where 2 requests/s of the trace bring about 656."""
CASES = [*((SLOW, seconds) for seconds in (90.0, 180.0, 300.0)), *((450.0, seconds) for seconds in (90.0, 300.0))]


def means(seen: dict) -> tuple[float, float]:
    return seen["prompt_tokens_mean"], seen["output_tokens_mean"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("tokens_per_s", "seconds"), CASES)
def test_under_overload_lengths_are_near_those_that_arrive(tokens_per_s: float, seconds: float, seed: int):
    crowd = Crowd(WRITING, 2.0, tokens_per_s, seed=seed)
    prompt, output = means(crowd.watched(seconds).summary(WINDOW_S))
    true_prompt, true_output = crowd.truth(WINDOW_S)
    assert prompt == pytest.approx(true_prompt, rel=0.02)
    assert output == pytest.approx(true_output, rel=0.22)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("tokens_per_s", "seconds"), CASES)
def test_without_streams_they_are_no_shorter_than_what_ended_and_no_longer_than_what_arrives(
    tokens_per_s: float, seconds: float, seed: int
):
    crowd = Crowd(WRITING, 2.0, tokens_per_s, seed=seed, streamed=False)
    _, output = means(crowd.watched(seconds).summary(WINDOW_S))
    _, true_output = crowd.truth(WINDOW_S)
    since = seconds - WINDOW_S
    ended = fmean(one.output for one in crowd.asked if one.record.outcome == "ok" and one.record.ended_at >= since)
    assert 0.97 * ended < output < 1.1 * true_output


@pytest.mark.parametrize("seed", range(3))
def test_those_that_ended_alone_are_far_from_it(seed: int):
    """The world of these tests is one in which it matters."""
    crowd = Crowd(WRITING, 2.0, SLOW, seed=seed)
    crowd.watched(180.0)
    ended = [one for one in crowd.asked if one.record.outcome == "ok"]
    assert fmean(one.output for one in ended) < 0.8 * crowd.truth(180.0)[1]


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_in_a_steady_state_lengths_are_what_those_that_ended_say(seed: int, *, streamed: bool):
    crowd = Crowd(WRITING, 2.0, QUICK, seed=seed, streamed=streamed)
    seen = crowd.watched(600.0).summary()
    ended = [one for one in crowd.asked if one.record.outcome == "ok" and one.record.ended_at >= 300.0]
    assert means(seen) == pytest.approx(
        (fmean(one.prompt for one in ended), fmean(one.output for one in ended)), rel=0.03
    )
    assert len(seen["lengths"]) == pytest.approx(len(ended), rel=0.1)


def test_answers_that_last_longer_than_the_window_do_not_count_too_much():
    pairs = ((100, 20), (100, 2000))  # 1 s, and 80 s in a window of 60 s
    seen = Crowd(pairs, 4.0, 1e6).watched(300.0).summary(60.0)
    assert seen["output_tokens_mean"] == pytest.approx(1010, rel=0.15)


def test_prompt_and_output_stay_correlated():
    pairs = tuple((100 + output, output) for _, output in WRITING)
    seen = Crowd(pairs, 2.0, 450.0).watched(300.0).summary(WINDOW_S)
    prompts, outputs = zip(*seen["lengths"], strict=True)
    assert correlation(prompts, outputs) > 0.8


def test_of_what_ended_alone_all_is_as_it_was():
    answers = [Answer(prompt, 2 * prompt, arrived=prompt % 2 == 0) for prompt in range(1, 31)]
    assert expected_lengths(answers) == [(prompt, 2 * prompt) for prompt in range(1, 31)]


def test_of_few_that_ended_nothing_is_said_of_the_others():
    ended = [Answer(10, 5)] * (FEWEST_ENDED - 1)
    assert expected_lengths([*ended, *[Answer(10, 50, ended=False)] * 90]) == [(10, 5)] * (FEWEST_ENDED - 1)
    assert len(expected_lengths([*ended, Answer(10, 5), *[Answer(10, 50, ended=False)] * 90])) == FEWEST_ENDED + 90


def test_the_weights_are_kaplan_and_meiers():
    """Of 6, 6, 6, 7, 10 and 6+, 9+, 10+, 11+ (+: goes on), as product limits have them by hand."""
    ended = [Answer(1, output) for output in (6, 6, 6, 7, 10)]
    going = [Answer(1, output, ended=False) for output in (6, 9, 10, 11)]
    after_6, after_7 = 1 - 3 / 9, (1 - 3 / 9) * (1 - 1 / 5)
    found = [(one.output, one.weight) for one in points([*ended, *going])]
    last = pytest.approx(after_7 / 3)  # the third that ends here, and what is left for the two that go on
    assert found == [
        *[(6, pytest.approx(1 / 9))] * 3,
        (7, pytest.approx(after_6 / 5)),
        (10, last),
        (10, last),
        (11, last),
    ]


def test_the_weights_of_all_are_one():
    answers = [Answer(9, 3 + n % 17, before=n % 3, ended=n % 4 != 0) for n in range(200)]
    assert sum(one.weight for one in points(answers)) == pytest.approx(1.0)


def test_one_that_nobody_was_beside_does_not_speak_for_all():
    """The others had more as the window began."""
    others = [Answer(10, 300 + n, before=100) for n in range(20)]
    assert points([Answer(10, 5), *others])[0].weight == pytest.approx(0.5)
