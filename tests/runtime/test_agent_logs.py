"""What a person is shown of an engine's log."""

from pathlib import Path

from runtime.agent.logs import TAIL_BYTES, tail, why_it_died

VLLM_LOG = """\
(APIServer pid=1) INFO 11-21 10:19:02 [api_utils.py:347]   █▄█▀ █     █     █     █  model   /models/tiny
(APIServer pid=1) INFO 11-21 10:19:13 [launcher.py:195] Route: /metrics, Methods: GET
(EngineCore pid=2) ERROR 11-21 10:19:14 [core.py:9] Traceback (most recent call last):
(EngineCore pid=2) ERROR 11-21 10:19:14 [core.py:9]   File "cpu_worker.py", line 220, in determine_available_memory
(EngineCore pid=2) ERROR 11-21 10:19:14 [core.py:9] ValueError: Available memory on node 0 is less than requested
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
nanobind: leaked 4 instances!
 - leaked instance 0x7feb4024cc08 of type "triton._C.libtriton.ir.attribute"
"""


def test_the_cause_comes_before_its_wrappers_and_noise_is_left_out():
    said = why_it_died(VLLM_LOG.splitlines()).splitlines()
    assert said[0] == "ValueError: Available memory on node 0 is less than requested"
    assert said[-1] == "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
    assert not any("nanobind" in line or "Route:" in line or "█" in line for line in said)


def test_what_pydantic_says_below_its_exception_is_part_of_it():
    lines = [
        "(APIServer pid=1) pydantic_core.ValidationError: 1 validation error for ModelConfig",
        "(APIServer pid=1)   Value error, User-specified max_model_len (1048576) is greater than 4096.",
        "(APIServer pid=1)     For further information visit https://errors.pydantic.dev",
        "(APIServer pid=1)   more",
    ]
    assert "max_model_len (1048576) is greater than 4096" in why_it_died(lines).splitlines()[0]


def test_a_wrapper_is_better_than_nothing():
    assert why_it_died(["RuntimeError: Engine core initialization failed."]).startswith("RuntimeError: Engine core")


def test_a_log_without_an_exception_shows_its_end():
    assert why_it_died(["one", "two"]) == "one\ntwo"
    assert why_it_died([]) == ""


def test_the_end_of_a_log(tmp_path: Path):
    log = tmp_path / "r0.log"
    log.write_text("an earlier run\n" + "".join(f"line {number}\n" for number in range(9)))
    assert tail(log, 2) == ["line 7", "line 8"]
    assert tail(log, 99, start=len("an earlier run\n"))[0] == "line 0"
    assert tail(log, 0) == []
    assert tail(tmp_path / "none.log", 5) == []


def test_the_end_of_a_log_goes_on_in_what_was_moved_aside(tmp_path: Path):
    log, kept = tmp_path / "r0.log", tmp_path / "r0.log.1"
    kept.write_text("an earlier run\nline 0\nline 1, of wh")
    log.write_text("ich a part was cut off\nline 2\n")
    lines = ["line 0", "line 1, of which a part was cut off", "line 2"]
    assert tail(log, 9, start=-len("line 0\nline 1, of wh")) == lines
    assert tail(log, 9) == ["an earlier run", *lines]
    assert tail(log, 9, start=10**6) == ["an earlier run", *lines]  # an offset from before the cut
    assert tail(log, 9, start=log.stat().st_size) == []
    log.write_text("x" * TAIL_BYTES)
    assert len(tail(log, 9)[0]) == TAIL_BYTES
