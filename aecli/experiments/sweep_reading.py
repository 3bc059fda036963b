"""Codes of the sweep's rows, read by simple probes: all on the same images."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from aecli.chapter import CodeReading
from aecli.data.images import Batch, Images
from aecli.measure import metrics, probes
from aecli.measure.seeds import mean, mean_if_any
from aecli.training.jobs import Trained

N_PROBE = 5_000  # training and test images that the probes read; more change the third digit
_PROBED_PIXELS = 128 * 128  # of images whose pixels are probed; larger ones take too much memory
_DECODED_BYTES = N_PROBE * 28 * 28 * 4  # of test images that are decoded at once


class Reader:
    """The probes, on the same images for every codec, with what is read off the images once."""

    def __init__(self, images: Images) -> None:
        self._train, self._test = images.train.first(N_PROBE), images.test.first(N_PROBE)
        self._parts = self._train, self._test
        self._labels = None
        if images.labelled:
            labels, test_labels = (part.require_labels("a probe") for part in self._parts)
            self._labels = labels, test_labels
        self._slants = self._thicknesses = None
        if images.digits:
            pictures, test_pictures = (part.all().images for part in self._parts)
            self._slants = tuple(map(probes.slant_degrees, (pictures, test_pictures)))
            self._thicknesses = tuple(map(probes.thickness_pixels, (pictures, test_pictures)))

    def read(self, trained: Trained, copies: bool, variance_kept: float) -> CodeReading:
        """The probes' reading of the codes of one codec."""
        codes, test_codes = (metrics.encode(trained.codec, part) for part in self._parts)
        probe_accuracy, knn_accuracy = self._accuracies(codes, test_codes)

        def r2(values: tuple[Tensor, ...] | None) -> float | None:
            if values is None:
                return None
            return probes.linear_r2(codes, values[0], test_codes, values[1])

        return CodeReading(
            probe_accuracy,
            knn_accuracy,
            slant_r2=r2(self._slants),
            thickness_r2=r2(self._thicknesses),
            sharpness=probes.sharpness(self._decoded(trained, test_codes)),
            copies=copies,
            variance_kept=variance_kept,
        )

    def raw_accuracies(self) -> tuple[float | None, float | None]:
        """Accuracies of the linear probe and of the vote of the nearest on the pixels."""
        if self._labels is None or self._train.pixels > _PROBED_PIXELS:
            return None, None
        pixels, test_pixels = (part.all().images.flatten(1) for part in self._parts)
        return self._accuracies(pixels, test_pixels)

    def _accuracies(self, codes: Tensor, test_codes: Tensor) -> tuple[float | None, float | None]:
        if self._labels is None:
            return None, None
        labels, test_labels = self._labels
        both = (codes, labels, test_codes, test_labels)
        return probes.linear_probe_accuracy(*both), probes.knn_accuracy(*both)

    def _decoded(self, trained: Trained, test_codes: Tensor) -> Iterator[tuple[Tensor, Batch]]:
        """The test images decoded, beside the originals, a bounded number at once."""
        start = 0
        for batch in self._test.batches(_DECODED_BYTES):
            codes = test_codes[start : start + len(batch)]
            yield metrics.decode(trained.codec, codes), batch
            start += len(batch)


def mean_reading(readings: Sequence[CodeReading]) -> CodeReading:
    """Means over the seeds; a near copy only if each is one."""
    return CodeReading(
        probe_accuracy=mean_if_any([r.probe_accuracy for r in readings]),
        knn_accuracy=mean_if_any([r.knn_accuracy for r in readings]),
        slant_r2=mean_if_any([r.slant_r2 for r in readings]),
        thickness_r2=mean_if_any([r.thickness_r2 for r in readings]),
        sharpness=mean([r.sharpness for r in readings]),
        copies=all(r.copies for r in readings),
        variance_kept=mean_if_any([r.variance_kept for r in readings]),
    )
