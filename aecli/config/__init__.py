"""Settings: what can be set, where it comes from, and what is wrong with it."""

from aecli.config.files import (
    ShippedConfig,
    copy_config,
    find_config,
    shipped_config,
    shipped_configs,
)
from aecli.config.models import (
    EXPERIMENTS,
    CodecConfig,
    DataConfig,
    DctConfig,
    ExperimentConfig,
    FitConfig,
    LinearConfig,
    MlpConfig,
    PcaConfig,
    TrainConfig,
)
from aecli.config.resolve import (
    Layer,
    flag_layer,
    json_schema,
    resolve,
    set_layer,
    to_yaml,
    yaml_layer,
)

__all__ = [
    "EXPERIMENTS",
    "CodecConfig",
    "DataConfig",
    "DctConfig",
    "ExperimentConfig",
    "FitConfig",
    "Layer",
    "LinearConfig",
    "MlpConfig",
    "PcaConfig",
    "ShippedConfig",
    "TrainConfig",
    "copy_config",
    "find_config",
    "flag_layer",
    "json_schema",
    "resolve",
    "set_layer",
    "shipped_config",
    "shipped_configs",
    "to_yaml",
    "yaml_layer",
]
