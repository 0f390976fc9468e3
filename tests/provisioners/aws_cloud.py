"""EC2 as moto has it, behind what moto has not: tokens, capacity, prices, quotas, and answers that get lost.

All of it is done by the SDK's own event hooks, so what leaves our adapter is what would leave for AWS.
"""

import json
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl
from urllib.request import Request, urlopen

import boto3
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError
from botocore.httpsession import URLLib3Session

from provisioners.aws.list_prices import dated_prices

ACCOUNT = "123456789012"
VALIDATIONS = (
    "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION",
    "MOTO_ENABLE_KEYPAIR_VALIDATION",
    "MOTO_ENABLE_AMI_VALIDATION",
)
STATUS = {"RequestLimitExceeded": 503, "InsufficientInstanceCapacity": 500, "Unavailable": 503, "InternalError": 500}
"""As EC2 sends them; all others come with 400."""
IMAGES = Path(__file__).with_name("aws_images.json")
"""What moto has in every region instead of its own thousand, which take long to load."""
IMAGE = "ami-0123456789abcdef0"
SPOT_SHARE = 0.4
STORAGE_USD_PER_GB_MONTH = 0.08
EC2_NO = (
    "<?xml version='1.0'?><Response><Errors><Error><Code>{code}</Code><Message>{code} in words</Message></Error>"
    "</Errors><RequestID>r</RequestID></Response>"
)


list_prices = cache(dated_prices)


@cache
def moto_url() -> str:
    """One server of moto's for this process."""
    os.environ["MOTO_AMIS_PATH"] = str(IMAGES)  # read again whenever a region is made
    with patch.dict(os.environ, dict.fromkeys(VALIDATIONS, "1")):
        from moto import backends
        from moto.server import ThreadedMotoServer
    services = [*backends.list_of_moto_modules()]
    backends.list_of_moto_modules = lambda: services  # else it lists its folders with every request
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


def reset_moto() -> str:
    """An empty account; returns the server's URL."""
    with urlopen(Request(f"{moto_url()}/moto-api/reset", method="POST")):
        return moto_url()


