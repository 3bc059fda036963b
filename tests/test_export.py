"""`aecli export`: files of every codec that other programs run, and what is refused."""

import json
import sys

import diffusers
import numpy as np
import pytest
import torch
from torch import nn

from aecli import codecs
from aecli.cli import export as command
from aecli.codecs.grid_settings import GridConfig
from aecli.codecs.settings import CODECS
from aecli.codecs.store import pack
from aecli.data.images import InMemory
from aecli.fields import NetworkSection

SHAPE = (3, 10, 13)


def settings():
    """Settings of every codec, and of those that a switch makes others."""
    for name, made in CODECS.items():
        if issubclass(made, GridConfig):
            if name != "kl":  # refused
                yield made(name=name, code_dim=12, downsampling=4, width=4, widest=8)
            continue
        yield made(name=name, code_dim=6)
        if issubclass(made, NetworkSection):
            yield made(name=name, code_dim=6, variational=True)
    yield CODECS["conv"](code_dim=6, path="pca")
    yield CODECS["conv"](code_dim=6, path="rotated-dct", variational=True)


def run_of(config, folder):
    """A run's folder with a model of a config, and the codec."""
    torch.manual_seed(0)
    codec = codecs.build(config, SHAPE)
    source = InMemory(torch.rand((40, *SHAPE), generator=torch.Generator().manual_seed(1)))
    (codec.solve if config.solved else codec.begin)(source)
    description, weights = pack(codec, config)
    (folder / "run" / "model").mkdir(parents=True)
    (folder / "run" / "model" / "config.json").write_text(json.dumps(description))
    (folder / "run" / "model" / "model.safetensors").write_bytes(weights)
    return codec.eval()


@pytest.mark.parametrize("config", list(settings()), ids=repr)
@pytest.mark.parametrize("format_", ["onnx", "torch"])
def test_every_codec_is_the_same_in_the_files(inside, tmp_path, config, format_):
    codec = run_of(config, tmp_path)
    done = inside("export", "run", "--format", format_, "-o", "out", "--json")
    assert done.code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told.pop("folder") == "out"
    assert told == json.loads((tmp_path / "out" / "export.json").read_text())
    images = torch.rand((5, *SHAPE))  # a number of images that it was not traced with
    with torch.no_grad():
        codes = codec.encode(images)
        there = codec.decode(codes)
    size = max(1, float(codes.abs().max()))
    found_codes, names = loaded(format_, tmp_path / "out" / "encoder")(images)
    found, _ = loaded(format_, tmp_path / "out" / "decoder")(found_codes)
    assert (found_codes - codes).abs().max() <= 1e-5 * size
    assert (found - there).abs().max() <= 2e-5
    assert json.loads(names["images"])["range"] == "in [0, 1]"
    assert json.loads(names["codes"])["shape"] == ["batch", *codec.code_shape]


def loaded(format_, path):
    """A function that runs a file, and its metadata."""
    if format_ == "torch":
        extra = {"aecli.json": ""}
        module = torch.export.load(path.with_suffix(".pt2"), extra_files=extra).module()
        about = {key: json.dumps(value) for key, value in json.loads(extra["aecli.json"]).items()}
        return lambda given: (module(given).detach(), about)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path.with_suffix(".onnx")))
    (name,) = [each.name for each in session.get_inputs()]
    assert session.get_inputs()[0].shape[0] == session.get_outputs()[0].shape[0] == "batch"
    about = session.get_modelmeta().custom_metadata_map
    return lambda given: (torch.from_numpy(session.run(None, {name: given.numpy()})[0]), about)


def test_a_file_that_differs_is_no_file(inside, tmp_path, monkeypatch):
    run_of(CODECS["linear"](code_dim=6), tmp_path)
    monkeypatch.setattr(command, "TOLERANCE", -1.0)
    done = inside("export", "run", "--format", "torch", "-o", "out")
    assert done.code == 3
    assert "encoder.pt2 differs from the codec by" in done.errors[0]
    assert not (tmp_path / "out").exists()


