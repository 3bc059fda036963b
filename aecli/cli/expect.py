"""`--expect 'test_mse<=0.0168'`: a gate over the metrics of a run, for scripts and CI."""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aecli.cli.metric_names import GRID, METRICS, OF_VARIATIONAL, WORDS, pattern
from aecli.comparing import COMPARE
from aecli.errors import ExpectationError, UsageError

if TYPE_CHECKING:
    from aecli.config import NetworkConfig

FORM = re.compile(r"\s*(\w+)\s*(<=|>=|==|!=|<|>)\s*(\S+)\s*")
"""A metric, a comparison and a bound."""


@dataclass(frozen=True)
class Expectation:
    """Metric, comparison and bound, such as `test_mse`, `<=` and 0.0168."""

    text: str
    metric: str
    comparison: str
    bound: float | str


def parse_all(texts: Sequence[str], experiment: str) -> list[Expectation]:
    """Every `--expect` of a command. Raises UsageError, a line for each that makes no sense."""
    found: list[Expectation] = []
    mistakes: list[str] = []
    for text in texts:
        try:
            found.append(parse(text, experiment))
        except UsageError as error:
            mistakes.append(str(error))
    if mistakes:
        raise UsageError("\n".join(mistakes))
    return found


def parse(text: str, experiment: str) -> Expectation:
    """The expectation in `text`. Raises UsageError for another form or metric."""
    match = FORM.fullmatch(text)
    if match is None:
        raise UsageError(
            f"--expect {text!r}: not of the form 'metric<=number' (<, <=, ==, !=, >=, >)"
        )
    metric, comparison, bound = match.groups()
    known = METRICS[experiment]
    if not any(pattern(name).fullmatch(metric) for name in known):
        near = difflib.get_close_matches(metric, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(
            f"--expect {text!r}: no metric is called {metric!r}; {hint}"
            f"{experiment} has {', '.join(known)}"
        )
    if metric in WORDS:
        if comparison not in ("==", "!="):
            raise UsageError(f"--expect {text!r}: {metric} is a word; it takes == and != only")
        return Expectation(text, metric, comparison, bound)
    return Expectation(text, metric, comparison, bound_of(bound, text))


def require_there(expectations: Sequence[Expectation], config: "NetworkConfig") -> None:
    """Raises UsageError for what a run of `config` cannot have: another dataset's name, a row that
    its table has not."""
    for expectation in expectations:
        if expectation.metric == "dataset" and getattr(config, "run", None) is None:
            _require_dataset(str(expectation.bound), expectation.text, config)
        is_plain = config.experiment == "train" and not config.codec.is_variational
        if is_plain and expectation.metric in OF_VARIATIONAL:
            raise UsageError(f"--expect {expectation.text!r}: the codec is not variational")
        if expectation.metric == "ordered_rank_correlation":
            _require_order(expectation, config)
        of_class = expectation.metric.startswith(("class_accuracy_", "frechet_by_class_"))
        is_drawn = of_class and not expectation.metric.endswith("_decoded")
        if is_drawn and not getattr(config, "per_class", True):
            raise UsageError(f"--expect {expectation.text!r}: per_class is false")
    _require_rows(expectations, config)
    if config.experiment == "sweep-downsampling":
        _require_grids(expectations, config)


def _require_grids(expectations: Sequence[Expectation], config: "NetworkConfig") -> None:
    from aecli.config import SweepDownsamplingConfig
    from aecli.config.grids import row_specs

    assert isinstance(config, SweepDownsamplingConfig)
    rows = [spec.key for spec in row_specs(config)]
    sizes = [str(n) for n in (config.codec.code_dim, *config.fewer)]
    for expectation in expectations:
        row = re.search(rf"(?:mse|sd|ssim|ratio|coherence)_({GRID}|\d+)$", expectation.metric)
        if row is not None and row[1] not in (*rows, *sizes):
            raise UsageError(
                f"--expect {expectation.text!r}: the table has no such row; its rows are"
                f" {', '.join((*rows, *sizes))}"
            )


def _require_order(expectation: Expectation, config: "NetworkConfig") -> None:
    if not getattr(config, "ordered", config.train.ordered):
        key = "ordered" if hasattr(config, "ordered") else "train.ordered"
        raise UsageError(f"--expect {expectation.text!r}: {key} is false")


def _require_dataset(name: str, text: str, config: "NetworkConfig") -> None:
    from aecli.data import facts
    from aecli.data.known import DATASETS

    names = [*DATASETS, *([facts.look(config.data).name] if config.data.is_own else [])]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
        raise UsageError(f"--expect {text!r}: no dataset is called {name!r}; {hint}")


def _require_rows(expectations: Sequence[Expectation], config: "NetworkConfig") -> None:
    from aecli.config import SweepConfig
    from aecli.data import facts

    dims: Sequence[int] = getattr(config, "code_dims", ())
    variants: Sequence[str] = getattr(config, "variants", ("plain",))
    wide = facts.wide_dims(config) if isinstance(config, SweepConfig) else ()
    with_row = [pattern(name) for name in METRICS[config.experiment] if "<row>" in name]
    for expectation in expectations:
        for each in with_row:
            row = each.fullmatch(expectation.metric)
            if row is None:
                continue
            there = wide if row["wide"] else dims
            if int(row["code_dim"]) not in there or (row["variant"] or "plain") not in variants:
                rows = ", ".join([*map(str, dims), *(f"{code_dim}_wide" for code_dim in wide)])
                kinds = f", variants {', '.join(variants)}" if "variants" in config.__dict__ else ""
                raise UsageError(
                    f"--expect {expectation.text!r}: the table has no such row; its rows are"
                    f" {rows}{kinds}"
                )


def check(expectations: Sequence[Expectation], metrics: Mapping[str, Any]) -> None:
    """Raises ExpectationError with a line per expectation that `metrics` does not meet."""
    missed = [
        f"expected {expectation.text}, measured {metrics.get(expectation.metric)}"
        for expectation in expectations
        if not _holds(expectation, metrics.get(expectation.metric))
    ]
    if missed:
        raise ExpectationError("\n".join(missed))


def bound_of(bound: str, text: str) -> float:
    """The bound of an expectation. Raises UsageError."""
    if bound in ("true", "false"):
        return float(bound == "true")
    try:
        number = float(bound)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise UsageError(f"--expect {text!r}: {bound!r} is not a number, true or false")
    return number


def _holds(expectation: Expectation, value: Any) -> bool:
    """True if a measured value meets the expectation; one that could not be measured never does."""
    if isinstance(expectation.bound, str):
        return isinstance(value, str) and COMPARE[expectation.comparison](value, expectation.bound)
    if not isinstance(value, int | float) or math.isnan(value):
        return False
    return COMPARE[expectation.comparison](value, expectation.bound)
