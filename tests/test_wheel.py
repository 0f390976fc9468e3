"""The distribution: four packages, the templates and a manual page; and what is installed from it plans."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.wheelhouse import wheelhouse
from thunderctl import __version__

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).with_name("uv")
MANUAL = "share/man/man1/thunderctl.1"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built as pip and uv do, from the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    build = "from hatchling.build import build_wheel; import sys; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(folder)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return folder / done.stdout.split()[-1]


def test_the_wheel_holds_our_packages_with_their_data(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    beside = f"thunderctl-{__version__}.dist-info", f"thunderctl-{__version__}.data"
    assert {name.split("/")[0] for name in names} - {*beside} == {
        "thunderctl",
        "planner",
        "provisioners",
        "runtime",
        "templates",
    }
    wanted = (
        "planner/data/market.csv",
        "provisioners/aws/list_prices.csv",
        "templates/thunder.toml.j2",
        "thunderctl/tui/app.tcss",
        "thunderctl/web/pages/layout.html",
        "thunderctl/web/static/app.css",
        "templates/probe.sh",
        "templates/locks/engine-cuda.txt",
        f"thunderctl-{__version__}.data/data/{MANUAL}",
    )
    assert set(wanted) <= set(names)
    assert not [name for name in names if "__pycache__" in name]


def test_a_wheel_made_of_the_source_distribution_is_the_same(wheel, tmp_path):
    build = (
        "from hatchling.build import build_sdist, build_wheel; import os, sys, tarfile; "
        "source = build_sdist(sys.argv[1]); tarfile.open(os.path.join(sys.argv[1], source)).extractall(sys.argv[1]); "
        "os.chdir(os.path.join(sys.argv[1], source.removesuffix('.tar.gz'))); print(build_wheel(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", build, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    again = zipfile.ZipFile(tmp_path / done.stdout.split()[-1])
    assert sorted(again.namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """What the project says it needs, and nothing else: half a gigabyte, which is not kept."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    folder = tmp_path_factory.mktemp("wheels")
    yield wheelhouse(folder, project["dependencies"])
    shutil.rmtree(folder)


@pytest.fixture
def folder(tmp_path):
    """As large; it is not kept either."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def run(command, folder):
    """Without anything of this environment: no registry is asked, and what is written lies in the folder."""
    own = {"PATH": os.defpath, "HOME": str(folder), "THUNDER_HOME": str(folder / "home")}
    uvs = {f"UV_{name}": str(folder / name) for name in ("TOOL_DIR", "TOOL_BIN_DIR", "CACHE_DIR")}
    return subprocess.run(command, cwd=folder, env=own | uvs, capture_output=True, text=True, check=False)


def by_uv(wheel, wheels, folder):
    """`uv tool install`: returns the folder of the environment, and of the commands."""
    alone = ("--offline", "--no-index", "--no-config", "--find-links", wheels, "--python", sys.executable)
    done = run([UV, "tool", "install", *alone, wheel], folder)
    assert done.returncode == 0, done.stderr
    return folder / "TOOL_DIR" / "thunderctl", folder / "TOOL_BIN_DIR"


def by_pip(wheel, wheels, folder):
    """`pip install` into a new virtual environment."""
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    alone = ("--isolated", "--disable-pip-version-check", "--no-index", "--no-compile", "--find-links", wheels)
    done = run([environment / "bin" / "python", "-m", "pip", "install", *alone, wheel], folder)
    assert done.returncode == 0, done.stderr
    return environment, environment / "bin"


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("install", [by_uv, pytest.param(by_pip, marks=pytest.mark.soak)])
def test_what_is_installed_in_a_clean_environment_plans(install, wheel, wheels, folder):
    environment, commands = install(wheel, wheels, folder)
    assert run([commands / "thunderctl", "--version"], folder).stdout == f"thunderctl {__version__}\n"
    assert (environment / MANUAL).read_bytes() == (ROOT / "docs" / "thunderctl.1").read_bytes()
    done = run([commands / "thunderctl", "plan", "--budget", "14", "--json"], folder)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["schema"] == "thunder.plan/v1"
    assert 0 < plan["cost_usd_per_hour"] <= 14
    assert plan["replicas"]


def test_the_changelog_begins_with_this_version():
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ \((unreleased|\d{4}-\d\d-\d\d)\)", heading) for heading in headings)
    assert headings[0].split()[0] == __version__
    assert not [heading for heading in headings[1:] if "unreleased" in heading]


def test_a_commit_with_a_versions_tag_is_of_that_version():
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a git checkout: it has no tags")
    done = subprocess.run(["git", "tag", "--points-at", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    tags = [tag for tag in done.stdout.split() if re.fullmatch(r"v\d.*", tag)]
    assert tags in ([], [f"v{__version__}"])
    if tags:
        assert f"## {__version__} (unreleased)" not in (ROOT / "CHANGELOG.md").read_text()
