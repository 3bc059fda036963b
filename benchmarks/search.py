"""`python -m benchmarks.search`: search beside reading the codes and beside the product alone, what
an index costs in recall, and encoding beside the encoder's forward pass.

The codes are made: normal numbers about a few hundred centres, so that they have neighbours, as
real ones do. Reading and searching map the file anew each time, as a command does, and take turns;
ratios are of medians, in one process.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aecli import codecs
from aecli.codecs.pooling import Pooling
from aecli.codespace import indexes, nearest
from aecli.codespace.archive import Archive, mapped
from aecli.codespace.encoding import BATCH_BYTES, Job, Unfinished, encode_all
from aecli.config import CodecConfig, ConvConfig, DataConfig, MlpConfig
from aecli.data.sources import default_places
from aecli.data.whole import Whole, load_whole
from aecli.errors import UsageError
from aecli.terminal import not_shown
from aecli.training import device

_CENTRES = 500
_ROWS = nearest.BLOCK


def main() -> None:
    """Read the command line, measure, print a JSON object."""
    options = _options()
    device.seed_and_limit(0, options.threads)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder, "codes.npy")
        _make(path, options.codes, options.dim)
        found: dict[str, Any] = {"codes": options.codes, "dim": options.dim}
        found |= one_query(path, options) | many_queries(path, options)
        for kind in options.indexes:
            found[kind] = index(kind, path, options)
    if options.encode:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            for codec, dataset in ((MlpConfig(), "mnist"), (ConvConfig(), "mnist-5k")):
                about = f"encode {dataset} by {codec.name}"
                found[about] = encoding(Path(folder), codec, dataset, options)
    print(json.dumps(found, indent=2))


def one_query(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of reading all codes once, by memory map and into a buffer, and of one query."""
    query = np.array(mapped(path)[options.codes // 3] + 0.1, np.float32)[None]
    work: dict[str, Callable[[], object]] = {
        "seconds of reading, mapped": lambda: _read_mapped(path),
        "seconds of reading, into a buffer": lambda: _read(path),
        "seconds of one query": lambda: nearest.nearest(mapped(path), query, 10),
        "seconds of one query, cosine": lambda: nearest.nearest(mapped(path), query, 10, "cosine"),
    }
    found: dict[str, Any] = in_turns(work, options.repeats)
    of_mapped = found["seconds of one query"] / found["seconds of reading, mapped"]
    of_read = found["seconds of one query"] / found["seconds of reading, into a buffer"]
    return found | {"one query over reading, mapped": of_mapped, "over a buffer": of_read}


def many_queries(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of many queries, and of their product with all codes alone."""
    queries = np.array(mapped(path)[:: options.codes // options.queries], np.float32)
    queries = queries[: options.queries] + np.float32(0.1)
    work: dict[str, Callable[[], object]] = {
        "seconds of the product": lambda: _product(path, torch.from_numpy(queries)),
        "seconds of many queries": lambda: nearest.nearest(mapped(path), queries, 10),
    }
    found: dict[str, Any] = {"queries": len(queries)}
    found |= in_turns(work, max(options.repeats // 3, 1))
    ratio = found["seconds of many queries"] / found["seconds of the product"]
    return found | {"many queries over the product": ratio}


def index(kind: str, path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds to build an index, its recall@10 of exact search, and seconds of one query."""
    codes = mapped(path)
    archive = Archive(path, codes, {}, Pooling(codes.shape[1:]))
    started = time.perf_counter()
    try:
        built = indexes.opened(kind, archive, None, 10, not_shown)
    except UsageError as error:
        return {"left out": str(error)}
    seconds = time.perf_counter() - started
    query = np.array(codes[options.codes // 3] + 0.1, np.float32)[None]
    found = in_turns({"seconds of one query": lambda: built.search(query, 10)}, options.repeats)
    about = {"recall@10": built.about["recall"], "settings": built.settings}
    return {"seconds to build, with recall": seconds, **about, **found}


def encoding(
    folder: Path, settings: CodecConfig, dataset: str, options: argparse.Namespace
) -> dict[str, Any]:
    """Seconds of encoding digits, rows of codes.csv and all, and of the encoder's forward pass over
    the same images, ready as float32, in the same batches."""
    config = DataConfig(dataset=dataset)
    whole = load_whole(config, default_places(), lambda _: None, None)
    codec = codecs.build(settings, whole.source.shape).eval()
    ready = [whole.source.read(some).images for some in _batches(whole)]

    @torch.no_grad()
    def forward() -> None:
        for images in ready:
            codec.encode(images)

    def encode(finish: bool) -> None:
        job = Job(codec, whole, "0" * 64, False, {})
        unfinished = Unfinished(folder / f"{time.perf_counter_ns()}.npy", job)
        with unfinished.alone():
            encode_all(unfinished, job, None, not_shown)
            if finish:
                unfinished.finish({}, None)

    work: dict[str, Callable[[], object]] = {
        "seconds of the forward pass": forward,
        "seconds of encoding": lambda: encode(False),
        "seconds of encoding, with codes.csv": lambda: encode(True),
    }
    found: dict[str, Any] = in_turns(work, options.repeats)
    floor = found["seconds of the forward pass"]
    return found | {
        "encoding over the forward pass": found["seconds of encoding"] / floor,
        "with codes.csv": found["seconds of encoding, with codes.csv"] / floor,
    }


def in_turns(work: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The median seconds of each work; they take turns, and a first turn warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(repeats + 1):
        for name, each in work.items():
            started = time.perf_counter()
            each()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _make(path: Path, n: int, dim: int) -> None:
    """Write codes (n, dim) float32."""
    rng = np.random.default_rng(0)
    centres = 3 * rng.standard_normal((_CENTRES, dim), dtype=np.float32)
    codes = np.lib.format.open_memmap(path, "w+", np.float32, (n, dim))
    for start in range(0, n, 50_000):
        some = codes[start : start + 50_000]
        some[:] = rng.standard_normal(some.shape, dtype=np.float32)
        some += centres[rng.integers(0, _CENTRES, len(some))]
    codes.flush()


def _read_mapped(path: Path) -> None:
    codes = mapped(path)
    rows = max(_ROWS // (4 * codes.shape[1]), 1)
    for start in range(0, len(codes), rows):
        torch.from_numpy(codes[start : start + rows]).sum()


def _read(path: Path) -> None:
    buffer = np.empty(_ROWS, np.uint8)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer.data):
            pass


def _product(path: Path, queries: torch.Tensor) -> None:
    codes: NDArray[Any] = mapped(path)
    rows = max(_ROWS // (4 * codes.shape[1]), 1)
    for start in range(0, len(codes), rows):
        torch.from_numpy(codes[start : start + rows]) @ queries.T


def _batches(whole: Whole) -> tuple[torch.Tensor, ...]:
    return torch.arange(len(whole)).split(max(BATCH_BYTES // (4 * whole.source.pixels), 1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.search", description=__doc__)
    add = parser.add_argument
    add("--threads", type=int, default=2, help="threads (default: 2)")
    add("--codes", type=int, default=1_000_000, help="codes (default: 1,000,000)")
    add("--dim", type=int, default=256, help="numbers in each (default: 256)")
    add("--queries", type=int, default=1000, help="many queries (default: 1000)")
    add("--repeats", type=int, default=7, help="turns; of many queries a third (default: 7)")
    add("--indexes", nargs="*", default=["binary", "faiss"], help="indexes measured (both)")
    add("--no-encode", dest="encode", action="store_false", help="leave encoding out")
    add("--folder", default=None, help="folder for the made codes (default: the system's)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
