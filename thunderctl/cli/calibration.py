"""`thunderctl doctor --calibrate`: measure this host's CPU engines, show how well the cost model fits, remember it."""

from statistics import mean
from typing import TYPE_CHECKING

from thunderctl.cli import output

if TYPE_CHECKING:
    from planner.costmodel.calibrate import Row
    from thunderctl.calibration.record import CalibrationRecord


def run_calibration(*, as_json: bool) -> None:
    """Progress goes to stderr. Interrupted, it takes down what it brought up and leaves the earlier calibration."""
    from thunderctl.calibration.calibrate import calibrate
    from thunderctl.calibration.record import save
    from thunderctl.cli.progress import step_lines

    with step_lines() as (report, narrate):
        record = calibrate(report=report, narrate=narrate, say=lambda text: output.narrate(f"  measuring {text}"))
    path = save(record)
    if as_json:
        output.print_json(record.to_json())
    else:
        _show(record)
    output.narrate(f"Wrote {path}. Plans with this host's CPU use it from now on, and say that they are calibrated.")


def _show(record: "CalibrationRecord") -> None:
    pairs = list(zip(record.rows, record.fitted_s, strict=True))
    rows = [
        (_what(row), f"{row.seconds * 1e3:.1f}", f"{fitted * 1e3:.1f}", f"{fitted / row.seconds - 1:+.1%}")
        for row, fitted in pairs
    ]
    error = mean(abs(fitted / row.seconds - 1) for row, fitted in pairs)
    title = f"Measured on {record.machine.cores} cores of {record.machine.cpu} ({record.vllm}, {record.model})"
    columns = ("", "measured ms", "fitted ms", "error")
    output.show(output.table(f"{title}: mean error {error:.1%}", columns, rows, right=columns[1:]))
    gpu, handover = record.gpu, record.handover
    found = [
        ("gemm_share", f"{gpu.gemm_share:.3g}", "of the rated FLOP/s, by matrix products"),
        ("attention_factor", f"{gpu.attention_factor:.3g}", "times what attention reaches of that on GPUs"),
        ("read_share", f"{gpu.read_share:.3g}", "of the rated memory bandwidth, by weights and KV"),
        ("step_s", f"{gpu.step_s:.3g}", "a pass costs at least"),
        ("sequence_s", f"{gpu.sequence_s:.3g}", "more for each sequence in it"),
        ("prompt_s", f"{gpu.prompt_s:.3g}", "more where it carries a prompt"),
        ("host_share", f"{gpu.host_share:.3g}", "of this host's cores, by one busy engine"),
        ("stream_s", f"{gpu.stream_s:.3g}", "of all of this host, to send a token"),
    ]
    if handover:
        found += [
            ("handover_ms", f"{handover.handover_ms:.3g}", "a KV transfer takes beside its bytes"),
            ("bandwidth_gbit_per_s", f"{handover.bandwidth_gbit_per_s:.3g}", "of KV between two engines here"),
            ("codec_gb_per_s", f"{handover.codec_gb_per_s:.3g}", "of KV packed, or unpacked"),
        ]
    output.show(output.table("Coefficients", ("", "", "meaning"), found))
    kv = f"{record.kv_reported_tokens:,} tokens of KV by the engine, {record.kv_planned_tokens:,} by the plan"
    output.narrate(f"{kv}; load average {record.load_before:g} before.")


def _what(row: "Row") -> str:
    if row.is_transfer:
        return f"KV transfer of {row.prompt_tokens:,} tokens, {row.codec}: added to TTFT"
    what = f"prompt of {row.prompt_tokens:,} tokens: TTFT"
    if row.batch:
        what = f"{row.batch} sequences over {row.context_tokens:,} tokens: TPOT"
    return what if row.engines == 1 else f"{what}, {row.engines} engines at once"
