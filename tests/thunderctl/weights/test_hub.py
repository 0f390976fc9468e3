"""The hub: what a repository holds, pinned to a commit, and addresses for hosts, with or without a token."""

import hashlib
import json
from pathlib import Path

import pytest

from planner.errors import AuthError, SpecError
from runtime.weights.__main__ import fill
from runtime.weights.job import WeightFile
from tests.file_server import file_server
from thunderctl.weights import hub as hub_module
from thunderctl.weights.hub import hub_job, hub_listing
from thunderctl.weights.listing import engine_files
from thunderctl.weights.source import Hub

MODEL = Path(__file__).parents[3] / "examples" / "tiny-llama"
REPOSITORY, COMMIT = "someone/tiny-llama", "4f31b1351b723bdfa69af11d88cfa7ed0dba8ddf"
SOURCE = Hub(REPOSITORY, "main")
LARGE = 100_000
"""Bytes from which on a repository has a pointer for a file."""


def siblings() -> list[dict]:
    """The repository's files as the hub describes them with `blobs=true`."""
    found = []
    for path in sorted(MODEL.iterdir()):
        data = path.read_bytes()
        entry = {"rfilename": path.name, "size": len(data), "blobId": git_hash(data)}
        if len(data) >= LARGE:
            entry["lfs"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 134}
        found.append(entry)
    return found


