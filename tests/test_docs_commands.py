"""What the pages say to type is there: commands, options, targets of make, scripts; and what does no harm works."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from runtime.messages import Routes
from tests.pages import DOCS, PAGES, README, ROOT, blocks, named, prose
from tests.test_guides import check, commands
from thunderctl.cli.main import UsageError, app, main
from thunderctl.spec.spec import parse_spec

TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
WITHOUT_HARM = ("init", "offers", "leases", "gc", "history", "events", "keys")
"""Quick, and without a network, in a home where nothing was ever deployed."""
ASKS_OTHERS = re.compile(r"\b[A-Z]{2,}\b|(?<!^init )--provider|-f\b|--rank")
"""Names to be filled in, markets and what doesn't end."""


def options(name: str) -> set[str]:
    command = typer.main.get_command(app)
    for word in name.split():
        command = command.commands[word]  # type: ignore[attr-defined]
    return {option for parameter in command.params for option in parameter.opts}


def inline(page: Path) -> list[str]:
    return [text for text in re.findall(r"`thunderctl ([^`]+)`", prose(page)) if "…" not in text and "..." not in text]


@pytest.mark.parametrize("page", [page for page in PAGES if inline(page)], ids=named)
def test_commands_within_the_text_are_ones_that_there_are(page):
    """One that is only named may lack its arguments."""
    for text in inline(page):
        words = shlex.split(text)
        if words[0].startswith("--") or words == ["keys"]:
            continue
        try:
            check(words)
        except UsageError as error:
            assert "Missing" in str(error), f"thunderctl {text}"  # noqa: PT017


def rows() -> Iterator[tuple[list[str], set[str]]]:
    """The README's table of commands: names, and the options that it gives them."""
    for cell in re.findall(r"^\| (`.+?`) \| ", README.read_text(), re.MULTILINE):
        found = re.findall(r"(?:^|, )`((?:[a-z-]+)(?: (?:create|list|revoke)\b)?)", cell)
        yield found, set(re.findall(r"--[a-z-]+", cell))


@pytest.mark.parametrize(("names", "given"), list(rows()), ids=lambda value: " ".join(sorted(value)) or "none")
def test_options_in_the_table_of_commands_are_ones_that_there_are(names, given):
    assert names
    assert given <= set().union(*(options(name) for name in names))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_targets_of_make_and_scripts_are_there(page):
    typed = "\n".join([*re.findall(r"`([^`\n]+)`", prose(page)), *blocks(page, "", "sh", "bash")])
    for target in re.findall(r"^make ([a-z-]+)", typed, re.MULTILINE):
        assert target in TARGETS
    for module in re.findall(r"python -m (benchmarks\.[a-z_.]+)", typed):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
    for script in re.findall(r"^(?:\./)?(examples/[\w/]+\.(?:sh|py))", typed, re.MULTILINE):
        assert (ROOT / script).exists()


def harmless(page: Path) -> list[list[str]]:
    found = (arguments for script in blocks(page, "sh") for arguments in commands(script))
    return [one for one in found if one[0] in WITHOUT_HARM and not ASKS_OTHERS.search(" ".join(one))]


@pytest.mark.parametrize("page", [page for page in PAGES if harmless(page)], ids=named)
def test_what_does_no_harm_works(page, tmp_path, monkeypatch, capsys):
    """In the page's order, in a home of its own where nothing is deployed."""
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name in ("VAST_API_KEY", "RUNPOD_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "THUNDER_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for arguments in harmless(page):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--yes"] if "--delete" in arguments else arguments)
        assert ended.value.code == 0, (arguments, capsys.readouterr())


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml", "json")], ids=named)
def test_specs_and_documents_can_be_read(page):
    for text in blocks(page, "toml"):
        parse_spec(text)
    for text in blocks(page, "json"):
        document = json.loads(text)
        if document.get("schema") == "thunder.routes/v1":
            Routes.from_json(document)


def test_the_transcript_is_of_the_demo_that_there_is():
    """Every command that examples/demo.sh shows stands in docs/demo.md, in the same order."""
    script = (ROOT / "examples" / "demo.sh").read_text()
    shown = [
        line.removeprefix("run ").replace('"', "").replace("$THUNDER_HOME", "/tmp/thunder-demo").replace("$spec", spec)
        for spec in re.findall(r"^spec=(\S+)$", script, re.MULTILINE)
        for line in script.splitlines()
        if line.startswith("run ")
    ]
    told = re.findall(r"^\$ thunderctl (.+)$", (DOCS / "demo.md").read_text(), re.MULTILINE)
    assert [line.split() for line in told] == [line.split() for line in shown]
