"""The flags that change a spec, laid over it: one command's answer to what the file says."""

from pathlib import Path
from typing import TYPE_CHECKING

from planner.errors import SpecError

if TYPE_CHECKING:
    from thunderctl.spec.spec import Spec


def with_flags(
    spec: "Spec",
    *,
    budget: float | None = None,
    model: str | None = None,
    dtypes: list[str] | None = None,
    workload: str | None = None,
    rate: float | None = None,
    slo_ttft: float | None = None,
    slo_tpot: float | None = None,
    provider: list[str] | None = None,
) -> "Spec":
    """The spec with a command's flags over it, checked like the file itself."""
    from thunderctl.spec.spec import override_spec

    flags: dict[str, dict[str, dict[str, object]]] = {
        "--budget": {"budget": {"usd_per_hour": budget}},
        "--model": {"model": {"name": model}},
        "--dtypes": {"model": {"dtypes": dtypes}},
        "--workload": {"workload": _workload_keys(workload)},
        "--rate": {"workload": {"rate_rps": rate}},
        "--slo-ttft": {"slo": {"ttft_s": slo_ttft}},
        "--slo-tpot": {"slo": {"tpot_s": slo_tpot}},
        "--provider": {"markets": {"providers": provider}},
    }
    return override_spec(spec, flags)


def _workload_keys(workload: str | None) -> dict[str, object]:
    if workload is None or workload in ("coding", "conversation"):
        return {"preset": workload, "trace": None if workload is None else ""}
    if not Path(workload).is_file():
        raise SpecError(f"--workload is {workload!r}; expected coding, conversation, or a CSV file that is there.")
    return {"trace": workload}
