"""Indexes beside an archive of codes, quicker to search and not exact; what each costs is measured.

`codes.binary.npy` has a bit for each unit of a code, 1 above the unit's median, compared by Hamming
distance. `codes.faiss` is FAISS's inverted file (Sivic and Zisserman 2003): codes in lists by their
nearest of many centres, of which a query looks into the nearest few. Beside each, a `.json` names
the codes that it was built of; an index of other codes is refused.
"""

import contextlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aecli import machine, strictjson
from aecli.codespace.archive import Archive, begin, beside, mapped, require_finite
from aecli.codespace.nearest import Found, copies_at, distances_at, in_order, nearest
from aecli.data.downloads import Working
from aecli.data.images import batch_size
from aecli.errors import DataError, StorageError, UsageError
from aecli.runs import storage

KINDS = ("faiss", "binary")
RECALL = 0.99
"""Recall that FAISS's index is set to, on the sampled queries."""
_QUERIES = 100  # codes of the archive, evenly spaced, that recall is measured on
_FOR_MEDIANS = 2**17  # codes, evenly spaced, that medians are taken of
_SAMPLE_BYTES = 2**28  # of such codes, at most
_BLOCK_BYTES = 2**24  # of codes, or of their bits, that are looked at at once
_PER_CENTRE = 64  # codes that a centre of FAISS is found from
_MAX_ABOUT = 2**24


class Index(ABC):
    """A quicker way to search an archive."""

    kind: str
    metric: str
    """Name of the distance that the nearest are found and shown by."""

    def __init__(self, archive: Archive, metric: str) -> None:
        self.archive, self.metric = archive, metric
        self.about: dict[str, Any] = {}
        self.measured = (0.0, 0)
        """Recall at the k that it was opened for, and the number of queries."""
        self._nearest_of: dict[int, tuple[NDArray[np.float32], Found]] = {}

    @abstractmethod
    def search(self, queries: NDArray[np.float32], k: int, with_copies: bool = False) -> Found:
        """The k nearest of each query (Q, d), as far as the index finds them."""

    @property
    @abstractmethod
    def files(self) -> tuple[Path, Path]:
        """The index and the description beside it."""

    @abstractmethod
    def build(self, k: int) -> None:
        """Build it and write its file. Raises DataError, StorageError."""

    @abstractmethod
    def load(self) -> None:
        """Read what `build` wrote. Raises DataError, and those of storage.MALFORMED for a
        description that lacks something."""

    def tuned(self, k: int) -> tuple[float, int]:
        """Recall at k and the number of queries, after its settings are such that it finds enough,
        where there are any."""
        return self.recall(k)

    @property
    def settings(self) -> str:
        """Words on what it was set to."""
        return ""

    def recall(self, k: int) -> tuple[float, int]:
        """The share of the k nearest, by exact search, that it finds, the mean over queries, which
        are codes of the archive without their copies; and the number of queries."""
        queries, exact = self._exact(k)
        found = self.search(queries, k)
        shares = [
            len(np.intersect1d(a, b)) / len(a)
            for a, b in zip(exact.indices, found.indices, strict=True)
            if len(a)
        ]
        return float(np.mean(shares)) if shares else 1.0, len(queries)

    def _exact(self, k: int) -> tuple[NDArray[np.float32], Found]:
        """Queries (Q, d) that recall is measured on and their k nearest; searched for once."""
        if k not in self._nearest_of:
            exact_by = self.metric if self.kind == "faiss" else "euclidean"
            queries = _spaced(self.archive, _QUERIES)
            args = (self.archive.compared, queries, k, exact_by, False, self.archive.path)
            self._nearest_of[k] = queries, nearest(*args)
        return self._nearest_of[k]