def git_hash(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()


@pytest.fixture
def storage():
    """Where large files really lie: its addresses are signed, and it knows no tokens."""
    with file_server(MODEL) as made:
        yield made


@pytest.fixture
def hub(storage, tmp_path, monkeypatch):
    """A hub with one repository, which says where its large files lie."""
    with file_server(tmp_path) as made:
        document = {"id": REPOSITORY, "sha": COMMIT, "gated": False, "private": False, "siblings": siblings()}
        made.documents[f"/api/models/{REPOSITORY}/revision/main"] = json.dumps(document).encode()
        for path in MODEL.iterdir():
            at = f"/{REPOSITORY}/resolve/{COMMIT}/{path.name}"
            if path.stat().st_size >= LARGE:
                made.redirected[at] = f"{storage.url}/{path.name}?signature=s"
            else:
                made.documents[at] = path.read_bytes()
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield made


def gate(hub, monkeypatch=None) -> None:
    """Ask from now on who wants the repository."""
    at = f"/api/models/{REPOSITORY}/revision/main"
    hub.documents[at] = json.dumps(json.loads(hub.documents[at]) | {"gated": "manual"}).encode()
    hub.wanted_authorization = "Bearer hf_secret"
    if monkeypatch:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")


async def test_a_public_repository_is_fetched_by_the_host_at_the_commit_of_its_branch(hub, tmp_path):
    listing = await hub_listing(SOURCE)
    assert (listing.revision, listing.restricted) == (COMMIT, False)
    assert {file.name for file in listing.files} >= {"config.json", "model.safetensors", "tokenizer.json"}
    job = await hub_job(SOURCE, listing, send_token=False)
    assert {url.partition("/resolve/")[2].partition("/")[0] for _, url in job.files} == {COMMIT}
    assert len(hub.asked) == 1
    fill(tmp_path / "model", tmp_path / "progress", job)
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == (MODEL / "model.safetensors").read_bytes()


async def test_of_a_gated_one_the_host_gets_signed_addresses_and_the_token_stays_here(
    hub, storage, monkeypatch, tmp_path
):
    gate(hub, monkeypatch)
    listing = await hub_listing(SOURCE)
    assert listing.restricted
    job = await hub_job(SOURCE, listing, send_token=False)
    assert job.authorization == ""
    assert b"hf_secret" not in job.to_bytes()
    kinds = {url.partition(":")[0] if url.startswith("data") else url.rpartition("/")[0] for _, url in job.files}
    assert kinds == {"data", storage.url}
    asked = len(hub.asked)
    fill(tmp_path / "model", tmp_path / "progress", job)
    assert len(hub.asked) == asked
    assert {authorization for *_, authorization in storage.asked} == {""}
    assert (tmp_path / "model" / "config.json").read_bytes() == (MODEL / "config.json").read_bytes()


async def test_a_repository_that_was_renamed_is_followed_within_the_hub(hub, storage, monkeypatch, tmp_path):
    gate(hub, monkeypatch)
    listing = await hub_listing(SOURCE)
    here, there = (f"/{name}/resolve/{COMMIT}" for name in (REPOSITORY, "someone/renamed"))
    for file in listing.files:
        at = f"{there}/{file.name}"
        if (address := hub.redirected.pop(f"{here}/{file.name}", None)) is not None:
            hub.redirected[at] = address
        else:
            hub.documents[at] = hub.documents.pop(f"{here}/{file.name}")
        hub.redirected[f"{here}/{file.name}"] = at
    job = await hub_job(SOURCE, listing, send_token=False)
    fill(tmp_path / "model", tmp_path / "progress", job)
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert {path for _, path, _, _ in storage.asked} == {"/model.safetensors", "/tokenizer.json"}


async def test_weights_that_a_mirror_of_the_hub_gives_itself_do_not_pass_through_this_machine(hub, monkeypatch):
    gate(hub, monkeypatch)
    monkeypatch.setattr(hub_module, "MOST_HELD_BYTES", LARGE - 1)
    listing = await hub_listing(SOURCE)
    at = f"/{REPOSITORY}/resolve/{COMMIT}/model.safetensors"
    hub.redirected.pop(at)
    hub.documents[at] = (MODEL / "model.safetensors").read_bytes()
    with pytest.raises(SpecError, match=r"gives model\.safetensors") as refused:
        await hub_job(SOURCE, listing, send_token=False)
    assert "send_token" in refused.value.hint


async def test_the_token_is_sent_only_where_the_spec_says_so(hub, storage, monkeypatch, tmp_path):
    gate(hub, monkeypatch)
    job = await hub_job(SOURCE, await hub_listing(SOURCE), send_token=True)
    assert job.authorization == "Bearer hf_secret"
    fill(tmp_path / "model", tmp_path / "progress", job)
    assert {authorization for *_, authorization in storage.asked} == {""}
    assert (tmp_path / "model" / "model.safetensors").exists()


@pytest.mark.usefixtures("hub")
async def test_a_public_one_is_never_told_the_token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    job = await hub_job(SOURCE, await hub_listing(SOURCE), send_token=True)
    assert job.authorization == ""


async def test_a_refusal_says_whether_there_was_a_token(hub, monkeypatch):
    gate(hub)
    with pytest.raises(AuthError, match=f"refuses {REPOSITORY} without HF_TOKEN .401."):
        await hub_listing(SOURCE)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(AuthError, match="with HF_TOKEN") as raised:
        await hub_listing(SOURCE)
    assert "hf_wrong" not in raised.value.message


@pytest.mark.usefixtures("hub")
async def test_a_revision_that_is_not_there():
    with pytest.raises(SpecError, match=f"no {REPOSITORY} at revision 'v9'"):
        await hub_listing(Hub(REPOSITORY, "v9"))


async def test_a_hub_that_cant_be_asked(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SpecError, match=r"http://127\.0\.0\.1:9 can't be asked for the model's weights"):
        await hub_listing(SOURCE)


async def test_a_repository_without_weights_is_no_model(hub):
    at = f"/api/models/{REPOSITORY}/revision/main"
    document = json.loads(hub.documents[at])
    rows = [row for row in document["siblings"] if not row["rfilename"].endswith("safetensors")]
    hub.documents[at] = json.dumps(document | {"siblings": rows}).encode()
    with pytest.raises(SpecError, match=r"expected config\.json and weights"):
        await hub_listing(SOURCE)


def test_of_several_forms_of_the_weights_one_is_taken():
    names = (
        "README.md .gitattributes config.json tokenizer.model chat_template.jinja consolidated.safetensors "
        "model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json "
        "pytorch_model.bin original/params.json onnx/model.onnx model.gguf modeling_own.py"
    )
    files = tuple(WeightFile(name, 1, "sha256:0") for name in names.split())
    assert [file.name for file in engine_files(files)] == [
        "chat_template.jinja",
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "modeling_own.py",
        "tokenizer.model",
    ]
    pickled = tuple(WeightFile(name, 1, "sha256:0") for name in ("config.json", "pytorch_model.bin"))
    assert engine_files(pickled) == pickled
