"""Numbers that the chapter prints."""

from collections.abc import Mapping

# Table 31.1.1: code dimension -> reconstruction mse (the last one is printed as "~0.000").
TABLE_MSE: Mapping[int, float] = {2: 0.052, 8: 0.028, 32: 0.020, 784: 0.000}
TABLE_RATIO: Mapping[int, float] = {2: 392, 8: 98, 32: 24.5, 784: 1}
# Section 1: epoch -> training mse. Section 3: PCA's test mse at 32.
TRAINING_MSE: Mapping[int, float] = {0: 0.0461, 1: 0.0292, 4: 0.0204}
PCA_32_MSE = 0.0241
