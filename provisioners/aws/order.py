"""What RunInstances is asked for: one machine, with all that must hold from its first second on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from provisioners.aws.images import Image
from provisioners.aws.offer_ids import OfferId
from provisioners.aws.volume import Volume
from provisioners.base import Label

LABEL, PRICE, BESIDE = "thunder:label", "thunder:usd-per-hour", "thunder:beside-usd-per-hour"
"""Tags. AWS does not say what a machine costs, so it bears that itself: all in all, and beside the instance."""
OWNER, DEPLOYMENT = "thunder:owner", "thunder:deployment"


@dataclass(frozen=True, slots=True)
class Place:
    """What a machine needs that its region has already, by name or id. `group` is a placement group, or empty."""

    image: Image
    key_name: str
    security_group_id: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """A machine at `usd_per_hour` at most, of which `beside_usd_per_hour` are for its volume and its address."""

    label: Label
    offer: OfferId
    usd_per_hour: float
    beside_usd_per_hour: float
    disk_gb: float
    user_data: str

    @property
    def tags(self) -> dict[str, str]:
        return {
            "Name": f"thunderctl {self.label.deployment}",
            LABEL: str(self.label),
            OWNER: self.label.owner_id,
            DEPLOYMENT: self.label.deployment,
            PRICE: f"{self.usd_per_hour:.6f}",
            BESIDE: f"{self.beside_usd_per_hour:.6f}",
        }


def run_parameters(order: Order, place: Place) -> dict[str, Any]:
    """The lease id is the token: EC2 makes no second machine for it. A shutdown from inside ends the lease."""
    tags = [{"Key": key, "Value": value} for key, value in order.tags.items()]
    tagged = ("instance", "volume", *(("spot-instances-request",) if order.offer.interruptible else ()))
    return {
        "ImageId": place.image.image_id,
        "InstanceType": order.offer.type_name,
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": order.label.lease_id,
        "KeyName": place.key_name,
        "SecurityGroupIds": [place.security_group_id],
        "Placement": {
            "AvailabilityZone": order.offer.zone,
            **({"GroupName": place.group} if place.group else {}),
        },
        "UserData": order.user_data,
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled", "HttpPutResponseHopLimit": 1},
        "BlockDeviceMappings": [_volume(order.disk_gb, place.image)],
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in tagged],
        **(_spot(order) if order.offer.interruptible else {}),
    }


def _volume(disk_gb: float, image: Image) -> dict[str, Any]:
    volume = Volume.of(disk_gb, image.disk_gb)
    return {
        "DeviceName": image.root_device,
        "Ebs": {
            "VolumeSize": volume.size_gb,
            "VolumeType": "gp3",
            "Throughput": volume.mib_per_s,
            "Iops": volume.iops,
            "DeleteOnTermination": True,
        },
    }


def _spot(order: Order) -> Mapping[str, Any]:
    """Once, and ended rather than stopped when it is taken back: a stopped machine bills its volume."""
    most = order.usd_per_hour - order.beside_usd_per_hour
    options = {
        "MaxPrice": f"{most:.6f}",
        "SpotInstanceType": "one-time",
        "InstanceInterruptionBehavior": "terminate",
    }
    return {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": options}}
