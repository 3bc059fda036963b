"""The nearest of very many codes, exactly: a product or a difference, and a top-k, in blocks.

Distances as float32 computes them decide only who is looked at: everyone who could be among the
nearest, given the rounding, has the distance taken anew from the differences in float64. The order
is by that, and by index where it is equal. Written by hand, not scikit-learn's brute force, which
keeps all codes in memory as float64 or rounds |x|^2 - 2xy + |y|^2 without looking again.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aecli.errors import DataError
from aecli.terminal import Advance, show_nothing

METRICS = ("euclidean", "cosine")
COPY = 1e-5
"""Distance, over the query's norm, up to which a code is one of a copy: two encodings of the same
image differ by the rounding, which depends on what else was in the batch."""
BLOCK = 2**23
"""Bytes of codes that are looked at at once: what the caches of a core hold, so that the codes come
from memory once."""
_PRODUCT = 2**26  # bytes of distances of all queries to a block, or of differences
_DIRECT = 4  # queries up to which differences are quicker than a product
_QUERIES = 1024  # at once
_PAIRS = 2**14  # of query and code whose differences are held at once
_MOST = torch.finfo(torch.float32).max  # finite, so that what is put out of reach stays there
_CHUNK, _CHUNKS = 512, 1024
"""Codes whose nearest one says whether they are looked at closely; so many such at once."""
_MANY = 4  # times k: so many of a block are looked at without a closer look at their order


class Codes(Protocol):
    """Codes (N, d) that are read in parts, an array or what gives arrays."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, d)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> NDArray[Any]:
        """Some of them, by a slice or by their indices."""


@dataclass(frozen=True)
class Found:
    """The nearest codes of each query, fewer than were asked for where there are no more."""

    indices: list[NDArray[np.int64]]
    distances: list[NDArray[np.float64]]
    copies: list[NDArray[np.int64]]
    """Indices of the codes left out as copies of the query, ascending."""


