"""What is taken for what comes: as stated, and where that can't be read, as the plan knows it."""

from dataclasses import replace

import pytest

from tests.planner.plans import split_plan
from thunderctl.demand import planned_workload, stated_workload
from thunderctl.spec.spec import parse_spec

PLAN = split_plan()


def test_where_the_trace_is_gone_the_plans_means_are_taken_and_it_is_said(tmp_path):
    spec = parse_spec(f'[workload]\ntrace = "{tmp_path}/gone.csv"')
    found, why = stated_workload(spec, PLAN)
    assert found == planned_workload(PLAN)
    assert why.startswith(f"{tmp_path}/gone.csv can't be read: No such file")
    (tmp_path / "gone.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,10,5\n2,30,5\n")
    found, why = stated_workload(spec, PLAN)
    assert (found.prompt_tokens_mean, why) == (20, "")


def test_a_trace_that_was_spoilt_is_no_better(tmp_path):
    (tmp_path / "spoilt.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,many,5\n")
    _, why = stated_workload(parse_spec(f'[workload]\ntrace = "{tmp_path}/spoilt.csv"'), PLAN)
    assert "line 2" in why


@pytest.mark.parametrize(("prompts", "outputs"), [(900.0, 40.0), (3.0, 2000.0)])
def test_what_a_plan_was_made_for_has_its_means_rate_and_stream(prompts, outputs):
    means = {"prompt_tokens_mean": prompts, "output_tokens_mean": outputs}
    planned = replace(PLAN.workload, name="/x/mine.csv", burstiness=0.5, prefix_hit_share=0.25, **means)
    found = planned_workload(replace(PLAN, workload=planned))
    assert found.prompt_tokens_mean == pytest.approx(prompts, rel=0.3 if prompts < 10 else 0.01)
    assert found.output_tokens_mean == pytest.approx(outputs, rel=0.02)
    assert (found.name, found.rate_rps) == ("/x/mine.csv", planned.rate_rps)
    assert (found.burstiness, found.prefix_hit_share) == (0.5, 0.25)
