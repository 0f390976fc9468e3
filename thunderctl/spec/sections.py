"""The sections of `thunder.toml` and their keys, defaults filled in."""

import re
from datetime import time
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from planner.workload import LEAST_BURSTINESS, LEAST_MODEL_LEN, MOST_BURSTINESS
from provisioners.leases.windows import BudgetWindow, budget_at

Positive = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]

LEAST_DEADMAN_S = 300.0
"""150 of the controller's ticks, and five of the waits after which another controller takes over."""

Dtype = Literal["bfloat16", "float16", "fp8", "awq", "gptq", "int4", "mxfp4"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSection(Section):
    name: str = "qwen3-32b"
    dtype: Dtype | Literal[""] = ""
    dtypes: tuple[Dtype, ...] = ()
    revision: str = "main"
    weights: str = "hub"
    send_token: bool = False
    """Whether HF_TOKEN may go to hosts, for a gated model's download; else its addresses are signed here."""

    @field_validator("weights")
    @classmethod
    def _is_a_place(cls, weights: str) -> str:
        if weights != "hub" and not weights.startswith(("s3://", "https://", "/")):
            raise ValueError("it should be hub, s3://…, https://… or a path that every host has")
        return weights


class EngineSection(Section):
    max_model_len: Annotated[int, Field(ge=LEAST_MODEL_LEN)] = 8192
    chat_template: str = ""
    tool_parser: str = ""
    reasoning_parser: str = ""
    lora: dict[str, str] = {}
    served_name: str = ""
    extra_args: tuple[str, ...] = ()


class WorkloadSection(Section):
    preset: Literal["conversation", "coding"] = "conversation"
    trace: str = ""
    rate_rps: Positive | None = None
    burstiness: Annotated[float, Field(ge=LEAST_BURSTINESS, le=MOST_BURSTINESS)] = 1.0
    prefix_hit_share: Annotated[float, Field(ge=0, lt=1)] = 0.0


class SloSection(Section):
    ttft_s: Positive = 2.0
    tpot_s: Positive = 0.15
    attainment: Share = 0.9


class BudgetWindowSection(Section):
    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    start: time = Field(alias="from")
    end: time = Field(alias="to")
    tz: str
    usd_per_hour: NotNegative

    @field_validator("start", "end", mode="before")
    @classmethod
    def _is_a_time_of_day(cls, text: object) -> object:
        if not isinstance(text, time) and not (
            isinstance(text, str) and re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d(:00)?", text)
        ):
            raise ValueError('it should be a time of day such as "20:00"')
        return text

    @field_validator("tz")
    @classmethod
    def _is_a_time_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("it should be a time zone such as Europe/Berlin or UTC") from error
        return name

    @model_validator(mode="after")
    def _is_a_window(self) -> Self:
        _ = self.window
        return self

    @property
    def window(self) -> BudgetWindow:
        return BudgetWindow(self.start, self.end, self.tz, self.usd_per_hour)


class BudgetSection(Section):
    usd_per_hour: NotNegative = 14.0
    max_hours: Positive = 12
    max_total_usd: Positive = 150.0
    windows: tuple[BudgetWindowSection, ...] = ()

    def gate_usd_per_hour(self, planned_usd_per_hour: float, now: float) -> float:
        """The most that leases may come to at `now`: the least of what the plan was made for, the budget if one is
        stated, and what a window leaves.
        """
        usual = min(planned_usd_per_hour, self.usd_per_hour if self.is_stated else planned_usd_per_hour)
        return min(usual, budget_at(now, usual, (one.window for one in self.windows)))

    @property
    def is_stated(self) -> bool:
        """Whether somebody wrote what an hour may cost, and it is not only the default."""
        return "usd_per_hour" in self.model_fields_set


class BidsSection(Section):
    factor: Annotated[float, Field(ge=1)] = 1.2
    """Times the lowest bid that would win now."""
    most_usd_per_gpu_hour: Positive | None = None


class VastSection(Section):
    image: str = ""
    """Of the containers, where SSH's user is root; empty: NVIDIA's CUDA."""
    engine_python: str = ""
    """In that image, with vLLM; empty: it has none, and gets one."""


class AwsSection(Section):
    image: str = ""
    """An AMI's id, or the parameter that holds one; empty: AWS's Deep Learning base image."""
    user: str = "ubuntu"
    """Who logs in to that image, and may become root by sudo."""
    open_to: tuple[str, ...] = ()
    """Addresses that may reach SSH and agents, besides the fleet's; empty: this host's public one."""


class MarketsSection(Section):
    providers: tuple[Literal["vast", "aws", "runpod", "ssh", "local", "lambda"], ...] = ("vast", "aws", "runpod", "ssh")
    interruptible: Literal["allow", "only", "never"] = "allow"
    regions: tuple[str, ...] = ()
    min_reliability: Annotated[float, Field(ge=0, le=1)] = 0.95
    bids: BidsSection = BidsSection()
    vast: VastSection = VastSection()
    aws: AwsSection = AwsSection()


class SshHostSection(Section):
    address: str
    gpu: str
    gpu_count: PositiveInt
    usd_per_hour: NotNegative = 0.0
    folder: str = "/var/tmp/thunderctl"
    reach: str = ""
    """Where agents are reached, if not at the host of `address`."""
    key: str = ""
    jump: str = ""
    sudo: bool = False
    engine_python: str = ""
    """There; empty: at the same path as here."""

    @field_validator("folder")
    @classmethod
    def _is_absolute(cls, folder: str) -> str:
        if not folder.startswith("/") or not folder.strip("/"):
            raise ValueError("it should be a path from the root, such as /var/tmp/thunderctl")
        return folder


class SshSection(Section):
    hosts: dict[str, SshHostSection] = {}


class KvSection(Section):
    codec: Literal["auto", "raw", "int8", "int4"] = "auto"
    boundary_layers: Annotated[int, Field(ge=0)] = 2
    pool_mib: PositiveInt | None = None
    """None: as much as the plan's longest prompts need (`thunderctl/hosts/engines.py`)."""


class ServeSection(Section):
    listen: str = "127.0.0.1:8000"
    place: str = "local"
    """Beside the controller, or on a host of one's own, `ssh:HOST`: then `listen` and certificates are of that host."""
    tls_cert: str = ""
    tls_key: str = ""
    deadline_s: Positive = 3600
    queue_s: Positive = 30
    stop_grace_s: NotNegative = 60
    access_log: bool = True

    @field_validator("place")
    @classmethod
    def _is_local_or_a_host(cls, place: str) -> str:
        if place == "instance":
            raise ValueError("it should be local or ssh:HOST: no router runs on a leased instance in this version")
        return _local_or_over_ssh(place)

    @field_validator("listen")
    @classmethod
    def _is_host_and_port(cls, listen: str) -> str:
        return _host_and_port(listen, "127.0.0.1:8000")


class ControllerSection(Section):
    where: str = "local"
    """This machine, or one of one's own, `ssh:HOST`: a name of [ssh.hosts], or user@host:port."""
    replace_lost: bool = True
    """Whether it leases what takes the place of machines that were lost before their time, within the budget."""
    scale: Literal["off", "down-and-up"] = "off"
    """Whether machines are released for want of requests, and taken back: another start takes minutes, and what was
    given up may have been rented by others since. So it is asked for."""
    min_replicas: PositiveInt = 1
    """Scaling leaves so many."""
    scale_after_s: Positive = 1800
    """A lull is no shorter."""
    scale_cool_down_s: NotNegative = 1800
    """So long after any change of size nothing is released for want of requests."""
    rebalance: bool = True
    """Whether it changes phases and routes by itself, when what comes is no longer what was planned for."""
    assess_s: Positive = 30
    """Between two looks at that."""
    window_s: Positive = 120
    """What came within so long is what is judged by; of few requests, all that the router remembers."""
    rebalance_margin: Share = 0.03
    """Attainment that other phases and routes have to promise."""
    rebalance_cool_down_s: NotNegative = 300
    """What was changed last stands so long at least; longer where changes take each other back."""
    listen: str = "127.0.0.1:8100"
    """Where its API and web page are; empty: nowhere. Unless it is stated, any free port where that one is taken."""
    tls_cert: str = ""
    tls_key: str = ""

    @field_validator("where")
    @classmethod
    def _is_local_or_a_host(cls, where: str) -> str:
        return _local_or_over_ssh(where)

    @field_validator("listen")
    @classmethod
    def _is_nowhere_or_host_and_port(cls, listen: str) -> str:
        return listen and _host_and_port(listen, "127.0.0.1:8100")

    @field_validator("tls_cert", "tls_key")
    @classmethod
    def _is_from_the_root(cls, path: str) -> str:
        """It is read by the controller, which runs elsewhere than where the spec lies."""
        if path and not path.startswith("/"):
            raise ValueError("it should be a path from the root, such as /etc/ssl/fullchain.pem")
        return path


class LeasesSection(Section):
    settle_s: NotNegative = 90
    poll_s: Positive = 5
    ready_deadline_s: Positive = 1200
    deadman_s: Annotated[Positive, Field(validate_default=True)] = 7200

    @field_validator("deadman_s")
    @classmethod
    def _outlasts_what_is_waited_for(cls, deadman_s: float, others: ValidationInfo) -> float:
        """The first contact with a machine may come as late as the deadline, and later ones may each be missed once."""
        ready_s = others.data.get("ready_deadline_s", 0.0)
        if deadman_s <= ready_s:
            raise ValueError(
                f"it should be more than ready_deadline_s, which is {ready_s:g}: machines would end unready"
            )
        if deadman_s < LEAST_DEADMAN_S:
            raise ValueError(
                f"it should be {LEAST_DEADMAN_S:g} or more: a controller that restarts would lose the fleet"
            )
        return deadman_s


def _local_or_over_ssh(place: str) -> str:
    if place != "local" and not (place.startswith("ssh:") and len(place) > len("ssh:")):
        raise ValueError("it should be local or ssh:HOST, a host of [ssh.hosts] or user@host:port")
    return place


def _host_and_port(listen: str, such_as: str) -> str:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) < 65536:
        raise ValueError(f"it should be HOST:PORT, such as {such_as}")
    return listen
