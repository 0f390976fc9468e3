"""The machine image: AWS's Deep Learning base image, which has the NVIDIA driver, or one that the user names."""

from dataclasses import dataclass

from planner.errors import ProvisioningError
from provisioners.aws.client import AwsClients

DEEP_LEARNING_IMAGE = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
"""The public parameter that names the newest one in each region."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image in one region, the name of its first disk, and how large that has to be at least."""

    image_id: str
    root_device: str
    disk_gb: float


async def find_image(clients: AwsClients, region: str, named: str = DEEP_LEARNING_IMAGE) -> Image:
    """`named` is an image id, or a parameter of Systems Manager that holds one. Raises ProvisioningError."""
    image_id = named
    if not named.startswith("ami-"):
        asked = {"Name": named}
        answer = await clients.call(f"Reading which image {region} has", "ssm", region, "get_parameter", asked)
        image_id = str(answer.get("Parameter", {}).get("Value", ""))
    doing = f"Reading image {image_id} in {region}"
    answer = await clients.call(doing, "ec2", region, "describe_images", {"ImageIds": [image_id]})
    try:
        [row] = answer["Images"]
        root = str(row["RootDeviceName"])
        disks = {one["DeviceName"]: one.get("Ebs", {}) for one in row.get("BlockDeviceMappings", [])}
        return Image(image_id, root, float(disks.get(root, {}).get("VolumeSize", 0.0)))
    except (LookupError, ValueError, TypeError) as error:
        raise ProvisioningError(
            f"{region} has no image {image_id!r} that can be used.", hint="See [markets.aws] image: ids are a region's."
        ) from error
