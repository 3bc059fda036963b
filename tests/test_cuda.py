"""Training on a GPU: the same bits for the same seed, and the CPU's numbers but for rounding.

Skipped without one.
"""

import pytest
import torch

from aecli import codecs
from aecli.codecs.grid_settings import DcConfig, KlConfig
from aecli.config import (
    ConvConfig,
    ElboLoss,
    FitConfig,
    GaussianNoise,
    LinearConfig,
    MaskingNoise,
    MlpConfig,
    SparseLoss,
)
from aecli.data.binary import Binarised
from aecli.data.images import InMemory
from aecli.measure import metrics
from aecli.training import device, feed, work
from aecli.training.loop import Training
from aecli.training.optimizers import orthogonalized
from tests.conftest import SMALL, digits, source
from tests.twins import go_on, require_same_bits_after_a_stop

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
GPU = torch.device("cuda")
STEPS = 20  # of two epochs, each with a short batch at its end

_GRID = {"width": 4, "widest": 8, "downsampling": 4}
_ELBO = {"loss": ElboLoss(kl_warmup=0.3)}
CASES = {
    "mlp": (MlpConfig(code_dim=4, hidden=(24, 9)), {}),
    "mlp, fp32": (MlpConfig(code_dim=4, hidden=(24, 9)), {"precision": "fp32"}),
    "mlp, chapter": (MlpConfig(code_dim=4, hidden=(24, 9)), {"recipe": "chapter"}),
    "mlp, sparse": (MlpConfig(code_dim=4, hidden=(24, 9)), {"loss": SparseLoss()}),
    "mlp, ordered": (MlpConfig(code_dim=4, hidden=(24, 9)), {"ordered": True}),
    "mlp, noise": (MlpConfig(code_dim=4), {"noise": GaussianNoise(), "elastic": 1.0, "shift": 1}),
    "mlp, masking": (MlpConfig(code_dim=4), {"noise": MaskingNoise(), "mirror": True}),
    "variational mlp": (MlpConfig(code_dim=4, variational=True), _ELBO),
    "linear": (LinearConfig(code_dim=4), {}),
    "conv": (ConvConfig(code_dim=4), {}),
    "variational conv": (ConvConfig(code_dim=4, variational=True), _ELBO),
    "kl": (KlConfig(code_dim=98, **_GRID), _ELBO),
    "dc": (DcConfig(code_dim=98, **_GRID), {}),
}


@pytest.fixture(autouse=True)
def _repeatable():
    before = torch.get_num_threads()
    device.seed_and_limit(0, 1)
    yield
    torch.set_num_threads(before)


def training(case, where=GPU, images=None, **changed):
    settings, keys = CASES[case]
    device.seed_and_limit(0, 1)
    codec = codecs.build(settings, (1, 28, 28)).to(where)
    config = FitConfig(**{"epochs": 2, "batch_size": 12, **keys, **changed})
    images = source(115) if images is None else images
    order = torch.Generator().manual_seed(0)
    return codec, Training(codec, images, source(10, seed=1), config, order)


def trained(case, **keys):
    codec, one = training(case, **keys)
    go_on(one, STEPS)
    assert one.is_done
    return codec


def require_equal(one, other):
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


@pytest.mark.parametrize("case", CASES)
def test_the_same_seed_gives_the_same_bits(case):
    require_equal(trained(case), trained(case))


@pytest.mark.parametrize("case", CASES)
def test_a_replayed_step_is_the_step(case, monkeypatch):
    recorded = trained(case)
    monkeypatch.setattr(work, "STEPS_BEFORE_RECORDING", STEPS)
    require_equal(recorded, trained(case))


@pytest.mark.parametrize("case", CASES)
def test_steps_are_recorded(case):
    _, one = training(case)
    go_on(one, STEPS)
    assert one._work._graph is not None


@pytest.mark.parametrize("stop", [2, 7, 10, 15])
@pytest.mark.parametrize("case", ["mlp", "variational mlp", "conv", "dc"])
def test_a_resumed_training_ends_with_the_same_bits(case, stop):
    require_same_bits_after_a_stop(lambda: training(case), stop, STEPS)


@pytest.mark.parametrize("case", CASES)
def test_a_training_agrees_with_the_cpus(case):
    exact = {"precision": "fp32", "recipe": "chapter"}
    ours, theirs = (trained(case, where=where, **exact) for where in (GPU, torch.device("cpu")))
    test = source(50, seed=2)
    assert metrics.mse(ours, test) == pytest.approx(metrics.mse(theirs, test), rel=2e-3)


@pytest.mark.parametrize("case", CASES)
def test_images_are_encoded_and_decoded_as_on_the_cpu(case):
    codec = trained(case).eval()
    images = digits(20, seed=3).float() / 255
    with torch.no_grad():
        there = codec(images.to(GPU)).cpu()
        here = codec.cpu()(images)
    assert (there - here).abs().max() < 1e-5


@pytest.mark.parametrize("case", ["mlp", "conv"])
def test_images_that_are_read_on_the_way_train_as_those_on_the_gpu(case, monkeypatch):
    held = trained(case)
    monkeypatch.setattr(feed, "held", lambda images, where: images)
    codec, one = training(case)
    assert one._feed._reads_ahead
    go_on(one, STEPS)
    require_equal(held, codec)


def test_masked_and_binary_images():
    mask = torch.ones(115, 1, 28, 28, dtype=torch.bool)
    mask[::2, :, :9] = False
    masked = InMemory(digits(115), mask=mask)
    require_equal(trained("mlp", images=masked), trained("mlp", images=masked))
    binary = Binarised(source(115), 0)
    require_equal(trained("mlp", images=binary), trained("mlp", images=binary))


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_nothing_waits_for_the_gpu_in_a_step():
    for case in CASES:
        _, one = training(case)
        for _ in range(6):
            one.take_step()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(3):
                one.take_step()
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 256, 784), (2, 64, 256), (1, 32, 64), (3, 16, 3072)])
def test_directions_of_muon_are_nearly_orthogonal(dtype, shape):
    """Also of gradients that are nearly one direction, as at the beginning."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(shape, generator=generator)
    ones = torch.ones(shape) + torch.rand(shape, generator=generator)
    for noise_share in (1.0, 0.1, 0.01):
        given = (ones + noise_share * noise if noise_share < 1 else noise).to(GPU)
        found = torch.linalg.svdvals(orthogonalized(given, dtype).float())
        assert found.max() < 1.6, noise_share


COMMANDS = (
    ("train", "--code-dim", "4"),
    ("train", "--code-dim", "4", "--variational"),
    ("train", "--code-dim", "4", "--set", "codec.name=conv"),
    ("interpolate", "--code-dim", "4"),
    ("sample", "--code-dim", "4"),
    ("sweep-codedim", "2", "4", "--set", "seeds=2"),
    ("pca-compare", "2", "4", "--set", "seeds=1"),
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_commands_compute_on_it(inside, arguments):
    done = inside(arguments[0], "--device", "cuda", *arguments[1:], *SMALL)
    assert done.code == 0, done.stderr
    again = inside(arguments[0], "--device", "cuda", *arguments[1:], *SMALL)
    twins = [each.metrics() for each in (done, again)]
    assert all(twins[0][key] == twins[1][key] for key in twins[0] if "seconds" not in key), (
        arguments
    )
