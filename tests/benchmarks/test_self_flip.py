"""Real engines, and a workload that shifts: the controller flips phases by itself, and no client gets an error."""

import pytest

from benchmarks.self_flip import live, recovered_s
from benchmarks.self_flip_setting import RECOVERS

pytestmark = [pytest.mark.engine, pytest.mark.soak, pytest.mark.timeout(1200)]
BEFORE_S = 30.0


def test_a_workload_that_shifts_flips_a_phase_and_nobody_gets_an_error(tmp_path, capsys):
    lived = live(tmp_path, calibrated=True, before_s=BEFORE_S, after_s=90.0)
    assert not lived.tally.causes
    assert lived.seen.flipped_s is not None
    assert lived.seen.flipped_s > BEFORE_S, "what was planned for is no reason"
    assert len(lived.seen.identities) == 1, "no engine was restarted"
    assert any("prefill → " in one for one in lived.events)
    back = recovered_s(lived.tally, lived.seen.flipped_s, RECOVERS)
    with capsys.disabled():
        flip_s, back_s = lived.seen.flipped_s - BEFORE_S, (back or 0.0) - BEFORE_S
        print(f"\nflipped {flip_s:.1f} s after the switch, recovered {back_s:.1f} s after it")
