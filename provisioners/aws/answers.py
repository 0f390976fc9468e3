"""What an error of AWS means: which of our errors it is, and what mends it. Codes decide; statuses only where none do.

EC2 answers some refusals with 5xx (no capacity, too many requests), so a status alone tells little.
"""

from dataclasses import dataclass

from planner.errors import AuthError, NoCapacity, OutcomeUnknown, ProvisioningError, RateLimited

NO_QUOTA = frozenset({"VcpuLimitExceeded", "MaxSpotInstanceCountExceeded", "InstanceLimitExceeded"})
NO_CAPACITY = NO_QUOTA | {
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientReservedInstanceCapacity",
    "InsufficientCapacity",
    "InsufficientFreeAddressesInSubnet",
    "ReservationCapacityExceeded",
    "SpotMaxPriceTooLow",
    "UnfulfillableCapacity",
    "Unsupported",
}
"""Karpenter's list, and spot's: this offer can't be had, another one may be."""
TOO_OFTEN = frozenset(
    {
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "SlowDown",
    }
)
NOT_SEEN_YET = frozenset(
    {
        "InvalidGroup.NotFound",
        "InvalidGroupId.NotFound",
        "InvalidKeyPair.NotFound",
        "InvalidPlacementGroup.Unknown",
    }
)
"""EC2 is eventually consistent: what we made a moment ago need not be known wherever it is asked for next."""
NOT_ALLOWED = frozenset(
    {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "NotAuthorized", "NotAuthorizedException"}
)
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "RequestTimeTooSkewed"})
BAD_CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NoCredentials",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
ACCOUNT = frozenset({"Blocked", "OptInRequired", "PendingVerification"})
CREDENTIALS = NOT_ALLOWED | EXPIRED | BAD_CREDENTIALS | ACCOUNT
NO_NETWORK = frozenset({"VPCIdNotSpecified", "MissingInput", "DefaultVpcDoesNotExist", "InvalidSubnet"})
DONE_BEFORE = "IdempotentParameterMismatch"
"""The token was used already: a machine may stand under it."""
UNREACHED = "Unreached"
"""Our word for a connection that never came about: nothing was asked."""
CLOCK_TOLERANCE_S = 240.0
"""AWS takes signatures that are up to five minutes old."""
QUOTED_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that is no success, or none at all (`status` 0, and then `code` is the SDK's word for it).

    `ahead_s` is how far our clock is ahead of AWS's, as its answer was dated.
    """

    code: str
    status: int
    message: str
    ahead_s: float = 0.0

    @property
    def passing(self) -> bool:
        """Whether asking again soon may go better."""
        final = CREDENTIALS | NO_CAPACITY | {UNREACHED}
        if self.code in TOO_OFTEN | NOT_SEEN_YET:
            return True
        return self.code not in final and (self.status == 0 or self.status >= 500)

    @property
    def said(self) -> str:
        return f"{self.code}: {self.message}".strip(": .")[:QUOTED_CHARACTERS]


def refusal(doing: str, failure: Failure) -> ProvisioningError:
    """The error for a failure: `doing` is what was asked, as in "Leasing g5.xlarge in us-east-1a"."""
    message = f"{doing}: AWS answered {failure.said}."
    if failure.code in CREDENTIALS:
        return _no_access(doing, failure)
    if failure.code in NO_CAPACITY:
        return NoCapacity(message, hint=_quota_hint(failure.code))
    if failure.code in TOO_OFTEN:
        return RateLimited(message)
    if failure.code in NOT_SEEN_YET:
        return RateLimited(f"{message} What was made for it just now is not known there yet.")
    if failure.code == UNREACHED:
        return ProvisioningError(
            f"{doing}: AWS can't be reached: {failure.message}.",
            hint="Is the network up, and the region one of AWS's? `[markets] regions` and AWS_REGION name it.",
        )
    return ProvisioningError(message, hint=_mend(failure.code))


def create_refusal(doing: str, failure: Failure) -> ProvisioningError:
    """The error for a create without an answer that names a machine: a clear no where AWS says one, else unknown."""
    known = failure.code in CREDENTIALS | NO_CAPACITY | TOO_OFTEN | {UNREACHED}
    clear = known or (400 <= failure.status < 500 and failure.code != DONE_BEFORE)
    return refusal(doing, failure) if clear else unknown(doing, failure.said)


def unknown(doing: str, why: str) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"{doing}: whether AWS made a machine is not known: {why[:QUOTED_CHARACTERS]}.",
        hint="It counts as costing until a listing tells: run the command again.",
    )


def _no_access(doing: str, failure: Failure) -> AuthError:
    if failure.code not in NOT_ALLOWED | ACCOUNT and abs(failure.ahead_s) > CLOCK_TOLERANCE_S:
        way = "ahead of" if failure.ahead_s > 0 else "behind"
        return AuthError(
            f"{doing}: AWS refuses what this host signs ({failure.code}): its clock is "
            f"{abs(failure.ahead_s):,.0f} s {way} AWS's.",
            hint="Set the clock: `sudo timedatectl set-ntp true`, or `sudo chronyc makestep`.",
        )
    return AuthError(f"{doing}: AWS answered {failure.said}.", hint=_access_hint(failure.code))


def _access_hint(code: str) -> str:
    if code in NOT_ALLOWED:
        return "Allow it to this user or role: docs/guides/aws.md has the policy."
    if code in EXPIRED:
        return "Credentials of a session ended: log in again (`aws sso login`); or set this host's clock."
    if code in ACCOUNT:
        return "The account can't use this yet: see the AWS console, Account and Service Quotas."
    return (
        "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE: `aws sts get-caller-identity`. "
        "A region that the account has not enabled refuses good credentials too."
    )


def _quota_hint(code: str) -> str:
    if code not in NO_QUOTA:
        return "Another zone, type or region may have some: plan again."
    return "The account's quota of GPU vCPUs there is used up: ask for more at Service Quotas, Amazon EC2."


def _mend(code: str) -> str:
    if code in NO_NETWORK:
        return "Machines go into the region's default VPC: `aws ec2 create-default-vpc --region REGION`."
    if code.startswith("InvalidAMIID"):
        return "Name an image that this region has: [markets.aws] image."
    return ""
