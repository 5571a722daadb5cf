"""The tutorial's commands, as a reader gives them, on a smaller scale."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, copy_workflow

pytestmark = pytest.mark.release

SMALLER = {
    "scans: 60}": "scans: 9}",
    "grid: [48, 48, 64]": "grid: [16, 16, 32]",
    "iterations: 600": "iterations: 6",
    "validate_every: 200": "validate_every: 3\n  validation_scans: 2",
}
BLOCK = re.compile(r"^```\n(.+?)^```", re.MULTILINE | re.DOTALL)


def test_every_command_runs(tmp_path: Path) -> None:
    """All blocks in order, in one shell; this environment stands for the installation."""
    text = (ROOT / "docs/tutorial.md").read_text()
    for full, small in SMALLER.items():
        assert text.count(full) == 1, full
        text = text.replace(full, small)
    install, *commands = BLOCK.findall(text)
    assert install.startswith("make .venv/demo.ready\n")
    assert len(commands) == 9
    folder = copy_workflow(tmp_path / "workflow")
    script = "\n".join(["set -eu", f'export PATH="{Path(sys.executable).parent}:$PATH"', *commands])
    done = subprocess.run(
        ["bash"], input=script, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = folder / "results/tutorial"
    for name in ("shipped/report.html", "own/report.html", "report.zip", "run/audit.html"):
        assert (results / name).stat().st_size > 0, name
    table = (results / "run/table1.md").read_text()
    assert "| Crops, every piece kept |" in table and "| MobileNet/ASPP on spine crops |" in table
    # The first table was printed, and the second run trained only what was new.
    assert "| MobileNet/ASPP |" in done.stdout
    trained = (results / "run/models").glob("*/fold0/weights.safetensors")
    times = {path.parts[-3]: path.stat().st_mtime for path in trained}
    assert max(times, key=times.__getitem__) == "every_piece" and len(times) == 3
