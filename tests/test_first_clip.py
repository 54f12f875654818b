"""docs/first-clip.md, followed to the letter: from a fresh clone to a caption of one's own clip."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import media_files

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_page_leads_to_a_caption_of_ones_own_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its first three chapters, by one shell, in an environment of their own; it asks a package index."""
    clone = tmp_path / "emojax"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    media_files.write_av(clone / "clip.mp4", video="libx264", audio="aac")
    page = (ROOT / "docs" / "first-clip.md").read_text().partition("## 4.")[0]
    blocks = re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL)
    assert [block.count("\n") for block in blocks] == [3, 1, 1, 1]
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "XLA_FLAGS", "VIRTUAL_ENV")}
    env |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "XDG_CACHE_HOME": str(tmp_path)}
    said, began = "", time.monotonic()
    for n in range(len(blocks)):
        script = f"set -e\n{'source .venv/bin/activate' if n else ''}\n{blocks[n]}"
        done = subprocess.run(["bash", "-c", script], cwd=clone, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{blocks[n]}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        said = done.stdout
        with capsys.disabled():
            print(f"\n{time.monotonic() - began:.0f} s: {blocks[n].splitlines()[-1]}", flush=True)
    record = json.loads(said)
    assert record["id"] == "clip.mp4"
    assert record["caption"]
    assert record["emotions"]
