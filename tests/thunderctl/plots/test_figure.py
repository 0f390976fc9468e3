"""What the picture shows, read back from the figure: panels, words, lines at the right values."""

import numpy as np
import pytest
from matplotlib.text import Text

from planner.deployment import Phase
from planner.replay import Mark
from planner.workload import Slo
from thunderctl.plots.figure import Caption, figure_of
from thunderctl.plots.panels import clock_to

TTFT, TPOT, ATTAINMENT, ARRIVALS, USE = range(5)
MIXED = (Phase.MIXED,)


def drawn(run, plan, slo=None):
    return figure_of(run, slo or Slo(), Caption(plan, "conversation", 3.0, 7))


def laid_out(run, plan):
    """With everything in its final place."""
    figure = drawn(run, plan)
    figure.draw_without_rendering()
    return figure


def vertical_lines(axes):
    """Where lines go from the bottom to the top of a panel."""
    return {float(line.get_xdata()[0]) for line in axes.lines if list(line.get_ydata()) == [0, 1]}


def curve(axes):
    line = max(axes.lines, key=lambda line: line.get_linewidth())
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def words(figure):
    """All text that is drawn in any panel, and the title."""
    inside = [text.get_text() for axes in figure.axes for text in axes.texts]
    return [figure.get_suptitle(), *inside, *(axes.get_title(loc="left") for axes in figure.axes)]


def test_the_panels_say_what_they_show(played, plan):
    axes = drawn(played, plan).axes
    assert [one.get_xlabel() for one in (axes[TTFT], axes[TPOT])] == ["TTFT (s)", "TPOT (s)"]
    assert axes[ATTAINMENT].get_title(loc="left") == "SLO attainment, by time of arrival"
    assert axes[ARRIVALS].get_ylabel() == "arrivals/s"
    assert axes[USE].get_title(loc="left").startswith("Use of each replica")
    assert axes[USE].get_xlabel() == "time in the run (s)"


def test_the_title_says_that_it_is_simulated_and_what_was(played, plan):
    title = drawn(played, plan).get_suptitle()
    for said in ("Simulated", "abc123", "llama-3.1-8b on 3 replicas (1 prefill, 1 decode, 1 mixed)", "uncalibrated"):
        assert said in title
    assert f"conversation at 3 requests/s, seed 7: {played.measures.requests} requests" in title
    assert f"SLO attainment {played.measures.slo_attainment:.1%} (target 90%)" in title


def test_slo_lines_stand_at_the_targets(played, plan):
    slo = Slo(ttft_s=0.7, tpot_s=0.04, attainment=0.75)
    axes = drawn(played, plan, slo).axes
    assert vertical_lines(axes[TTFT]) == {0.7}
    assert vertical_lines(axes[TPOT]) == {0.04}
    target = [line for line in axes[ATTAINMENT].lines if line.get_label() == "target 75%"]
    assert [list(line.get_ydata()) for line in target] == [[0.75, 0.75]]
    for panel in (axes[TTFT], axes[TPOT]):
        low, high = panel.get_xlim()
        assert low < next(iter(vertical_lines(panel))) < high


def test_the_curves_are_the_distributions(made, plan):
    run = made([0.2, 0.4, 0.8, 4.0], [0.1, 0.1, 0.1, 0.2], busy_s=((1.0, 1.0, 1.0, 1.0),))
    axes = drawn(run, plan).axes
    x, share = curve(axes[TTFT])
    assert x[:-1] == pytest.approx([0.2, 0.2, 0.4, 0.8, 4.0])
    assert share.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert "TTFT: 75.0% within the SLO of 2 s" in axes[TTFT].get_title(loc="left")
    assert "TPOT: 75.0% within the SLO of 0.15 s" in axes[TPOT].get_title(loc="left")


def test_lost_requests_keep_the_curves_below_the_top(made, plan):
    run = made([0.2, np.inf], [0.1, 0.1])
    axes = drawn(run, plan).axes
    assert curve(axes[TTFT])[1].max() == curve(axes[TPOT])[1].max() == 0.5
    assert "2 requests, 1 lost" in drawn(run, plan).get_suptitle()


def test_a_run_in_which_nothing_ended_is_drawn_too(made, plan):
    axes = drawn(made([np.inf], [0.1]), plan).axes
    assert "0.0% within the SLO of 2 s\nnone ended" in axes[TTFT].get_title(loc="left")


def test_a_run_without_requests_says_so(made, plan):
    figure = drawn(made([], []), plan)
    assert figure.axes == []
    assert figure.texts[-1].get_text() == "no request was simulated"