def nearest(
    codes: Codes,
    queries: NDArray[np.float32],
    k: int,
    metric: str = "euclidean",
    with_copies: bool = True,
    path: Path | str = "codes",
    advance: Advance = show_nothing,
) -> Found:
    """The k nearest of codes (N, d) to each of queries (Q, d), by Euclidean distance or by one
    minus the cosine; a code of zeros has no direction, and distance 1 to all.

    with_copies: False to leave out the codes that lie within COPY of the query, itself among them.
    path: name of the codes in errors. advance: told the number of codes looked at.
    Raises DataError for codes that are not finite.
    """
    parts = []
    for first in range(0, len(queries), _QUERIES):
        some = _Search(queries[first : first + _QUERIES], k, metric, with_copies)
        rows = max(min(BLOCK // (4 * codes.shape[1]), _PRODUCT // (4 * len(some.queries))), 1)
        rows -= rows % _CHUNK if rows > _CHUNK else 0
        for start in range(0, len(codes), rows):
            block = np.ascontiguousarray(codes[start : start + rows], dtype=np.float32)
            try:
                some.look(block, start)
            except FloatingPointError:
                raise DataError(f"{path}: {_not_finite(block, start)}") from None
            advance(len(block) * len(some.queries) / len(queries))
        parts.append(some.found())
    return Found(
        [each for part in parts for each in part.indices],
        [each for part in parts for each in part.distances],
        [each for part in parts for each in part.copies],
    )


def distances_at(
    codes: Codes, indices: NDArray[np.int64], query: NDArray[np.float32], metric: str
) -> NDArray[np.float64]:
    """The distances (n,) of some of codes (N, d), by their indices (n,), to one query (d,), from
    differences in float64; a block of the codes is in memory at once."""
    rows = max(BLOCK // (8 * codes.shape[1]), 1)
    found = np.empty(len(indices))
    for first in range(0, len(indices), rows):
        block = np.asarray(codes[indices[first : first + rows]], np.float32)
        found[first : first + rows] = _distances(query[None], block, metric)
    return found


def copies_at(
    codes: Codes, indices: NDArray[np.int64], query: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """(n,) True for copies of the query (d,) among some of codes (N, d), by their indices (n,)."""
    return distances_at(codes, indices, query, "euclidean") <= _reach(query)


def are_copies(codes: NDArray[Any], query: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(n,) True for codes (n, d) as near to the query (d,) as two encodings of one image are."""
    return _distances(query[None], codes, "euclidean") <= _reach(query)


def _reach(query: NDArray[np.float32]) -> float:
    """The distance up to which a code is a copy of a query."""
    return COPY * float(np.linalg.norm(query.astype(np.float64)))


def in_order(
    indices: NDArray[np.int64], distances: NDArray[np.float64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k nearest, by distance and, where that is equal, by index."""
    order = np.lexsort((indices, distances))[:k]
    return indices[order], distances[order]


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors (n, d) of length 1; zeros stay."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)


def _not_finite(block: NDArray[np.float32], start: int) -> str:
    bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
    if not len(bad):
        return "numbers too large for float32 to square"
    return f"code {start + int(bad[0])} has numbers that are not finite (NaN, infinity)"


@dataclass(frozen=True)
class _Near:
    """Runs of codes of a block, each with one query, of which some may be among its nearest."""

    rows: Tensor
    """(n,): which query."""
    squares: Tensor
    """(n, c): squared distances to c codes."""
    slack: Tensor
    """(n,): how far these may be off."""
    firsts: NDArray[np.int64]
    """(n,): the place in the block of the first code."""


class _Search:
    """A search for the nearest codes of some queries, block after block."""

    def __init__(
        self, queries: NDArray[np.float32], k: int, metric: str, with_copies: bool
    ) -> None:
        self.queries, self._k, self._metric = queries, k, metric
        self._with_copies = with_copies
        plain = torch.from_numpy(np.ascontiguousarray(queries))
        self._vectors = plain
        if metric == "cosine":  # |x/|x| - q/|q||^2 is twice one minus the cosine
            self._vectors = torch.from_numpy(_unit(queries.astype(np.float64))).float()
        self._norms = self._vectors.double().norm(dim=1).float()
        self._doubled = -2 * self._vectors
        self._apart = torch.empty(0)
        n = len(queries)
        self._indices = np.zeros((n, k), np.int64)
        self._distances = np.full((n, k), np.inf)
        self._copies: list[list[int]] = [[] for _ in range(n)]
        self._limit = torch.full((n,), _MOST)
        """Squared distance, as float32 has it, above which nobody is looked at."""
        # Rounding of a sum of d products: at most (d + 8) 2^-23 of the sum of their magnitudes.
        self._rounding = (queries.shape[1] + 8) * 2.0**-23
        self._rooms: dict[int, Tensor] = {}

    def look(self, block: NDArray[np.float32], start: int) -> None:
        """Look at codes (b, d), the first of which has the index `start`. Raises
        FloatingPointError for codes that are not finite."""
        apart, rest, slack = self._squares(_tensor(block))
        width = _CHUNK if len(block) % _CHUNK == 0 else len(block)
        apart = apart.unflatten(1, (-1, width))
        within = (self._limit + 2 * slack - rest).unsqueeze(1)
        queries, chunks = (apart.amin(dim=2) <= within).nonzero().T
        most = _CHUNKS * _CHUNK // width or 1
        for rows, of in zip(queries.split(most), chunks.split(most), strict=True):
            if len(rows):
                squares = apart[rows, of] + rest[rows].unsqueeze(1)
                near = _Near(rows, squares, slack[rows], (of * width).numpy())
                self._look_closer(near, block, start)

    def _squares(self, block: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Squared distances as float32 computes them, in two parts, (Q, b) and (Q,), which spares a
        pass over the first; and (Q,) how far their sum may be off."""
        if self._metric == "cosine":
            norms = torch.linalg.vector_norm(block, dim=1, keepdim=True)
            _require_finite(norms)
            zeros = norms[:, 0] == 0
            block = torch.div(block, norms.masked_fill(norms == 0, 1), out=self._room(0, block))
            few = len(self._vectors) <= _DIRECT
            apart = self._of_differences(block) if few else self._products(block)
            rest = torch.full((len(apart),), 0.0 if few else 2.0)
            # Zeros are as far as what has no direction in common.
            apart[:, zeros] = 2 - rest[0]
            apart[self._norms == 0] = 2 - rest[0]
            return apart, rest, torch.full((len(apart),), 4 * self._rounding)
        if len(self._vectors) <= _DIRECT:
            none = torch.zeros(len(self._vectors))
            return self._of_differences(block), none, none
        norms = torch.linalg.vector_norm(block, dim=1)
        _require_finite(norms)
        apart = self._products(block).add_(norms.square())
        return apart, self._norms.square(), self._rounding * (self._norms + norms.max()).square()

    def _products(self, block: Tensor) -> Tensor:
        """Products (Q, b) with the queries, times -2."""
        shape = len(self._vectors), len(block)
        if self._apart.shape != shape:
            self._apart = torch.empty(shape)
        return torch.mm(self._doubled, block.T, out=self._apart)

    def _of_differences(self, block: Tensor) -> Tensor:
        """Squared distances (Q, b), off by rounding in proportion to them alone."""
        squares = torch.empty((len(self._vectors), len(block)))
        for row, vector in zip(squares, self._vectors, strict=True):
            difference = torch.sub(block, vector, out=self._room(1, block))
            torch.linalg.vector_norm(difference, dim=1, out=row)
        squares.square_()
        _require_finite(squares)
        return squares

    def _room(self, which: int, block: Tensor) -> Tensor:
        """Memory for a block, the same each time."""
        if which not in self._rooms or len(self._rooms[which]) < len(block):
            self._rooms[which] = torch.empty_like(block)
        return self._rooms[which][: len(block)]

    def _look_closer(self, near: _Near, block: NDArray[np.float32], start: int) -> None:
        """Take the exact distances of all that may be among the nearest."""
        rows, squares, slack = near.rows, near.squares, near.slack
        if not self._with_copies:
            self._take_out_copies(near, block, start)
        limit = self._limit[rows] + 2 * slack
        counts = (squares <= limit.unsqueeze(1)).sum(dim=1)
        many = (counts > _MANY * self._k).nonzero()[:, 0]
        if len(many):
            worst = squares[many].topk(self._k, largest=False).values[:, -1]
            limit[many] = torch.minimum(limit[many], self._above(worst) + 2 * slack[many])
        of, at = (squares <= limit.unsqueeze(1)).nonzero().T.numpy()
        queries, at = rows.numpy()[of], at + near.firsts[of]
        self._merge(queries, at + start, self._exact(queries, block, at))

    def _above(self, squares: Tensor) -> Tensor:
        """Squared distances with what rounding in proportion to them may add."""
        return squares * (1 + 8 * self._rounding)

    def _take_out_copies(self, near: _Near, block: NDArray[np.float32], start: int) -> None:
        """Note copies of the queries, and put them out of reach."""
        rows, squares = near.rows, near.squares
        norms = torch.from_numpy(np.linalg.norm(self.queries, axis=1))[rows]
        if self._metric == "cosine":  # of a copy, too; zeros are far from all, copies among them
            norms = torch.where(norms > 0, 1.0, _MOST**0.25)
        reach = self._above((2 * COPY * norms).square()) + 2 * near.slack
        of, at = (squares <= reach.unsqueeze(1)).nonzero().T.numpy()
        for row in np.unique(of).tolist():
            those, first = at[of == row], near.firsts[row]
            copies = those[are_copies(block[first + those], self.queries[int(rows[row])])]
            squares[row, torch.from_numpy(copies)] = torch.inf
            self._copies[int(rows[row])] += (first + copies + start).tolist()

    def _exact(
        self, queries: NDArray[np.int64], block: NDArray[np.float32], at: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """The distance of each pair of a query and a code of the block."""
        found = np.empty(len(at))
        pairs = max(min(_PAIRS, _PRODUCT // (8 * block.shape[1])), 1)
        for first in range(0, len(at), pairs):
            some = slice(first, first + pairs)
            found[some] = _distances(self.queries[queries[some]], block[at[some]], self._metric)
        return found

    def _merge(
        self,
        queries: NDArray[np.int64],
        indices: NDArray[np.int64],
        distances: NDArray[np.float64],
    ) -> None:
        """Keep the k nearest of those so far and these, one for each pair."""
        touched = np.unique(queries)
        row = np.concatenate([np.repeat(touched, self._k), queries])
        index = np.concatenate([self._indices[touched].ravel(), indices])
        distance = np.concatenate([self._distances[touched].ravel(), distances])
        order = np.lexsort((index, distance, row))
        firsts = np.searchsorted(row[order], touched)
        kept = order[(firsts[:, None] + np.arange(self._k)).ravel()]
        self._indices[touched] = index[kept].reshape(-1, self._k)
        self._distances[touched] = distance[kept].reshape(-1, self._k)
        worst = torch.from_numpy(self._distances[touched, -1])
        squares = worst.square() if self._metric == "euclidean" else 2 * worst
        self._limit[torch.from_numpy(touched)] = self._above(squares).float().clamp_max(_MOST)

    def found(self) -> Found:
        """Everything found in the blocks so far."""
        there = [np.isfinite(row) for row in self._distances]
        return Found(
            [row[finite] for row, finite in zip(self._indices, there, strict=True)],
            [row[finite] for row, finite in zip(self._distances, there, strict=True)],
            [np.array(each, np.int64) for each in self._copies],
        )


def _tensor(block: NDArray[np.float32]) -> Tensor:
    """A block as a tensor, over the same memory unless that is only to be read, which torch has no
    word for."""
    return torch.from_numpy(block if block.flags.writeable else block.copy())


def _require_finite(numbers: Tensor) -> None:
    if not bool(numbers.isfinite().all()):
        raise FloatingPointError


def _distances(
    queries: NDArray[np.float32], codes: NDArray[np.float32], metric: str
) -> NDArray[np.float64]:
    """The distance of each pair, of queries (n, d), or one (1, d) for all, and codes (n, d)."""
    x, q = codes.astype(np.float64), queries.astype(np.float64)
    if metric == "euclidean":
        return np.asarray(np.sqrt(np.square(x - q).sum(axis=1)))
    x, q = _unit(x), _unit(q)
    without = ~x.any(axis=1) | ~q.any(axis=1)
    return np.where(without, 1.0, 0.5 * np.square(x - q).sum(axis=1))
