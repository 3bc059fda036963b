"""`python -m docs.pictures`: the README's pictures, drawn by the code as it stands.

python -m docs.pictures              make the runs, most of an hour on 2 cores, and take from them
python -m docs.pictures RUN RUN      take from these finished runs; what they lack is made
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

MOST_BYTES = 300_000
_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Picture:
    """A picture of the README: the command whose run has it, and where."""

    name: str
    command: tuple[str, ...]
    file: str


_TRAIN = ("train", "--code-dim", "32", "--seed", "0", "--dataset", "mnist")
_TO_VAE = ("to-vae", "latest", "--samples", "10000")
_REPRODUCE = ("reproduce", "--dataset", "mnist")
PICTURES: Sequence[Picture] = (
    Picture("reconstructions", _TRAIN, "reconstructions.png"),
    Picture("tradeoff", _REPRODUCE, "sweep/tradeoff.png"),
    Picture("samples", _REPRODUCE, "sample/sample_grids.png"),
    Picture("conversion", _TO_VAE, "before_after.png"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, make the runs that are missing, write every picture."""
    parser = argparse.ArgumentParser(
        prog="python -m docs.pictures", description="Draw the README's pictures."
    )
    parser.add_argument("run", nargs="*", type=Path, help="finished run folder to take from")
    parser.add_argument("--out", type=Path, default=_ROOT / "docs", help="folder of the pictures")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="folder of new runs")
    options = parser.parse_args(arguments)
    runs = {_record(run)["command"]: run for run in options.run}
    options.out.mkdir(parents=True, exist_ok=True)
    for picture in PICTURES:
        experiment = picture.command[0]
        if experiment not in runs:
            runs[experiment] = _make(picture.command, options.runs_dir)
        _write(picture, runs[experiment], options.out)


def _make(command: Sequence[str], runs_dir: Path) -> Path:
    """The folder of a new run. Exits where it fails."""
    print(f"making the run of: aecli {' '.join(command)}", flush=True)
    call = [sys.executable, "-m", "aecli", *command, "--runs-dir", str(runs_dir.resolve())]
    done = subprocess.run(call, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"docs.pictures: {' '.join(command)} ended with {done.returncode}")
    return Path(done.stdout.splitlines()[-1])


def _write(picture: Picture, run: Path, folder: Path) -> None:
    """`folder`/NAME.png, with the run's command and commit inside. Exits if it is not small."""
    record = _record(run)
    source = run / picture.file
    if not source.is_file():
        raise SystemExit(f"docs.pictures: {run} has no {picture.file}")
    about = PngInfo()
    about.add_text("Source", f"aecli {record['command']}, commit {record['git_commit']}")
    target = folder / f"{picture.name}.png"
    with Image.open(source) as drawn:
        image = drawn.convert("RGB")
    image.save(target, pnginfo=about, optimize=True)
    if target.stat().st_size > MOST_BYTES:  # 256 colours are enough for grey digits and few lines
        image.quantize(256).save(target, pnginfo=about, optimize=True)
    size = target.stat().st_size
    if size > MOST_BYTES:
        raise SystemExit(f"docs.pictures: {target} has {size:,} bytes, more than {MOST_BYTES:,}")
    print(f"{target}: {size:,} bytes, of {run}, commit {record['git_commit']}", flush=True)


def _record(run: Path) -> dict[str, Any]:
    """run.json. Exits if there is none, or if the run is not finished."""
    try:
        record = json.loads((run / "run.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"docs.pictures: {run} is no run folder: {error}") from None
    if record.get("status") != "completed":
        raise SystemExit(f"docs.pictures: {run} is {record.get('status')}, not completed")
    return dict(record)


if __name__ == "__main__":
    main()
