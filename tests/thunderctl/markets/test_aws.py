"""AWS from the command line: live offers where there are credentials, and each bad ground in one message."""

import json
import time
from unittest.mock import patch

import pytest

from planner.errors import AuthError
from planner.requirements import ENVIRONMENT_DISK_GB
from provisioners.aws.quotas import QUOTAS
from provisioners.aws.spot_feeds import FEEDS
from tests.provisioners.aws_world import aws_world, hooked_session
from thunderctl.cli.main import main
from thunderctl.compose import check_leasable, provisioner
from thunderctl.markets.aws import aws_provisioner, spot_feeds
from thunderctl.spec.spec import parse_spec

SPEC = '[markets]\nproviders = ["aws"]\nregions = ["us-east-1"]\n'


@pytest.fixture
def world(monkeypatch, tmp_path):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thunder.toml").write_text(SPEC)
    with aws_world() as made, patch("boto3.Session", lambda: hooked_session(made.cloud)):
        made.cloud.now = time.time  # which is the clock that commands go by
        monkeypatch.setattr("provisioners.aws.client.READ_AGAIN_AFTER_S", (0.0,))
        yield made


@pytest.fixture
def offers(capsys):
    def run(*arguments: str, code: int = 0):
        with pytest.raises(SystemExit) as ended:
            main(["offers", "--provider", "aws", "--json", *arguments])
        said = capsys.readouterr()
        assert ended.value.code == code, said.err
        return json.loads(said.out), said.err

    return run


@pytest.mark.usefixtures("world")
def test_what_the_account_can_rent_is_shown_live(offers):
    document, narrated = offers("--gpu", "H100-SXM5-80GB")
    assert document["source"] == "live"
    assert {offer["region"] for offer in document["offers"]} == {"us-east-1"}
    assert {offer["gpu"] for offer in document["offers"]} == {"H100-SXM5-80GB"}
    assert all(offer["leasable"] for offer in document["offers"])
    assert "not x86_64" in narrated
    assert "1.2 times the market's price now" in narrated


def test_what_may_not_be_asked_is_narrated(world, offers):
    world.cloud.refused |= {"GetProducts": "AccessDeniedException", "GetServiceQuota": "AccessDeniedException"}
    document, narrated = offers()
    assert document["source"] == "live"
    assert "AccessDeniedException" in narrated
    assert "quotas can't be read" in narrated
    assert "package's table" in narrated


def test_an_account_without_quota_is_told_where_to_ask_for_some(world, offers):
    world.cloud.limits |= dict.fromkeys((quota.code for quota in QUOTAS), 0.0)
    document, narrated = offers()
    assert not document["offers"]
    assert "Service Quotas" in narrated


@pytest.mark.parametrize(
    ("code", "ahead_s", "mend"),
    [
        ("AuthFailure", 0.0, "aws sts get-caller-identity"),
        ("UnauthorizedOperation", 0.0, "docs/guides/aws.md"),
        ("RequestExpired", 3600.0, "timedatectl"),
        ("ExpiredToken", 0.0, "aws sso login"),
    ],
)
def test_bad_ground_is_one_message_with_the_mend_and_the_snapshot_stands_in(world, offers, code, ahead_s, mend):
    world.cloud.refused["*"], world.cloud.ahead_s = code, ahead_s
    document, narrated = offers()
    assert document["source"] == "snapshot"
    assert len(document["offers"]) > 10
    [line] = [line for line in narrated.splitlines() if code in line]
    assert mend in " ".join(narrated.split())
    assert not any(offer["leasable"] for offer in document["offers"]), line


def test_without_credentials_the_snapshot_stands_in(offers, monkeypatch, tmp_path):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    document, narrated = offers()
    assert document["source"] == "snapshot"
    assert "There are no AWS credentials" in narrated
    with pytest.raises(AuthError, match="no AWS credentials"):
        check_leasable("aws")


@pytest.mark.usefixtures("world")
def test_a_wrong_region_is_the_specs_fault(offers, tmp_path):
    (tmp_path / "thunder.toml").write_text(SPEC.replace("us-east-1", "us-esat-1"))
    document, _ = offers(code=2)
    assert "us-east-1" in document["error"]["message"]


@pytest.mark.usefixtures("world")
def test_places_of_other_providers_are_no_regions_and_no_error(offers, tmp_path):
    (tmp_path / "thunder.toml").write_text(SPEC.replace("us-east-1", "Texas"))
    document, _ = offers()
    assert not document["offers"]


@pytest.mark.usefixtures("world")
async def test_the_spec_says_how_it_is_rented():
    spec = parse_spec(
        '[model]\nname = "llama-3-70b"\n[markets.bids]\nfactor = 1.5\nmost_usd_per_gpu_hour = 2.0\n'
        '[markets.aws]\nuser = "ec2-user"\nopen_to = ["192.0.2.0/24"]\n'
        "[leases]\nready_deadline_s = 600\ndeadman_s = 900\n"
    )
    made = aws_provisioner(spec)
    assert (made.spot.margin, made.spot.most_usd_per_gpu_hour) == (1.5, 2.0)
    assert made._places.open_to == ("192.0.2.0/24",)
    assert made._terms.hosts.user == "ec2-user"
    assert made._terms.deadman_s == 900
    assert made._terms.disk_gb > 140 + ENVIRONMENT_DISK_GB
    check_leasable("aws")
    assert (await provisioner("aws").observe()).complete


def test_feeds_are_awss_unless_others_are_named(monkeypatch):
    assert spot_feeds() == FEEDS
    monkeypatch.setenv("THUNDER_AWS_SPOT_FEED_URL", "http://a/spot.js, http://b/advisor.json")
    assert spot_feeds() == ("http://a/spot.js", "http://b/advisor.json")