class Body:
    """Bytes as `urllib3` has them."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def stream(self) -> Iterator[bytes]:
        yield self.data


@dataclass
class AwsCloud:
    """One account's world. `faults` spoils answers by operation (create, list, delete), first come first.

    `capacity` is how many machines there is room for; `spot_usd` the price by type where it is not a share of the
    list price; `limits` the quotas by code; `refused` the error that an operation answers with, by its name; `states`
    and `notices` what is said of an instance.
    """

    now: Callable[[], float]
    capacity: int = 1000
    faults: dict[str, deque[str]] = field(default_factory=dict)
    spot_usd: dict[str, float] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    notices: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    ahead_s: float = 0.0
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _tokens: dict[str, bytes] = field(default_factory=dict)
    _wire: URLLib3Session = field(default_factory=URLLib3Session)

    def session(self) -> boto3.Session:
        """A session of the SDK whose every call passes here."""
        session = boto3.Session("key", "secret", region_name="us-east-1")
        for event, handler in self.handlers.items():
            session.events.register(event, handler)
        return session

    @property
    def handlers(self) -> dict[str, Callable[..., Any]]:
        """What the SDK tells of, by the event's name."""
        return {
            "before-send": self._before,
            "after-call.ec2.DescribeInstances": self._listed,
            "after-call.ec2.DescribeSpotPriceHistory": self._spot_priced,
            "after-call.ec2.DescribeSpotInstanceRequests": self._noticed,
        }

    def spoil(self, operation: str, *faults: str) -> None:
        self.faults.setdefault(operation, deque()).extend(faults)

    def instances(self, region: str = "us-east-1") -> list[Any]:
        """What moto has and AWS would bill for, unhooked."""
        from moto.backends import get_backend

        found = get_backend("ec2")[ACCOUNT][region].all_instances()
        return [one for one in found if one._state.name not in ("terminated", "shutting-down")]

    def operations(self, name: str) -> list[dict[str, Any]]:
        """The parameters of every call of that name, in order."""
        return [parameters for operation, parameters in self.asked if operation == name]

    def _before(self, request: Any, event_name: str, **_: Any) -> AWSResponse | None:
        service, operation = event_name.split(".")[1:]
        body = request.body.decode() if isinstance(request.body, bytes) else str(request.body or "")
        parameters = dict(parse_qsl(body)) if service in ("ec2", "sts") else json.loads(body or "{}")
        self.asked.append((operation, parameters))
        if code := self.refused.get(operation, self.refused.get("*", "")):
            return self._no(request, service, code)
        match operation:
            case "RunInstances":
                return self._create(request, parameters)
            case "DescribeInstances":
                return self._list(request, parameters)
            case "TerminateInstances":
                return self._delete(request)
            case "CreatePlacementGroup":
                return self._grouped(request, parameters)
            case "GetProducts":
                return self._json(request, {"PriceList": list(products(parameters))})
            case "GetServiceQuota":
                value = self.limits.get(parameters["QuotaCode"], 1000.0)
                return self._json(request, {"Quota": {"QuotaCode": parameters["QuotaCode"], "Value": value}})
            case "GetParameter":
                return self._json(request, {"Parameter": {"Name": parameters["Name"], "Value": IMAGE}})
        return None

    def _grouped(self, request: Any, parameters: dict[str, str]) -> AWSResponse:
        if parameters["GroupName"] in self.groups:
            return self._no(request, "ec2", "InvalidPlacementGroup.Duplicate")
        self.groups[parameters["GroupName"]] = parameters["Strategy"]
        return self._answer(
            request, 200, b"<CreatePlacementGroupResponse><return>true</return></CreatePlacementGroupResponse>"
        )

    def _create(self, request: Any, parameters: dict[str, str]) -> AWSResponse:
        fault = self._fault("create")
        if fault in ("dropped before", "504 before"):
            return self._lost(request, fault)
        token = parameters["ClientToken"]
        if token in self._tokens:
            return self._answer(request, 200, self._tokens[token])
        if fault and fault not in AFTER:
            return self._no(request, "ec2", fault)
        if len(self.instances()) >= self.capacity:
            return self._no(request, "ec2", "InsufficientInstanceCapacity")
        answer = self._wire.send(request)
        if answer.status_code == 200:
            self._tokens[token] = answer.content
        if fault in ("dropped after", "504 after"):
            return self._lost(request, fault)
        if fault == "no id":
            return self._answer(request, 200, b"<RunInstancesResponse><instancesSet/></RunInstancesResponse>")
        return self._answer(request, 200, b"<html>ok") if fault == "html" else answer

    def _list(self, request: Any, parameters: dict[str, str]) -> AWSResponse | None:
        if parameters.get("Filter.1.Name") == "instance-state-name":  # the market is read, not our machines
            return None
        fault = self._fault("list")
        self._spoiled = fault if fault in SPOILED else ""
        if fault.startswith("dropped"):
            return self._lost(request, fault)
        if fault == "html":
            return self._answer(request, 200, b"<html>ok")
        return self._no(request, "ec2", fault) if fault and fault not in SPOILED else None

    def _delete(self, request: Any) -> AWSResponse | None:
        fault = self._fault("delete")
        if not fault:
            return None
        if fault.endswith(" after"):
            self._wire.send(request)
        if fault.startswith("dropped"):
            return self._lost(request, fault)
        return self._no(request, "ec2", fault.removesuffix(" after"))

    def _listed(self, parsed: dict[str, Any], **_: Any) -> None:
        groups = parsed.get("Reservations", [])
        rows = [one for group in groups for one in group["Instances"]]
        for one in rows:
            if one["State"]["Name"] == "running":
                one["State"]["Name"] = self.states.get(one["InstanceId"], "running")
            if one.get("InstanceLifecycle") == "spot":
                one["SpotInstanceRequestId"] = one["InstanceId"].replace("i-", "sir-")
        match self.__dict__.pop("_spoiled", ""):
            case "empty":
                parsed["Reservations"] = []
            case "schema":
                parsed.pop("Reservations", None)
            case "null fields":
                for one in rows:
                    one["InstanceId"] = None
            case "no price":
                for one in rows:
                    one["Tags"] = [tag for tag in one.get("Tags", []) if tag["Key"] != "thunder:usd-per-hour"]

    def _spot_priced(self, parsed: dict[str, Any], **_: Any) -> None:
        for row in parsed.get("SpotPriceHistory", []):
            listed = list_prices("us-east-1").usd_per_hour.get(row["InstanceType"], 0.0)
            row["SpotPrice"] = str(self.spot_usd.get(row["InstanceType"], SPOT_SHARE * listed))
            row["Timestamp"] = datetime.fromtimestamp(self.now(), UTC)

    def _noticed(self, parsed: dict[str, Any], **_: Any) -> None:
        parsed["SpotInstanceRequests"] = [
            {"SpotInstanceRequestId": instance.replace("i-", "sir-"), "Status": {"Code": code}}
            for instance, code in self.notices.items()
        ]

    def _fault(self, operation: str) -> str:
        queue = self.faults.get(operation)
        return queue.popleft() if queue else ""

    def _lost(self, request: Any, fault: str) -> AWSResponse:
        if fault.startswith("dropped"):
            raise ConnectionClosedError(endpoint_url=request.url)
        return self._answer(request, 504, b"<html>Gateway Time-out</html>")

    def _no(self, request: Any, service: str, code: str) -> AWSResponse:
        if service == "ec2":
            return self._answer(request, STATUS.get(code, 400), EC2_NO.format(code=code).encode())
        return self._json(request, {"__type": code, "message": f"{code} in words"}, 400)

    def _json(self, request: Any, document: Any, status: int = 200) -> AWSResponse:
        return self._answer(request, status, json.dumps(document).encode())

    def _answer(self, request: Any, status: int, data: bytes) -> AWSResponse:
        date = format_datetime(datetime.fromtimestamp(self.now() - self.ahead_s, UTC), usegmt=True)
        return AWSResponse(request.url, status, {"Date": date}, Body(data))


AFTER = frozenset({"dropped after", "504 after", "no id", "html"})
SPOILED = frozenset({"empty", "schema", "null fields", "no price"})


def products(parameters: dict[str, Any]) -> Iterator[str]:
    """The products that the Pricing API would list, as JSON texts: prices are those of the package's table."""
    wanted = {one["Field"]: one["Value"] for one in parameters["Filters"]}
    if wanted.get("productFamily") == "Storage":
        yield _product({"volumeApiName": wanted["volumeApiName"]}, STORAGE_USD_PER_GB_MONTH, "GB-Mo")
        return
    assert (wanted["operatingSystem"], wanted["tenancy"], wanted["capacitystatus"]) == ("Linux", "Shared", "Used")
    for name, usd in list_prices(wanted["regionCode"]).usd_per_hour.items():
        yield _product({"instanceType": name, "regionCode": wanted["regionCode"]}, usd, "Hrs")


def _product(attributes: dict[str, str], usd: float, unit: str) -> str:
    dimension = {"unit": unit, "pricePerUnit": {"USD": f"{usd:.10f}"}}
    terms = {"OnDemand": {"S.JRTCKXETXF": {"priceDimensions": {"S.JRTCKXETXF.6YS6EN2CT7": dimension}}}}
    return json.dumps({"product": {"attributes": attributes}, "serviceCode": "AmazonEC2", "terms": terms})
