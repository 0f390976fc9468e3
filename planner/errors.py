"""Every error a user can be shown, and the exit code it ends the command with.

* ThunderError                       1
  x SpecError                        2  the input is wrong: correct it and run again
  x Infeasible                       3  no plan meets the targets: relax one of them
  x Refused                          4  would exceed the budget or a limit, or was not confirmed
    + PriceMoved                        an offer got dearer than the plan counted on: take another
  x Incomplete                       5  some machines are not in the wanted state yet: run again
  x SolverFailed                     1  a feasible problem was not solved: a bug, report it
  x ProvisioningError                1  a provider said no
    + NoCapacity                        try the next offer
    + RateLimited                       try the same call later
    + AuthError                         fix the credentials; trying again will not help
    + OutcomeUnknown                    never repeat it: resolve by listing
  x HostError                        1  a command on an instance failed
    + HostUnfit                         no command mends this machine: release it, take another
      - HostLied                          it is not what was offered
      - HostSilent                        it gave no answer in time; one that has served before may serve on
  x ReplicaUnhealthy                 1  an engine did not become ready
  x KvTransferError                  1  KV could not be moved: the decode engine recomputes
"""

from typing import ClassVar


class ThunderError(Exception):
    """Something a user must be told: what was found, what was expected, and what mends it."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def kind(self) -> str:
        """The name printed as `error.kind` with `--json`."""
        return type(self).__name__

    @property
    def first_line(self) -> str:
        """The message without the log that it may end with."""
        return self.message.partition("\n")[0]


class SpecError(ThunderError):
    exit_code = 2


class Infeasible(ThunderError):
    exit_code = 3


class Refused(ThunderError):
    exit_code = 4


class PriceMoved(Refused):
    pass


class Incomplete(ThunderError):
    exit_code = 5


class SolverFailed(ThunderError):
    pass


class ProvisioningError(ThunderError):
    pass


class NoCapacity(ProvisioningError):
    pass


class RateLimited(ProvisioningError):
    pass


class AuthError(ProvisioningError):
    pass


class OutcomeUnknown(ProvisioningError):
    pass


class HostError(ThunderError):
    pass


class HostUnfit(HostError):
    pass


class HostLied(HostUnfit):
    pass


class HostSilent(HostUnfit):
    pass


class ReplicaUnhealthy(ThunderError):
    pass


class KvTransferError(ThunderError):
    pass
