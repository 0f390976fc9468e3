"""What no command mends, said in words: a machine that is not what was offered, or that engines can't run on."""

from planner.errors import HostError, HostLied, HostUnfit
from planner.requirements import CUDA_VERSION, DRIVER_VERSION
from provisioners.hosts.cards import NO_GPU, cards_for_engines, type_of, why_not_offered
from provisioners.hosts.facts import Facts
from provisioners.hosts.wanted import CUDA, HostSpec, Upload

LEAST_GLIBC = (2, 31)
"""Of manylinux_2_31: llguidance's wheel, which vLLM takes, is built so; all others of the lock run on older ones."""
ARCHITECTURE = "x86_64"
COMPILERS = frozenset({"clang", "gcc"})
SPARE_DISK_GB = 1.0
"""For logs, our code and the compiled kernels that vLLM keeps."""


def check_host(facts: Facts, wanted: HostSpec) -> None:
    """Raise HostLied for other GPUs than were offered, HostUnfit for another lack, HostError for what people mend."""
    if wanted.gpus.name != NO_GPU:
        _check_gpus(facts, wanted)
        _check_driver(facts, wanted)
    _check_environment(facts, wanted)
    _check_model(facts, wanted)
    _check_disk(facts, wanted)
    if wanted.port in facts.listening and not (facts.agent or facts.agent_starts):
        raise HostUnfit(f"Port {wanted.port}, where the agent shall listen, is another process's.")


def _check_gpus(facts: Facts, wanted: HostSpec) -> None:
    offered = f"{wanted.gpus.count} x {wanted.gpus.name}"
    if not facts.gpus:
        found = "lists none" if "nvidia-smi" in facts.tools else "is not there"
        raise HostUnfit(f"No GPU is visible: nvidia-smi {found}; {offered} was offered.")
    if len(facts.gpus) < wanted.gpus.count:
        raise HostLied(f"nvidia-smi lists {len(facts.gpus)} GPUs; {offered} was offered.")
    if len(cards_for_engines(facts.gpus, wanted.gpus)) < wanted.gpus.count:
        problem = next(filter(None, (why_not_offered(gpu, wanted.gpus) for gpu in facts.gpus)))
        kind = HostLied if any(type_of(gpu) for gpu in facts.gpus) else HostUnfit  # which of us does not know is open
        raise kind(f"{problem}; {offered} was offered.")


def _check_driver(facts: Facts, wanted: HostSpec) -> None:
    """An interpreter that the host came with was made for its driver; ours is made for one CUDA."""
    if wanted.environment.device != CUDA or wanted.environment.suits(facts.given):
        return
    if 0 < (cuda := _number(facts.cuda)) < CUDA_VERSION:
        raise HostUnfit(f"Its driver {facts.driver} serves CUDA {facts.cuda}; vLLM's wheels need {CUDA_VERSION}.")
    if not cuda and 0 < _number(facts.driver) < DRIVER_VERSION:
        raise HostUnfit(f"Its driver is {facts.driver}; CUDA {CUDA_VERSION} needs {DRIVER_VERSION:.0f} or newer.")


def _check_environment(facts: Facts, wanted: HostSpec) -> None:
    environment = wanted.environment
    if environment.suits(facts.given) or environment.suits(facts.made):
        return
    if not environment.lock:
        raise _no_engine(facts, wanted)
    if facts.arch != ARCHITECTURE:
        raise HostUnfit(f"It is a {facts.arch or 'nameless'} machine; vLLM's wheels are for {ARCHITECTURE}.")
    if facts.glibc and _version(facts.glibc) < LEAST_GLIBC:
        least = ".".join(map(str, LEAST_GLIBC))
        raise HostUnfit(f"It is {facts.os} with glibc {facts.glibc}; vLLM's wheels need {least} or newer.")
    if environment.device == CUDA and not COMPILERS & set(facts.tools):
        raise HostUnfit(
            f"It has no C compiler ({' or '.join(sorted(COMPILERS))}), by which Triton builds vLLM's kernels."
        )


def _no_engine(facts: Facts, wanted: HostSpec) -> HostError:
    python, found = wanted.environment.given, facts.given
    if not found.python:
        return HostError(
            f"The engine's interpreter {python} does not work there: {found.problem or 'it is not there'}.",
            hint="Make it (here: make setup), or name it in THUNDER_ENGINE_PYTHON.",
        )
    has = f"vLLM {found.vllm}; expected {wanted.environment.vllm}" if found.vllm else "no vLLM"
    return HostError(f"{python} has {has}.", hint="Install requirements/engine.txt there.")


def _check_model(facts: Facts, wanted: HostSpec) -> None:
    model = wanted.model
    if not model.wanted or model.source or model.is_at_path(facts):
        return
    if not facts.model:
        raise HostError(f"The instance has no model at {model.path}; expected a folder with config.json.")
    raise HostError(f"The files of the model at {model.path} are not those expected, by name and size.")


def _check_disk(facts: Facts, wanted: HostSpec) -> None:
    """Counts what is still to come: of what was begun, its part lies on the disk already."""
    environment, weights = _disk_needs_gb(facts, wanted)
    if not (need := environment + weights):
        return
    free = facts.disk_free_gb + facts.begun_gb
    if free < need + SPARE_DISK_GB:
        raise HostUnfit(
            f"Its disk has {free:.0f} GB for us; the engine's environment takes {environment:.0f}, "
            f"the model {weights:.0f}, and {SPARE_DISK_GB:.0f} should stay free."
        )


def _disk_needs_gb(facts: Facts, wanted: HostSpec) -> tuple[float, float]:
    """Of environment and model, 0 where it is there."""
    makes = not (wanted.environment.suits(facts.given) or wanted.environment.suits(facts.made))
    fetches = wanted.model.source is not None and not facts.weights and not wanted.model.is_at_path(facts)
    uploaded_gb = sum(facts.uploaded.values()) / 1e9 if isinstance(wanted.model.source, Upload) else 0.0
    model_gb = max(0.0, wanted.model.disk_gb - uploaded_gb) if fetches else 0.0
    return (wanted.environment.disk_gb if makes else 0.0, model_gb)


def _number(text: str) -> float:
    """Major and minor of a version such as 575.57.08; 0 where there is none."""
    parts = _version(text)
    return float(".".join(map(str, parts[:2]))) if parts else 0.0


def _version(text: str) -> tuple[int, ...]:
    parts = text.split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()
