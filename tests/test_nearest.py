"""Search in codes: against brute force in float64, whatever the block, the metric and the ties."""

import numpy as np
import pytest

from aecli.codespace import nearest as module
from aecli.codespace.nearest import are_copies, nearest
from aecli.errors import DataError

RNG = np.random.default_rng(0)


def codes(n=150, dim=8, offset=0.0):
    """Codes with copies, zeros, and one in another's direction."""
    made = (RNG.standard_normal((n, dim)) + offset).astype(np.float32)
    made[7] = made[100:120] = made[3]
    made[50] = made[51] = 0
    made[60] = 2 * made[3]
    return made


def brute(x, query, k, metric, with_copies):
    """The answer by the definitions, in float64."""
    x, q = x.astype(float), query.astype(float)
    euclidean = np.sqrt(((x - q) ** 2).sum(axis=1))
    distances = euclidean
    if metric == "cosine":
        norms, norm = np.linalg.norm(x, axis=1), np.linalg.norm(q)
        u, v = x / np.where(norms > 0, norms, 1)[:, None], q / (norm or 1)
        distances = np.where((norms == 0) | (norm == 0), 1, ((u - v) ** 2).sum(axis=1) / 2)
    is_copy = euclidean <= 1e-5 * np.linalg.norm(q)
    kept = np.arange(len(x)) if with_copies else np.flatnonzero(~is_copy)
    order = np.lexsort((kept, distances[kept]))[:k]
    return kept[order], distances[kept][order], np.flatnonzero(is_copy)


@pytest.mark.parametrize("metric", module.METRICS)
@pytest.mark.parametrize("block", [2**9, 2**20])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("with_copies", [True, False])
def test_it_finds_what_brute_force_finds(monkeypatch, metric, block, offset, with_copies):
    monkeypatch.setattr(module, "BLOCK", block)
    x = codes(offset=offset)
    for queries in (x[3:4], np.concatenate([x[:9], x[50:51], x[9:12] + 0.5])):
        for k in (1, 10, 149):
            found = nearest(x, queries, k, metric, with_copies)
            for i, query in enumerate(queries):
                indices, distances, copies = brute(x, query, k, metric, with_copies)
                assert found.indices[i].tolist() == indices.tolist()
                np.testing.assert_allclose(found.distances[i], distances, rtol=1e-12, atol=1e-14)
                if not with_copies:
                    assert found.copies[i].tolist() == copies.tolist()


def test_many_of_one_distance_come_by_index():
    x = np.zeros((500, 4), np.float32)
    x[:, 0] = 1
    found = nearest(x, np.ones((9, 4), np.float32), 7)
    assert all(each.tolist() == list(range(7)) for each in found.indices)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("metric", module.METRICS)
@pytest.mark.parametrize("queries", [1, 20])
def test_a_code_that_is_not_finite_is_named(number, metric, queries):
    x = codes()
    x[123, 2] = number
    with pytest.raises(DataError, match=r"^codes: code 123 has numbers that are not finite"):
        nearest(x, x[:queries], 3, metric)


def test_a_copy_is_what_rounding_does_not_tell_apart():
    query = np.full(4, 3, np.float32)
    near = np.stack([query, query * np.float32(1 + 4e-6), query * np.float32(1 + 4e-5)])
    assert are_copies(near, query).tolist() == [True, True, False]


def test_other_types_of_codes_are_searched_too():
    x = codes()
    doubles = nearest(x.astype(np.float64), x[:1], 5)
    assert doubles.indices[0].tolist() == nearest(x, x[:1], 5).indices[0].tolist()


def test_a_query_without_direction_takes_all_by_index():
    x = RNG.standard_normal((101, 3)).astype(np.float32)
    for place in (0, 100):
        x[place] = 0
        for queries in (1, 9):  # by differences, and by a product
            found = nearest(x, np.zeros((queries, 3), np.float32), 1, "cosine")
            assert found.indices[0].tolist() == [0]
            assert found.distances[0].tolist() == [1]


def test_blocks_are_bounded_by_the_queries_too(monkeypatch):
    monkeypatch.setattr(module, "_PRODUCT", 4 * 50 * 7)
    seen, look = [], module._Search.look

    def counted(search, block, start):
        seen.append(len(block))
        look(search, block, start)

    monkeypatch.setattr(module._Search, "look", counted)
    x = codes()
    found = nearest(x, x[:50], 3, with_copies=False)
    assert max(seen) == 7
    for query, indices in zip(x[:50], found.indices, strict=True):
        assert indices.tolist() == brute(x, query, 3, "euclidean", False)[0].tolist()


def test_some_codes_are_looked_at_a_block_at_a_time(monkeypatch):
    x = codes()
    monkeypatch.setattr(module, "BLOCK", 8 * 8 * 4)
    some = np.array([3, 149, 7, 50, 0])
    expected = np.linalg.norm(x[some].astype(float) - x[3], axis=1)
    np.testing.assert_allclose(module.distances_at(x, some, x[3], "euclidean"), expected)
    assert module.copies_at(x, some, x[3]).tolist() == [True, False, True, False, False]