def opened(kind: str, archive: Archive, metric: str | None, k: int, working: Working) -> Index:
    """The index of a kind beside an archive, built if there is none.

    metric: `euclidean` or `cosine`; None for the kind's own. Raises DataError for an index of other
    codes, UsageError, StorageError.
    """
    index: Index
    if kind == "binary":
        if metric is not None:
            raise UsageError(
                f"--metric {metric}: binary codes are compared by Hamming distance; leave it out"
            )
        index = Binary(archive)
    else:
        index = Inverted(archive, metric or "euclidean")
    file, description = index.files
    if not file.is_file() or not description.is_file():
        with working(f"building {file.name}"):
            fingerprint = archive.fingerprint
            index.build(k)
            index.measured = index.tuned(k)
        index.about |= {"codes": fingerprint, **_of_recall(k, index.measured)}
        storage.write_whole(description, strictjson.dump(index.about).encode())
        return index
    index.about = _described(description)
    if not archive.is_same(index.about["codes"]):
        raise DataError(
            f"{file}: an index of other codes than {archive.path} has now; remove it, and the next"
            " search builds it anew"
        )
    try:
        index.load()
        measured_at, index.measured = _recall_in(index.about)
    except storage.MALFORMED as error:
        raise DataError(
            f"{description}: damaged: {error!r}; remove it, and the next search builds it anew"
        ) from None
    if measured_at != k:
        with working(f"measuring recall@{k}"):
            index.measured = index.tuned(k)
        index.about |= _of_recall(k, index.measured)
        with contextlib.suppress(StorageError):  # else it is measured again the next time
            storage.write_whole(description, strictjson.dump(index.about).encode())
    return index


def _of_recall(k: int, measured: tuple[float, int]) -> dict[str, Any]:
    """Content of an index's description on its recall at k."""
    return {"k": k, "recall": measured[0], "queries": measured[1]}


def _recall_in(about: Mapping[str, Any]) -> tuple[int, tuple[float, int]]:
    """The k of a description, recall at it, and the number of queries. Raises those of
    storage.MALFORMED."""
    k, recall, queries = int(about["k"]), float(about["recall"]), int(about["queries"])
    if not 0 <= recall <= 1 or queries < 0:
        raise ValueError(f"recall {recall} over {queries} queries")
    return k, (recall, queries)


