"""Shell blocks of the pages are ones that a shell can read."""

import subprocess
from pathlib import Path

import pytest

from tests.pages import PAGES, blocks, named


def shell(page: Path) -> list[str]:
    return blocks(page, "sh", "bash")


@pytest.mark.parametrize("page", [page for page in PAGES if shell(page)], ids=named)
def test_shell_blocks_can_be_parsed(page):
    for script in shell(page):
        read = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, timeout=10)
        assert read.returncode == 0, f"{read.stderr}\n{script}"
