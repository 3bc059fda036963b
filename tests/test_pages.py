"""The pages in docs/: every command on them runs, as the README's do; so does the Python; every
metric has its definition; the files for CI can be read."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from aecli.cli import expect, metric_names
from tests.test_examples import calls, quick, shell_blocks, small, write_codes, write_photos

__all__ = ["quick"]  # a fixture

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("chapter", "ci", "cluster", "gallery", "numbers", "own-images", "python")
LINES = [line for page in PAGES for line in shell_blocks((DOCS / f"{page}.md").read_text("utf-8"))]
CALLS = {shlex.join(call): call for line in LINES for call in calls(line)}
NEEDS_CODES = ("decode", "search")


@pytest.mark.parametrize("line", CALLS)
def test_every_command_of_the_pages_runs(inside, quick, jobs_here, small_run, line):
    program, *words = CALLS[line]
    assert program == "aecli"
    if "latest" in words:
        shutil.copytree(small_run.run.parent, "runs", symlinks=True)
    if "./photos" in words:
        write_photos(Path("photos"))
    if words[0] == "encode":  # the small run is of digits
        words = ["mnist-5k" if word == "./photos" else word for word in words]
    if words[0] in NEEDS_CODES:
        write_codes(inside)
        words = ["codes.npy" if word == "photos.npy" else word for word in words]
    done = inside(*small(words, f"runs/{small_run.run.name}"))
    assert done.code in ((0, 7) if "--expect" in words else (0,)), done.stderr


def test_the_python_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert names["decoded"].shape == (5, 1, 8, 8)
    assert names["search"].score(names["test"], names["test_labels"]) > 0.8
    assert names["codes"].dtype == "float32"


@pytest.mark.parametrize("experiment", metric_names.METRICS)
def test_every_metric_is_defined(experiment):
    defined = set(re.findall(r"`([\w<>]+)`", (DOCS / "numbers.md").read_text("utf-8")))
    samplers = ("real", "standard_normal", "gaussian", "full_gaussian", "mixture")
    samplers += ("jittered", "flow")
    for name in metric_names.METRICS[experiment]:
        # A metric of one sampler is defined with the first one's; of another's codes, by a prefix.
        plain = re.sub(rf"_({'|'.join(sorted(samplers, key=len, reverse=True))})$", "", name)
        of_sampler = {f"{plain}_{sampler}" for sampler in samplers}
        bare = re.sub(r"^(pca|pixels)_|_sd$", "", name) if experiment == "evaluate" else name
        assert {name, bare} & defined or of_sampler & defined, name


def test_the_files_for_ci_can_be_read():
    blocks = re.findall(r"```yaml\n(.*?)```", (DOCS / "ci.md").read_text("utf-8"), re.DOTALL)
    github, gitlab = map(yaml.safe_load, blocks)
    steps = github["jobs"]["train"]["steps"]
    said = [step["run"] for step in steps if "run" in step]
    assert said == gitlab["train"]["script"]
    gates = [line for line in said if "--expect" in line]
    assert len(gates) == 2
    train = next(calls(gates[0]))
    expect.parse_all([train[train.index("--expect") + 1]], "train")
