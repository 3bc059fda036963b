"""Numbers that the chapter prints; all are MNIST's."""

from collections.abc import Mapping

MNIST = "mnist"
QUICK_LOOK = ", quick look"
"""Ending of a dataset's name in the tables and figures of `reproduce --quick`."""

# Table 31.1.1: code dimension -> reconstruction mse (the last one is printed as "~0.000").
TABLE_MSE: Mapping[int, float] = {2: 0.052, 8: 0.028, 32: 0.020, 784: 0.000}
TABLE_RATIO: Mapping[int, float] = {2: 392, 8: 98, 32: 24.5, 784: 1}
# Section 1: epoch -> training mse. Section 3: PCA's test mse at 32.
TRAINING_MSE: Mapping[int, float] = {0: 0.0461, 1: 0.0292, 4: 0.0204}
PCA_32_MSE = 0.0241


def table_mse_of(dataset: str) -> Mapping[int, float]:
    """TABLE_MSE where it can stand beside what was measured on `dataset`; empty if that is not
    MNIST."""
    return TABLE_MSE if _is_mnist(dataset) else {}


def training_mse_of(dataset: str) -> Mapping[int, float]:
    """TRAINING_MSE if `dataset` is MNIST; else empty."""
    return TRAINING_MSE if _is_mnist(dataset) else {}


def _is_mnist(dataset: str) -> bool:
    return dataset.removesuffix(QUICK_LOOK) == MNIST
