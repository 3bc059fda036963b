"""The experiments, by name."""

from aecli.config.experiments import (
    EvaluateConfig,
    ExperimentConfig,
    InterpolateConfig,
    PcaCompareConfig,
    ReproduceConfig,
    SampleConfig,
    SweepConfig,
    SweepDownsamplingConfig,
    ToVaeConfig,
    TrainConfig,
)
from aecli.config.tuning import TuneConfig

EXPERIMENTS: dict[str, type[ExperimentConfig]] = {
    "train": TrainConfig,
    "sweep-codedim": SweepConfig,
    "pca-compare": PcaCompareConfig,
    "sweep-downsampling": SweepDownsamplingConfig,
    "tune": TuneConfig,
    "interpolate": InterpolateConfig,
    "sample": SampleConfig,
    "to-vae": ToVaeConfig,
    "evaluate": EvaluateConfig,
    "reproduce": ReproduceConfig,
}
"""Command -> the model of its settings."""
