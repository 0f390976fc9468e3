"""The distribution: four packages and the templates, and nothing else at the top level."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_our_packages_with_their_data(tmp_path):
    build = "from hatchling.build import build_wheel; import sys; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = zipfile.ZipFile(tmp_path / done.stdout.split()[-1]).namelist()
    top = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert top == {"thunderctl", "planner", "provisioners", "runtime", "templates"}
    wanted = (
        "planner/data/market.csv",
        "provisioners/aws/list_prices.csv",
        "templates/thunder.toml.j2",
        "thunderctl/tui/app.tcss",
        "thunderctl/web/pages/layout.html",
        "thunderctl/web/static/app.css",
        "templates/probe.sh",
        "templates/locks/engine-cuda.txt",
    )
    assert set(wanted) <= set(names)
    assert not [name for name in names if "__pycache__" in name]
