"""What is checked of providers: credentials that are there and good, hosts that answer, machines nobody counts on."""

import asyncio
from collections.abc import Iterable, Sequence

from planner.errors import ThunderError
from thunderctl.deploying.strays import KEYS, Looked, has_key, look_around, strays_of
from thunderctl.doctor.check import Check
from thunderctl.home import owner_id
from thunderctl.markets.own_hosts import ssh_provisioner
from thunderctl.spec.spec import Spec
from thunderctl.world import World

HOSTS_S = 30.0
MENDS = {
    "vast": "Make a key at cloud.vast.ai (Account, API keys), and export it as VAST_API_KEY.",
    "aws": "aws configure, or aws sso login and AWS_PROFILE; docs/guides/aws.md has the policy that is needed.",
    "runpod": "Make a key at console.runpod.io (Settings, API keys), and export it as RUNPOD_API_KEY.",
}


async def provider_checks(world: World, spec: Spec) -> list[Check]:
    """Each provider is asked for its list once, which shows both whether a key is good and what is left over."""
    looked, hosts = await asyncio.gather(look_around(world), hosts_check(spec))
    rows = world.store.leases()
    leased = {row.provider for row in rows if row.state.may_cost}
    named = {name for name in spec.markets.providers if "providers" in spec.markets.model_fields_set}
    found = {one.provider: one for one in looked}
    credentials = [credentials_check(name, found.get(name), needed=name in named | leased) for name in KEYS]
    left = [f"{one.machine.provider_id} of {one.provider}" for one in strays_of(looked, rows, owner_id())]
    return [*credentials, *hosts, leftovers_check(left, looked)]


def credentials_check(provider: str, looked: Looked | None, *, needed: bool) -> Check:
    """Whether there are some, and whether the provider takes them. None are needed where nothing is rented there."""
    name, mend = f"credentials {provider}", MENDS[provider]
    if not has_key(provider):
        return Check(name, not needed, f"none ({' or '.join(KEYS[provider][:2])})", mend)
    if looked is None or looked.problem:
        return Check(name, False, looked.problem if looked else "it was not asked", mend)
    return Check(name, True, f"good: it lists {len(looked.machines)} machines")


def leftovers_check(left: Sequence[str], looked: Iterable[Looked]) -> Check:
    """Machines that bear our label and that no lease stands for. Who could not be asked is said with it."""
    unknown = [one.provider for one in looked if one.problem]
    beside = f" ({', '.join(unknown)} could not be asked)" if unknown else ""
    if left:
        return Check("leftovers", False, ", ".join(left) + beside, "Release them: thunderctl gc --delete")
    return Check("leftovers", True, f"none{beside}")


async def hosts_check(spec: Spec) -> list[Check]:
    """Whether each of [ssh.hosts] lets us in; leased or free is no matter. None where there are none."""
    if not spec.ssh.hosts:
        return []
    mend = "Mend its [ssh.hosts] section, or the host: the message says what was tried."
    try:
        provisioner = ssh_provisioner(spec)
        try:
            async with asyncio.timeout(HOSTS_S):
                silent = await provisioner.silent()
        finally:
            provisioner.close()
    except (ThunderError, TimeoutError) as error:
        return [Check("hosts", False, str(error) or f"no answer within {HOSTS_S:g} s", mend)]
    return [
        Check(f"host {name}", name not in silent, silent.get(name, "it lets us in"), mend) for name in spec.ssh.hosts
    ]