def test_prefill_replicas_show_how_much_they_compute_and_the_others_how_full_their_kv_is(made, plan):
    run = made(
        [0.1],
        [0.1],
        busy_s=((2.0, 2.0), (1.0, 0.0), (2.0, 2.0)),
        kv_held=((10.0, 0.0), (90.0, 90.0), (25.0, 75.0)),
        phases=(Phase.DECODE, Phase.PREFILL, Phase.MIXED),
        bucket_s=2.0,
    )
    axes = drawn(run, plan).axes[USE]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["prefill r1", "mixed r2", "decode r0"]
    computing, holding = (np.ma.filled(part.get_array(), np.nan) for part in axes.collections)
    assert computing[0].tolist() == [0.5, 0.0]
    assert holding[1:].tolist() == [[0.25, 0.75], [0.1, 0.0]]
    assert np.isnan(computing[1:]).all()
    assert np.isnan(holding[0]).all()
    means = axes.child_axes[0]
    assert [label.get_text() for label in means.get_yticklabels()] == [
        "25% computing",
        "50% KV, 100% computing",
        "5% KV, 100% computing",
    ]


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        ((Phase.MIXED, Phase.DECODE), ["KV held 25%", "50%", "100%"]),
        ((Phase.PREFILL, Phase.DECODE), ["computes 25%", "50%", "100%", "KV held 25%", "50%", "100%"]),
    ],
)
def test_the_legend_says_what_is_shaded(made, plan, phases, said):
    legend = drawn(made([0.1], [0.1], busy_s=((1.0,), (1.0,)), phases=phases), plan).axes[USE].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == said


def test_many_replicas_are_named_by_phase_on_a_page_that_stays_a_page(made, plan):
    phases = (Phase.PREFILL,) * 30 + (Phase.DECODE,) * 70
    figure = drawn(made([0.1], [0.1], busy_s=np.full((100, 3), 0.5), phases=phases), plan)
    labels = figure.axes[USE].get_yticklabels()
    assert [label.get_text() for label in labels] == ["30 prefill", "70 decode"]
    assert figure.get_size_inches()[1] < 20


def test_failures_and_epochs_are_lines_through_all_panels_over_time(made, plan):
    marks = (Mark(1.0, "r0 fails"), Mark(1.1, "epoch 2"), Mark(3.5, "epoch 3"))
    figure = drawn(made([0.1] * 4, [0.1] * 4, busy_s=((1.0,) * 4,), marks=marks), plan)
    for panel in (ATTAINMENT, ARRIVALS, USE):
        assert vertical_lines(figure.axes[panel]) == {1.0, 1.1, 3.5}
    assert {"r0 fails", "epoch 2", "epoch 3"} <= set(words(figure))


def test_names_of_marks_do_not_lie_on_each_other(made, plan):
    marks = tuple(Mark(2 + i / 50, f"epoch {i}") for i in range(9))
    figure = laid_out(made([0.1] * 4, [0.1] * 4, busy_s=((1.0,) * 4,), marks=marks), plan)
    boxes = [text.get_window_extent() for text in figure.axes[ARRIVALS].texts]
    assert len(boxes) == 3
    assert figure.axes[USE].get_xlabel() == "time in the run (s) · and 6 events more, unnamed"
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


@pytest.mark.parametrize("late_s", [4.1, 500.0, 1e9])
def test_what_happens_after_the_end_is_told_and_not_drawn(made, plan, late_s):
    marks = (Mark(1.0, "r0 fails"), Mark(late_s, "epoch 2"))
    figure = laid_out(made([0.1] * 4, [0.1] * 4, busy_s=((1.0,) * 4,), marks=marks), plan)
    assert "epoch 2" not in words(figure)
    assert figure.axes[USE].get_xlabel() == "time in the run (s) · 1 event after the end not shown"
    for panel in (ATTAINMENT, ARRIVALS, USE):
        assert vertical_lines(figure.axes[panel]) == {1.0}


@pytest.mark.parametrize(
    ("end_s", "unit", "end"), [(90.0, "s", 90.0), (600.0, "min", 10.0), (3600.0, "min", 60.0), (72_000.0, "h", 20.0)]
)
def test_time_is_in_the_unit_that_reads_best(end_s, unit, end):
    clock = clock_to(end_s)
    assert (clock.unit, float(clock.of(end_s))) == (unit, end)


def test_the_time_axis_goes_to_the_end_of_the_run(made, plan):
    axes = drawn(made([0.1], [0.1], bucket_s=3600.0), plan).axes[USE]
    assert axes.get_xlabel() == "time in the run (min)"
    assert axes.get_xlim() == (0.0, 60.0)


def test_legends_stand_outside_the_data(played, plan):
    figure = laid_out(played, plan)
    for panel in (ATTAINMENT, USE):
        axes = figure.axes[panel]
        legend = axes.get_legend().get_window_extent()
        assert legend.y0 >= axes.get_window_extent().y1 - 1
        title = next(text for text in axes.findobj(Text) if text.get_text() == axes.get_title(loc="left"))
        assert not legend.overlaps(title.get_window_extent())


def test_what_a_user_set_for_other_pictures_changes_nothing(made, plan):
    import matplotlib

    run = made([0.1], [0.1])
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30}):
        axes = drawn(run, plan).axes[TTFT]
        assert axes.get_facecolor() == (1.0, 1.0, 1.0, 1.0)
        assert axes.xaxis.label.get_fontsize() == 9
        assert matplotlib.rcParams["font.size"] == 30
