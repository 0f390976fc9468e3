"""Observations by hand: instances whose agents say what a test lets them say."""

from provisioners.leases.journal import LeaseRow, LeaseState
from runtime.messages import AgentHealth, LinkHealth, agent_name
from thunderctl.observing.observe import InstanceView, Observation


def view(instance, *links, state=LeaseState.READY):
    lease = LeaseRow(f"lease-{instance}", "me", "d", "p", instance, "vast", "here", "o", "label", 1.0, state, 0.0)
    return InstanceView(lease, health=AgentHealth(instance, "1", links=links))


def heard(instance, gbit_per_s=3.0, latency_ms=0.4, age_s=5.0):
    return LinkHealth(agent_name(f"lease-{instance}"), gbit_per_s, latency_ms, age_s)


def seen(*views):
    return Observation(views, None, "")