class Binary(Index):
    """A bit for each unit: 1 above the unit's median."""

    kind = "binary"

    def __init__(self, archive: Archive) -> None:
        super().__init__(archive, "hamming")

    @property
    def files(self) -> tuple[Path, Path]:
        codes = self.archive.path
        return beside(codes, ".binary.npy"), beside(codes, ".binary.json")

    def build(self, k: int) -> None:
        sample = _spaced(self.archive, _FOR_MEDIANS)
        self._medians = np.median(sample, axis=0).astype(np.float32)
        self.about["medians"] = self._medians.astype(np.float64).tolist()
        words = -(-self.archive.compared.shape[1] // 64)
        with _replacing(self.files[0]) as part, part.open("wb") as file:
            begin(file, "u8", (len(self.archive), words))
            for _, block in _blocks(self.archive):
                file.write(np.ascontiguousarray(self._bits(block)).data)
        self.load()

    def load(self) -> None:
        self._medians = np.array(self.about["medians"], np.float64).astype(np.float32)
        if self._medians.shape != self.archive.compared.shape[1:]:
            raise ValueError(f"medians of shape {self._medians.shape}")
        if not np.isfinite(self._medians).all():
            raise ValueError("medians that are not finite")
        self._every = mapped(self.files[0])
        words = -(-self.archive.compared.shape[1] // 64)
        if self._every.shape != (len(self.archive), words) or self._every.dtype != np.uint64:
            raise DataError(f"{self.files[0]}: not an index of {self.archive.path}")

    def search(self, queries: NDArray[np.float32], k: int, with_copies: bool = False) -> Found:
        found = Found([], [], [])
        for query, bits in zip(queries, self._bits(queries), strict=True):
            best, copies = self._nearest(query, bits, k, with_copies)
            found.indices.append(best % len(self.archive))
            found.distances.append((best // len(self.archive)).astype(np.float64))
            found.copies.append(copies)
        return found

    def _nearest(
        self, query: NDArray[np.float32], bits: NDArray[np.uint64], k: int, with_copies: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Distance times N plus index of the k nearest, ascending; the copies left out."""
        n, wanted = len(self.archive), k
        best, copies = self._scanned(query, bits, wanted, with_copies)
        if with_copies:
            return best, copies
        while True:
            # A unit that hardly varies may round to the other side of its median: a copy is not
            # always at distance 0.
            copied = copies_at(self.archive.compared, best % n, query)
            if (~copied).sum() >= k or len(best) < wanted:
                return best[~copied][:k], np.sort(np.concatenate([copies, best[copied] % n]))
            wanted = min(2 * wanted, n + 1)
            best, copies = self._scanned(query, bits, wanted, with_copies)

    def _scanned(
        self, query: NDArray[np.float32], bits: NDArray[np.uint64], k: int, with_copies: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The same, where only copies at distance 0 are left out."""
        n = len(self.archive)
        best, copies = np.empty(0, np.int64), [np.empty(0, np.int64)]
        rows = max(_BLOCK_BYTES // (8 * self._every.shape[1]), 1)
        for start in range(0, n, rows):
            block = self._every[start : start + rows]
            distances = np.bitwise_count(block ^ bits).sum(axis=1, dtype=np.int64)
            keys = distances * n + np.arange(start, start + len(block))
            if not with_copies and len(equal := np.flatnonzero(distances == 0)):
                copied = equal[copies_at(self.archive.compared, equal + start, query)]
                copies.append(copied + start)
                keys = np.delete(keys, copied)
            best = np.concatenate([best, keys])
            if len(best) > k:
                best = np.partition(best, k - 1)[:k]
        return np.sort(best), np.concatenate(copies)

    def _bits(self, codes: NDArray[Any]) -> NDArray[np.uint64]:
        """(n, words): the bits of codes (n, d)."""
        above = codes > self._medians
        packed = np.packbits(above, axis=1)
        spare = -packed.shape[1] % 8
        return np.pad(packed, ((0, 0), (0, spare))).view(np.uint64)


class Inverted(Index):
    """FAISS's inverted file of whole codes."""

    kind = "faiss"

    def __init__(self, archive: Archive, metric: str) -> None:
        super().__init__(archive, metric)
        self._faiss = _faiss()

    @property
    def files(self) -> tuple[Path, Path]:
        name = "" if self.metric == "euclidean" else f".{self.metric}"
        codes = self.archive.path
        return beside(codes, f"{name}.faiss"), beside(codes, f"{name}.faiss.json")

    @property
    def settings(self) -> str:
        return f"{self.about['probes']:,} of {self.about['lists']:,} lists looked into"

    def build(self, k: int) -> None:
        n, dim = self.archive.compared.shape
        lists = max(min(int(n**0.5), batch_size(dim, _SAMPLE_BYTES)), 1)
        self._index = self._faiss.IndexIVFFlat(self._faiss.IndexFlatL2(dim), dim, lists)
        self._index.cp.min_points_per_centroid = 1  # else it warns of small archives on stderr
        self._index.train(self._directed(_spaced(self.archive, _PER_CENTRE * lists)))
        for _, block in _blocks(self.archive):
            self._index.add(self._directed(block))
        self.about |= {"lists": lists, "probes": 1}
        with _replacing(self.files[0]) as part:
            try:
                self._faiss.write_index(self._index, str(part))
            except RuntimeError as error:
                raise StorageError(f"cannot write {self.files[0]}: {error}") from None

    def load(self) -> None:
        flags = self._faiss.IO_FLAG_MMAP | self._faiss.IO_FLAG_READ_ONLY
        lists, probes = int(self.about["lists"]), int(self.about["probes"])
        try:
            self._index = self._faiss.read_index(str(self.files[0]), flags)
            found = (self._index.ntotal, self._index.d, self._index.nlist)
        except (RuntimeError, AttributeError) as error:  # the latter of an index of another kind
            reason = str(error).strip().splitlines()[-1:]
            raise DataError(f"{self.files[0]}: not an index of FAISS: {reason}") from None
        if found != (*self.archive.compared.shape, lists):
            raise DataError(f"{self.files[0]}: not an index of {self.archive.path}")
        if not 1 <= probes <= lists:
            raise ValueError(f"{probes} probes of {lists} lists")

    def tuned(self, k: int) -> tuple[float, int]:
        while (found := self.recall(k))[0] < RECALL and self.about["probes"] < self.about["lists"]:
            self.about["probes"] = min(2 * self.about["probes"], self.about["lists"])
        return found

    def search(self, queries: NDArray[np.float32], k: int, with_copies: bool = False) -> Found:
        self._index.nprobe = self.about["probes"]
        found = Found([], [], [])
        asked = min(k if with_copies else k + 1, len(self.archive))  # the query itself, mostly
        _, every = self._index.search(self._directed(queries), asked)
        for query, indices in zip(queries, every, strict=True):
            best, distances, copies = self._completed(query, indices, k, with_copies)
            found.indices.append(best)
            found.distances.append(distances)
            found.copies.append(copies)
        return found

    def _completed(
        self, query: NDArray[np.float32], indices: NDArray[np.int64], k: int, with_copies: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """The k nearest as `_checked` gives them, among more codes, and in more lists, than these
        indices (-1: no further one in the lists) where they hold fewer than k."""
        asked, probes = len(indices), self.about["probes"]
        found = self._checked(query, indices, k, with_copies)
        while len(found[0]) < k:
            if (indices < 0).any() and probes < self.about["lists"]:
                probes = min(2 * probes, self.about["lists"])
            elif (indices >= 0).all() and asked < len(self.archive):
                asked = min(2 * asked, len(self.archive))
            else:
                break
            self._index.nprobe = probes
            _, [indices] = self._index.search(self._directed(query[None]), asked)
            found = self._checked(query, indices, k, with_copies)
        return found

    def _checked(
        self, query: NDArray[np.float32], indices: NDArray[np.int64], k: int, with_copies: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """The k nearest among some, by exact distances; these; the copies among them."""
        indices = np.sort(indices[indices >= 0])
        codes = self.archive.compared
        copied = np.zeros(len(indices), bool) if with_copies else copies_at(codes, indices, query)
        distances = distances_at(codes, indices[~copied], query, self.metric)
        return *in_order(indices[~copied], distances, k), indices[copied]

    def _directed(self, codes: NDArray[Any]) -> NDArray[np.float32]:
        """Codes as the index has them: for the cosine, of length 1."""
        found = np.ascontiguousarray(codes, dtype=np.float32)
        if self.metric == "cosine":
            norms = np.linalg.norm(found, axis=1, keepdims=True)
            return np.asarray(found / np.where(norms > 0, norms, 1), np.float32)
        return found


def _faiss() -> Any:
    """FAISS. Raises UsageError where it is not installed."""
    try:
        import faiss
    except ImportError:
        raise UsageError(
            "--index faiss: FAISS is not installed; pip install 'aecli[search]', or search without"
            " it: exact search is the default"
        ) from None
    faiss.omp_set_num_threads(machine.usable_cores())
    return faiss


def _spaced(archive: Archive, most: int) -> NDArray[np.float32]:
    """At most so many codes of an archive, and so many bytes of them, evenly spaced. Raises
    DataError if some are not finite."""
    n, most = len(archive), min(most, batch_size(archive.compared.shape[1], _SAMPLE_BYTES))
    chosen = np.unique(np.linspace(0, n - 1, min(most, n)).astype(np.int64))
    codes = np.asarray(archive.compared[chosen], np.float32)
    for i in np.flatnonzero(~np.isfinite(codes).all(axis=1)).tolist():
        require_finite(codes[i : i + 1], archive.path, int(chosen[i]))
    return codes


def _blocks(archive: Archive) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """All codes in blocks, each with the index of its first. Raises DataError."""
    rows = batch_size(archive.compared.shape[1], _BLOCK_BYTES)
    for start in range(0, len(archive), rows):
        block = np.asarray(archive.compared[start : start + rows], np.float32)
        require_finite(block, archive.path, start)
        yield start, block


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A path to write to, renamed to `path` at the end. Raises StorageError."""
    part = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _described(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_ABOUT:
            raise ValueError(f"more than {_MAX_ABOUT:,} bytes")
        about = json.loads(path.read_bytes())
        if not isinstance(about["codes"], dict):
            raise TypeError("codes are not described")
        return dict(about)
    except (OSError, *storage.MALFORMED) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
