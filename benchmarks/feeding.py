"""`python -m benchmarks.feeding`: how fast images of a folder reach the step, and how large a scene
trains in how little memory.

Everything is made here, in a temporary folder, and looked at through a cache of its own: JPEGs of
smooth noise, and a sparse GeoTIFF that is drawn block by block. Rates are compared in turns, so
that both have the same machine; medians are printed.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 64
PASSES = 5  # over the images, each way, in turns


def main() -> None:
    """Read the command line, measure, print a JSON object."""
    options = _options()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        if options.images:
            make_jpegs(folder / "jpegs", options.images, options.size)
            found["first look"] = first_look(folder / "jpegs")
            found["feeding"] = feeding(folder / "jpegs")
        if options.scene:
            make_scene(folder / "scene.tif", options.scene)
            found["scene"] = train_on_scene(folder / "scene.tif", folder, options.tile)
    print(json.dumps(found, indent=2))


def make_jpegs(folder: Path, count: int, size: int) -> None:
    """Write `count` JPEGs of size x size, in ten sub-folders, on all cores."""
    for label in range(10):
        (folder / str(label)).mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(_one_jpeg, [folder] * count, range(count), [size] * count, chunksize=64))


def _one_jpeg(folder: Path, number: int, size: int) -> None:
    from PIL import Image

    generator = np.random.default_rng(number)
    coarse = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    noisy = np.asarray(smooth, np.int16) + generator.integers(-8, 9, (size, size, 3))
    image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    image.save(folder / str(number % 10) / f"{number:06}.jpg", quality=90)


def first_look(folder: Path) -> dict[str, Any]:
    """Seconds of the first look with one core and with all, each with an empty cache, and of the
    second look."""
    from aecli import machine
    from aecli.config import DataConfig
    from aecli.data.own import opened as own

    seconds: dict[str, Any] = {"cores": machine.usable_cores()}
    config = DataConfig(dataset=str(folder))
    for name, workers in (("one core", 1), ("all cores", machine.usable_cores())):
        with tempfile.TemporaryDirectory(dir=folder.parent) as cache:
            own._opened.clear()
            started = time.perf_counter()
            own.opened(config, Path(cache), workers)
            seconds[name] = time.perf_counter() - started
    for name in ("kept in the cache", "second look"):
        own._opened.clear()
        started = time.perf_counter()
        own.opened(config, folder.parent / "cache/aecli/images", machine.usable_cores())
        seconds[name] = time.perf_counter() - started
    return seconds


def feeding(folder: Path) -> dict[str, Any]:
    """Images a second that reach a batch, and a training's step, from memory and from the cache."""
    import torch

    from aecli import codecs
    from aecli.codecs.settings import MlpConfig
    from aecli.config import AdamConfig, DataConfig, FitConfig
    from aecli.data import facts
    from aecli.data.own.source import Read
    from aecli.training.loop import Training

    opened = facts.look(DataConfig(dataset=str(folder)))
    windows = opened.windows["train"]
    read = Read(opened.pool, windows, opened.shape, opened.scale, None, opened.masked)
    memory = read.in_memory()
    buffer = torch.empty((BATCH, *opened.shape))

    def batches(source: Any, limit: int) -> float:
        order = torch.randperm(len(source))[:limit].split(BATCH)
        started = time.perf_counter()
        for some in order:
            source.read(some, buffer)
        return limit / (time.perf_counter() - started)

    def steps(source: Any, limit: int) -> float:
        generator = torch.Generator().manual_seed(0)
        codec = codecs.build(MlpConfig(hidden=(16,), code_dim=8), opened.shape)
        fit = FitConfig(batch_size=BATCH, optimizer=AdamConfig(), epochs=1)
        part = source.part(torch.arange(limit))
        training = Training(codec, part, part.part(torch.arange(0)), fit, generator)
        started = time.perf_counter()
        while not training.is_epoch_over:
            training.take_step()
        return limit / (time.perf_counter() - started)

    found: dict[str, Any] = {"images": len(windows), "image_shape": list(opened.shape)}
    for name, measure, limit in (
        ("batches", batches, len(windows)),
        ("steps of a small mlp", steps, min(len(windows), 2048)),
    ):
        rates: dict[str, list[float]] = {"memory": [], "cache": []}
        batches(read, len(windows))  # the first epoch
        for _ in range(PASSES):
            rates["memory"].append(measure(memory, limit))
            rates["cache"].append(measure(read, limit))
        medians = {place: statistics.median(values) for place, values in rates.items()}
        found[f"{name}, images a second"] = medians
        found[f"{name}, ratio"] = medians["cache"] / medians["memory"]
    return found


def make_scene(path: Path, side: int) -> None:
    """Write a scene of side x side x 3 uint16, block by block; a corner of it has no data."""
    import rasterio
    from rasterio.transform import from_origin
    from rasterio.windows import Window

    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": side,
        "height": side,
        "count": 3,
        "dtype": "uint16",
        "nodata": 0,
        "crs": "EPSG:32621",
        "transform": from_origin(700_000, 7_000_000, 10, 10),
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "sparse_ok": True,
    }
    rows, columns = np.mgrid[0:512, 0:512]
    with rasterio.open(path, "w", **profile) as file:
        for y in range(0, side, 512):
            for x in range(0, side, 512):
                if x + y < side // 4:
                    continue  # sparse: reads as 0, no data
                wave = np.sin((rows + y) / 37) + np.cos((columns + x) / 53)
                block = np.stack([6000 + 800 * wave + 300 * band for band in range(3)])
                height, width = min(512, side - y), min(512, side - x)
                window = Window(x, y, width, height)
                file.write(block[:, :height, :width].astype(np.uint16), window=window)


def train_on_scene(path: Path, folder: Path, tile: int) -> dict[str, Any]:
    """Seconds and peak memory of `aecli train` on a scene, in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    command = [sys.executable, "-m", "aecli", "train", "--dataset", str(path), "--epochs", "1"]
    command += ["--set", f"data.tile={tile}", "--runs-dir", str(folder / "runs"), "--json"]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    if done.returncode:
        raise SystemExit(done.stderr)
    notes = [line for line in done.stderr.splitlines() if line.startswith("data: ")]
    return {
        "bytes on disk": path.stat().st_blocks * 512,
        "seconds": seconds,
        "peak_mib": max(peak, before) / 1024,
        "test_mse": json.loads(done.stdout)["test_mse"],
        "data": notes,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.feeding", description=__doc__)
    add = parser.add_argument
    add("--images", type=int, default=10_000, help="JPEGs to make (default: 10000; 0: none)")
    add("--size", type=int, default=256, help="height and width of each (default: 256)")
    add("--scene", type=int, default=20_000, help="side of the scene (default: 20000; 0: none)")
    add("--tile", type=int, default=64, help="tiles that it is cut into (default: 64)")
    add("--folder", type=Path, help="folder to make it all in (default: the system's)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
