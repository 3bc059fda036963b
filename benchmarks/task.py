"""A task for a worker process, as it is sent to it."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Task:
    """One loop to run, and what to measure of it."""

    loop: str
    """A name that `worker` knows: floor, aecli, chapter, pythae, sklearn or keras."""
    data: str
    """The folder that `images.prepare` filled."""
    threads: int
    measure: Literal["epochs", "quality"] = "epochs"
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the loop."""
    epochs: int = 3
    """Number of epochs to time."""
    budget: float = 120.0
    """Seconds of training after which to stop."""
    targets: tuple[float, ...] = ()
    """Test mse per pixel to be reached."""
    seed: int = 0
    floor_batch: int | None = None
    """Batch size of the fp32 floor that takes turns with the epochs; None: nothing does."""
    wait: bool = False
    """Say `ready` before the first step, and wait for a line."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Task":
        values = json.loads(text)
        return Task(**values | {"targets": tuple(values["targets"])})