def test_a_codec_that_cannot_be_followed_is_refused(inside, tmp_path, monkeypatch):
    run_of(CODECS["linear"](code_dim=6), tmp_path)

    class Odd(nn.Module):
        def __init__(self, codec):
            super().__init__()
            self.codec = codec

        def forward(self, images):
            codes = self.codec.encode(images)
            return codes if codes.sum() > 0 else -codes

    monkeypatch.setattr(command, "Encoder", Odd)
    for format_, what in (("onnx", "ONNX"), ("torch", "a torch.export program")):
        done = inside("export", "run", "--format", format_, "-o", "out")
        assert done.code == 2
        assert f"--format {format_}: codec 'linear' cannot be had as {what}" in done.errors[0]
        assert len(done.errors) == 1
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["kl", "dc"])
def test_diffusers_reads_what_is_exported_for_it(inside, tmp_path, name):
    config = CODECS[name](name=name, code_dim=12, downsampling=4, width=4, widest=8)
    codec = run_of(config, tmp_path)
    done = inside("export", "run", "--format", "diffusers", "-o", "out", "--json")
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["files"]["model"]["largest_difference"] <= 1e-6
    kind = {"kl": diffusers.AutoencoderKL, "dc": diffusers.AutoencoderDC}[name]
    model = kind.from_pretrained(tmp_path / "out", local_files_only=True).eval()
    images = torch.rand((2, 3, 12, 16))  # of sides that the factor divides
    whole = codecs.build(config, (3, 12, 16))
    whole.load_state_dict(codec.state_dict())
    with torch.no_grad():
        found = model.encode(2 * images - 1)
        latent = found.latent_dist.mode() if name == "kl" else found.latent
        torch.testing.assert_close(whole.eval().encode(images), latent, rtol=0, atol=1e-6)
        decoded = (model.decode(latent).sample + 1) / 2
        torch.testing.assert_close(whole.decode(latent), decoded.clamp(0, 1), rtol=0, atol=1e-6)


def test_kl_is_exported_for_diffusers_alone(inside, tmp_path):
    run_of(CODECS["kl"](code_dim=12, downsampling=4, width=4, widest=8), tmp_path)
    for format_ in ("onnx", "torch"):
        done = inside("export", "run", "--format", format_, "-o", "out")
        assert done.code == 2
        assert "codec 'kl' is exported for diffusers alone" in done.errors[0]
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (CODECS["linear"](code_dim=6), "codec 'linear' is none of diffusers', which are kl and dc"),
        (
            CODECS["dc"](code_dim=12, downsampling=4, width=4, widest=8, shortcuts=False),
            "diffusers has no AutoencoderDC without its shortcuts",
        ),
    ],
    ids=["linear", "dc"],
)
def test_what_diffusers_has_not_is_refused(inside, tmp_path, config, text):
    run_of(config, tmp_path)
    done = inside("export", "run", "--format", "diffusers", "-o", "out")
    assert done.code == 2
    assert done.errors == [f"aecli: --format diffusers: {text}"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_an_absent_extra_is_named(inside, tmp_path, monkeypatch, package):
    run_of(CODECS["linear"](code_dim=6), tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    done = inside("export", "run", "-o", "out")
    assert done.code == 2
    assert done.errors == [
        f"aecli: --format onnx: {package} is not installed; pip install 'aecli[onnx]'"
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (
            ("run", "--format", "tflite", "-o", "out"),
            2,
            "tflite: expected onnx or torch",
        ),
        (("run", "-o", "/"), 2, "the folder needs a name"),
        (("run", "-o", "run"), 2, "run exists and is not an empty folder"),
        (("none", "-o", "out"), 3, "none"),
    ],
)
def test_bad_input(inside, tmp_path, arguments, code, text):
    run_of(CODECS["linear"](code_dim=6), tmp_path)
    done = inside("export", *arguments)
    assert done.code == code
    assert text in done.errors[0]


def test_codes_of_a_transform_are_the_same_after_its_constants_are_held():
    for name in ("dct", "rotated-dct"):
        codec = codecs.build(CODECS[name](code_dim=6), SHAPE)
        codec.solve(InMemory(torch.rand((40, *SHAPE))))
        images = torch.rand((3, *SHAPE))
        before = codec.encode(images)
        codec.hold_constants()
        np.testing.assert_array_equal(before, codec.encode(images))
