"""`[ssh.hosts]` of a spec, as hosts and as a market."""

from getpass import getuser
from pathlib import Path

import pytest

from planner.errors import ProvisioningError, SpecError
from provisioners.ssh.login import SshAddress
from tests.provisioners.sshd import free_port, sshd
from thunderctl.compose import check_leasable
from thunderctl.markets.market import read_market
from thunderctl.markets.own_hosts import ssh_host
from thunderctl.spec.spec import Spec, parse_spec

SPEC = """
[markets]
providers = ["ssh"]
[ssh.hosts.lab]
address = "{address}"
gpu = "{gpu}"
gpu_count = 2
usd_per_hour = 0.3
key = "{key}"
folder = "{folder}"
"""


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))


def written(
    address: str = "10.0.0.5", gpu: str = "rtx a6000", key: str = "~/k", folder: str = "/data/thunder/"
) -> Spec:
    return parse_spec(SPEC.format(address=address, gpu=gpu, key=key, folder=folder))


def host(**given: str):
    return ssh_host("lab", written(**given).ssh.hosts["lab"])


def test_a_host_is_read_with_what_it_leaves_out_filled_in():
    found = host()
    assert found.address == SshAddress("10.0.0.5", 22, getuser())
    assert (found.gpu, found.folder) == ("A6000", "/data/thunder/machine")
    assert found.keys.files == (Path.home() / "k",)
    offer = found.offer()
    assert (offer.offer_id, offer.provider, offer.gpu_count, offer.usd_per_hour) == ("lab", "ssh", 2, 0.3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"address": "a b"}, r"\[ssh.hosts.lab\] The SSH address is 'a b'; expected user@host:port"),
        ({"address": ""}, r"\[ssh.hosts.lab\] address is empty"),
        ({"gpu": "Frobnicator"}, r"\[ssh.hosts.lab\] GPU 'Frobnicator' is not known"),
    ],
)
def test_a_host_that_makes_no_sense_is_named(given, said):
    with pytest.raises(SpecError, match=said):
        host(**given)


def test_a_relative_folder_is_refused():
    with pytest.raises(SpecError, match=r"\[ssh.hosts.lab\] folder is 'thunder'; it should be a path from the root"):
        written(folder="thunder")


def test_without_hosts_the_market_of_own_hosts_is_empty():
    assert read_market(parse_spec('[markets]\nproviders = ["ssh"]')).offers == ()


def test_the_market_has_the_hosts_that_answer_and_says_which_do_not(tmp_path):
    with sshd(tmp_path / "sshd") as server:
        lab = written(str(server.address), "CPU", f"{server.folder}/login", f"{tmp_path}/lab")
        off = lab.ssh.hosts["lab"].model_copy(update={"address": f"127.0.0.1:{free_port()}"})
        both = lab.model_copy(update={"ssh": lab.ssh.model_copy(update={"hosts": {**lab.ssh.hosts, "off": off}})})
        said: list[str] = []
        market = read_market(both, narrate=said.append)
    assert [(offer.offer_id, offer.leasable) for offer in market.offers] == [("lab", True)]
    assert market.source == "live"
    [line] = said
    assert line.startswith("Left out [ssh.hosts.off]: ")
    assert "refused the connection" in line


def test_where_no_host_answers_each_is_named_by_its_section_with_the_mend(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THUNDER_HOME", str(tmp_path))
        nobody = written(f"127.0.0.1:{free_port()}", "CPU", f"{tmp_path}/login", f"{tmp_path}/lab")
        said: list[str] = []
        read_market(nobody, narrate=said.append)
    [line] = said
    assert "None of [ssh.hosts] answers. [ssh.hosts.lab]: " in line
    assert "`thunderctl doctor` tries each host" in line


def test_own_hosts_can_be_rented_and_lambda_can_not():
    check_leasable("ssh")
    with pytest.raises(ProvisioningError, match="can't rent from lambda"):
        check_leasable("lambda")
