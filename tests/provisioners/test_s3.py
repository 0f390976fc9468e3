"""S3 against moto: what is read and measured here, and addresses signed for hosts that have no credentials."""

import urllib.request
from io import BytesIO
from urllib.parse import parse_qs, urlsplit

import pytest

from planner.errors import AuthError, ProvisioningError, SpecError
from provisioners import s3
from provisioners.s3 import S3Objects

moto = pytest.importorskip("moto.server")
boto3 = pytest.importorskip("boto3")


@pytest.fixture(scope="module")
def endpoint():
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint, monkeypatch, tmp_path):
    """A bucket with one object below a prefix."""
    for name, value in {
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": "AKIATEST",
        "AWS_SECRET_ACCESS_KEY": "very-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="models")
    client.put_object(Bucket="models", Key="qwen/config.json", Body=b"{}" * 10)
    return "models"


def test_objects_are_read_and_measured(bucket):
    objects = S3Objects(bucket, "qwen")
    assert objects.read("config.json") == b"{}" * 10
    assert objects.size("config.json") == 20


def test_a_signed_address_needs_no_credentials_and_tells_none(bucket):
    address = S3Objects(bucket, "qwen").signed("config.json", 600)
    assert "X-Amz-Signature" in address
    assert "very-secret" not in address
    request = urllib.request.Request(address, headers={"Range": "bytes=2-"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.read() == b"{}" * 9


def signed_for(address: str) -> tuple[str, str]:
    """The host that an address names, and the region that it is signed for."""
    parts = urlsplit(address)
    return parts.netloc, parse_qs(parts.query)["X-Amz-Credential"][0].split("/")[2]


@pytest.mark.usefixtures("bucket")
def test_addresses_are_signed_for_the_region_that_the_bucket_is_in_whatever_the_shells_is(endpoint):
    place = {"LocationConstraint": "eu-west-1"}
    boto3.client("s3", region_name="eu-west-1").create_bucket(Bucket="models-eu", CreateBucketConfiguration=place)
    objects = S3Objects("models-eu", "qwen")
    assert objects.region == "eu-west-1"
    assert signed_for(objects.signed("config.json", 600)) == (urlsplit(endpoint).netloc, "eu-west-1")
    assert S3Objects("models-eu", "qwen", "eu-south-1").region == "eu-south-1"  # remembered, and not asked for again


class LeadingElsewhere:
    """S3 with one bucket in eu-west-1: who asks in another region is told which it is, as S3 tells it."""

    def __init__(self, refuses: bool) -> None:
        self.refuses = refuses

    def __call__(self, request, **_):
        from botocore.awsrequest import AWSResponse

        there = "eu-west-1" in str(request.headers.get("Authorization", b""))
        status = 301 if not there else 403 if self.refuses else 200
        return AWSResponse(request.url, status, {"x-amz-bucket-region": "eu-west-1"}, Body(b""))


class Body(BytesIO):
    def stream(self, *_, **__):
        yield self.getvalue()


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("refuses", [False, True], ids=["let in", "refused"])
@pytest.mark.parametrize("shells", ["us-east-1", None])
def test_on_s3_itself_addresses_name_the_regions_own_host(monkeypatch, shells, refuses):
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    if shells:
        monkeypatch.setenv("AWS_DEFAULT_REGION", shells)
    made = s3._client

    def client(region):
        found = made(region)
        found.meta.events.register_first("before-send.s3", LeadingElsewhere(refuses))
        return found

    monkeypatch.setattr(s3, "_client", client)
    address = S3Objects("bucket-eu", "qwen").signed("config.json", 600)
    assert signed_for(address) == ("bucket-eu.s3.eu-west-1.amazonaws.com", "eu-west-1")


def test_what_is_not_there_says_how_to_make_it(bucket):
    with pytest.raises(SpecError, match="There is no s3://models/qwen/SHA256SUMS"):
        S3Objects(bucket, "qwen").read("SHA256SUMS")
    with pytest.raises(SpecError, match=r"There is no s3://absent/config\.json"):
        S3Objects("absent", "").size("config.json")


def test_without_credentials_it_says_what_to_set(bucket, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(AuthError, match="can't be asked: Unable to locate credentials"):
        S3Objects(bucket, "qwen").read("config.json")
    with pytest.raises(AuthError, match="Unable to locate credentials"):
        S3Objects(bucket, "qwen").signed("config.json", 600)


@pytest.mark.usefixtures("bucket")
def test_a_profile_that_there_is_not_is_said_in_words(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "absent")
    with pytest.raises(AuthError, match="profile"):
        S3Objects("models", "qwen")


@pytest.mark.usefixtures("bucket")
def test_a_server_that_is_not_reached_is_no_matter_of_credentials(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ProvisioningError, match="can't be asked: Could not connect") as raised:
        S3Objects("models", "qwen", "eu-west-1").read("config.json")
    assert not isinstance(raised.value, AuthError)
