"""Every command of the README and of docs/ works as it stands, from a checkout with the lab up."""

import subprocess

import docskit
import pytest
from docskit import PAGES
from labkit import ROOT

pytestmark = pytest.mark.lab

BLOCKS = [
    pytest.param(block, id=f"{docskit.name(page)}-{number}")
    for page in PAGES
    for number, block in enumerate(docskit.blocks(page, "sh"), 1)
]


def test_the_readme_has_commands() -> None:
    assert len(docskit.blocks(ROOT / "README.md", "sh")) >= 5


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_runs(block: str) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
