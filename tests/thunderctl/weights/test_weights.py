"""Which weights a spec means, what a host is told of them, and that all hosts of a deployment get the same."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from planner.errors import SpecError
from provisioners.hosts.wanted import Download, Upload
from runtime.weights.__main__ import fill
from runtime.weights.job import Job
from tests.file_server import file_server
from tests.planner.plans import split_plan
from thunderctl.spec.spec import Spec, parse_spec
from thunderctl.weights import bucket
from thunderctl.weights.listing import Listing, sums_of
from thunderctl.weights.source import Bucket, Hub, LocalFolder, Mirror, OnHosts, check_source, link_name, source_of
from thunderctl.weights.weights import RECORD, Weights, sent_secrets

MODEL = Path(__file__).parents[3] / "examples" / "tiny-llama"


def plan_of(repository: str, revision: str = "main"):
    plan = split_plan()
    return replace(plan, llm=replace(plan.llm, repository=repository, revision=revision))


def spec_of(weights: str) -> Spec:
    return parse_spec(f'[model]\nweights = "{weights}"')


@pytest.mark.parametrize(
    ("weights", "repository", "source"),
    [
        ("hub", "Qwen/Qwen3-32B", Hub("Qwen/Qwen3-32B", "v1")),
        ("hub", str(MODEL), LocalFolder(MODEL)),
        ("hub", "examples/tiny-llama", LocalFolder(MODEL)),
        ("/models/qwen", "Qwen/Qwen3-32B", OnHosts("/models/qwen")),
        ("https://mirror.example/qwen/", "Qwen/Qwen3-32B", Mirror("https://mirror.example/qwen")),
        ("s3://bucket/models/qwen/", "Qwen/Qwen3-32B", Bucket("bucket", "models/qwen")),
        ("s3://bucket", "Qwen/Qwen3-32B", Bucket("bucket", "")),
    ],
)
def test_where_weights_come_from(weights, repository, source):
    assert source_of(plan_of(repository, "v1"), spec_of(weights)) == source


@pytest.mark.parametrize("weights", ["ftp://x/y", "models/qwen", "http://mirror.example/qwen"])
def test_a_place_that_is_none_is_refused_by_its_key(weights):
    with pytest.raises(SpecError, match=r"thunder.toml:2: \[model\] weights .*it should be hub, s3"):
        spec_of(weights)


def test_weights_that_are_nowhere_are_refused():
    with pytest.raises(SpecError, match="names no repository of the hub"):
        source_of(plan_of("/absent/folder"), Spec())


def test_this_host_downloads_no_model_for_itself():
    plan = plan_of("Qwen/Qwen3-32B")
    check_source(plan, Spec())
    here = replace(plan, instances=tuple(replace(instance, provider="local") for instance in plan.instances))
    with pytest.raises(SpecError, match="are not on this host"):
        check_source(here, Spec())


@pytest.mark.parametrize(
    ("send", "token", "weights", "says"),
    [
        ("true", "hf_secret", "hub", True),
        ("false", "hf_secret", "hub", False),
        ("true", "", "hub", False),
        ("true", "hf_secret", "/models/qwen", False),
    ],
)
def test_who_confirms_is_told_that_a_token_may_leave(monkeypatch, send, token, weights, says):
    monkeypatch.setenv("HF_TOKEN", token)
    spec = parse_spec(f'[model]\nweights = "{weights}"\nsend_token = {send}')
    said = sent_secrets(plan_of("Qwen/Qwen3-32B"), spec)
    assert ("HF_TOKEN goes to hosts that download Qwen/Qwen3-32B" in said) == says
    assert "hf_secret" not in said


def test_another_source_is_another_name_to_engines():
    names = {link_name(source) for source in (Hub("a/b", "main"), Hub("a/b", "v1"), OnHosts("/m"), Mirror("https://x"))}
    assert len(names) == 4
    assert all(name.startswith("model-") for name in names)


async def test_a_folder_of_this_machine_is_known_by_names_and_sizes(tmp_path):
    model = await Weights(LocalFolder(MODEL), tmp_path).model()
    assert model.path == str(MODEL)
    engines = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    assert model.source == Upload(MODEL, (*engines[:3], "outliers.py", *engines[3:], "train.py"))
    shutil.copytree(MODEL, tmp_path / "copy")
    copy = await Weights(LocalFolder(tmp_path / "copy"), tmp_path).model()
    assert (copy.sizes, copy.key) == (model.sizes, model.key)
    (tmp_path / "copy" / "config.json").write_text("{}")
    assert (await Weights(LocalFolder(tmp_path / "copy"), tmp_path).model()).key != model.key


@pytest.fixture
def mirror(tmp_path):
    """A mirror of the shipped model, as `sha256sum * >SHA256SUMS` makes one."""
    folder = tmp_path / "mirror"
    shutil.copytree(MODEL, folder)
    sums = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.iterdir()))
    (folder / "SHA256SUMS").write_text("".join(list(sums)))
    with file_server(folder) as made:
        yield made


async def test_a_mirror_is_listed_once_and_fetched_by_hosts(mirror, tmp_path):
    source = Mirror(mirror.url)
    model = await Weights(source, tmp_path / "deployment").model()
    asked = len(mirror.asked)
    again = await Weights(source, tmp_path / "deployment").model()
    assert (again.key, again.disk_gb) == (model.key, model.disk_gb)
    assert len(mirror.asked) == asked
    assert isinstance(model.source, Download)
    fill(tmp_path / "model", tmp_path / "progress", Job.from_bytes(await model.source.job()))
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == (MODEL / "model.safetensors").read_bytes()
    assert model.disk_gb == pytest.approx(sum(path.stat().st_size for path in MODEL.iterdir()) / 1e9)


async def test_another_source_is_listed_anew(mirror, tmp_path):
    first = await Weights(Mirror(mirror.url), tmp_path).model()
    record = json.loads((tmp_path / RECORD).read_text())
    (tmp_path / RECORD).write_text(json.dumps(record | {"origin": "https://elsewhere"}))
    assert (await Weights(Mirror(mirror.url), tmp_path).model()).key == first.key
    assert json.loads((tmp_path / RECORD).read_text())["origin"] == mirror.url


async def test_a_buckets_region_is_asked_for_once_and_remembered(tmp_path, monkeypatch):
    made = []

    class Objects:
        def __init__(self, _bucket, _prefix, region=""):
            made.append(region)
            self.region = region or "eu-west-1"

        def read(self, _name):
            return b"".join(f"{'0' * 64}  {name}\n".encode() for name in ("config.json", "model.safetensors"))

        def size(self, _name):
            return 1

        def signed(self, name, _seconds):
            return f"https://{self.region}/{name}"

    monkeypatch.setattr(bucket, "S3Objects", Objects)
    model = await Weights(Bucket("models", "qwen"), tmp_path).model()
    again = await Weights(Bucket("models", "qwen"), tmp_path).model()
    assert again.key == model.key
    assert isinstance(again.source, Download)
    assert {url for _, url in Job.from_bytes(await again.source.job()).files} == {
        "https://eu-west-1/config.json",
        "https://eu-west-1/model.safetensors",
    }
    assert made == ["", "eu-west-1"]


def test_a_listing_of_before_regions_were_asked_for_is_read():
    made = Listing("s3://models", (), region="eu-west-1")
    before = {key: value for key, value in made.to_json().items() if key != "region"}
    assert Listing.from_json(before).region == ""
    assert Listing.from_json(made.to_json()) == made


async def test_a_mirror_without_checksums_says_how_to_make_them(mirror, tmp_path):
    (mirror.folder / "SHA256SUMS").unlink()
    with pytest.raises(SpecError, match="answered by 404; expected the mirror's checksums") as raised:
        await Weights(Mirror(mirror.url), tmp_path).model()
    assert raised.value.hint.endswith("sha256sum * >SHA256SUMS")


def test_checksums_are_read_as_sha256sum_writes_them():
    value = "ab" * 32
    assert sums_of(f"{value}  a.json\n{value} *./b c.bin\n\n", "x") == {
        "a.json": f"sha256:{value}",
        "b c.bin": f"sha256:{value}",
    }
    with pytest.raises(SpecError, match="has the line 'hello world'"):
        sums_of("hello world", "x")
