"""docs/upstreams.md: its commands run, and what it says of options is so. docs/scale.md: its arithmetic is right."""

import os
import re
import subprocess
import sys
from pathlib import Path

from conftest import REPOSITORY
from huiyi.engines.child import free_port

DOCS = REPOSITORY / "docs"


def test_the_commands_of_the_page_work(tmp_path) -> None:
    script = "".join(re.findall(r"(?ms)^```bash\n(.*?)^```$", (DOCS / "upstreams.md").read_text("utf-8")))
    for port in ("30000", "30001", "30002"):
        script = script.replace(port, str(free_port()))
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HUIYI_")}
    env = {**kept, "HUIYI_HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    words = ["bash", "-meuo", "pipefail", "-c", script]
    done = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('"usage"') == 1


def test_the_options_that_it_names_are_there() -> None:
    help_ = subprocess.run([sys.executable, "-m", "huiyi", "serve", "--help"], capture_output=True, text=True, check=True).stdout
    page = (DOCS / "upstreams.md").read_text("utf-8")
    named = set(re.findall(r"--(?:upstream|engine)[a-z-]*", page))
    assert {"--upstream", "--engine"} < named <= set(re.findall(r"--[a-z-]+", help_))


def test_the_arithmetic_of_scale_is_right() -> None:
    page = (DOCS / "scale.md").read_text("utf-8")
    cpu, gpu, texts, each = 435, 113_600, 10_000_000, 50
    tokens = texts * each
    for figure in (
        f"{tokens / cpu / 86_400:.1f} days",
        f"{100 * tokens / cpu / 86_400:,.0f} days",
        f"{tokens / gpu / 3600:.1f} hours",
        f"{100 * tokens / gpu / 3600:.0f} hours",
        f"{tokens / gpu / 8 / 60:.0f} minutes",
        f"{100 * tokens / gpu / 8 / 3600:.1f} hours",
        f"{texts * 4096 / 1e9:.0f} GB",
        f"{texts * 2048 / 1e9:.1f} GB",
        f"{texts * 1024 / 1e9:.1f} GB",
        f"{texts * 256 / 1e9:.1f} GB",
        f"{texts * 5600 / 1e9:.0f} GB",
        f"{tokens / 100 / cpu / 3600:.1f} hours",
        f"{round(8 * gpu / each, -2):,.0f} vectors",
        f"{round(8 * gpu / each, -2) * 5600 / 1e6:.0f} MB/s",
    ):
        assert figure in page, figure
