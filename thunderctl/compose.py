"""The provisioner of each provider, made for a spec: the one place where they meet. What is not used is not loaded."""

from typing import TYPE_CHECKING, Any

from planner.errors import ProvisioningError, SpecError

if TYPE_CHECKING:
    from provisioners.base import Provisioner
    from thunderctl.spec.spec import Spec

STOP_GRACE_S = 45.0
"""How long a local machine may take to stop by itself: more than its agent gives its engines (AgentConfig)."""


def provisioner(provider: str, spec: "Spec | None" = None) -> "Provisioner":
    """The provisioner of a provider; `spec` says which hosts are the user's. ProvisioningError where there is none."""
    if provider == "local":
        from provisioners.local.provisioner import LocalProvisioner
        from thunderctl.home import local_folder

        return LocalProvisioner(local_folder(), grace_s=STOP_GRACE_S, **_measured_here())
    if provider == "ssh":
        from thunderctl.markets.own_hosts import ssh_provisioner

        return ssh_provisioner(spec)
    if provider == "vast":
        from thunderctl.markets.vast import vast_provisioner

        return vast_provisioner(spec)
    if provider == "runpod":
        from thunderctl.markets.runpod import runpod_provisioner

        return runpod_provisioner(spec)
    if provider == "aws":
        from thunderctl.markets.aws import aws_provisioner

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
        from thunderctl.markets.vast import check_account

        check_account()
    if provider == "runpod":
        from thunderctl.markets import runpod

        runpod.check_account()
    if provider == "aws":
        from thunderctl.markets import aws

        aws.check_account()


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
