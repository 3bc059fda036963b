"""scikit-learn's training loop, apart from the others: its process never imports torch."""

from benchmarks.clock import Clock
from benchmarks.contenders import PEER_BATCH
from benchmarks.images import load_unit
from benchmarks.task import Task


def train(task: Task, clock: Clock) -> None:
    """scikit-learn's MLPRegressor from the images to themselves, an epoch per partial_fit.

    Its activation is on every hidden layer, the code's too, and its output is linear.
    """
    from sklearn.neural_network import MLPRegressor

    pixels = load_unit(task.data, "train")
    model = MLPRegressor(
        hidden_layer_sizes=(256, 64, 32, 64, 256), batch_size=PEER_BATCH, random_state=task.seed
    )
    clock.start(model.predict)
    while True:
        model.partial_fit(pixels, pixels)
        clock.epoch()
