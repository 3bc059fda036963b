"""Answers to the section's three exercises, from measurement: a page each, in Markdown, that a
teacher can hold a student's answer against."""

from collections.abc import Callable, Mapping, Sequence

from aecli.chapter.claim import Claim
from aecli.chapter.evidence import Evidence, LostEvidenceError, Step, over_seeds, percent
from aecli.chapter.linear import explain_trend
from aecli.chapter.verdict import Judgement

Judged = Sequence[tuple[Claim, Judgement]]
Page = Callable[[Evidence, Mapping[str, Judgement]], str]


def pages(e: Evidence, judged: Judged) -> dict[int, str]:
    """The page of each exercise, by its number; figures are named as they lie in the run folder."""
    by_name = {claim.name: judgement for claim, judgement in judged}
    return {n: _tried(n, page, e, by_name) for n, page in enumerate((_first, _second, _third), 1)}


def _tried(number: int, page: Page, e: Evidence, by_name: Mapping[str, Judgement]) -> str:
    try:
        return page(e, by_name)
    except LostEvidenceError as lost:
        return f"# Exercise {number}\n\nNot answered: trainings failed: {lost}.\n"


def _first(e: Evidence, by_name: Mapping[str, Judgement]) -> str:
    paragraphs = [
        "# Exercise 1: why an overcomplete code learns nothing",
        "With as many numbers in the code as pixels in the image, and no layer narrower than that,"
        " the identity is among the maps that encoder and decoder can form together, and no other"
        " has a lower error: the loss falls to zero by copying, and asks for nothing else.",
        f"**Does it copy?** {_said(by_name['identity'])}",
        f"**Is the copy worth anything?** {_said(by_name['meaningless'])}",
        "**A change of the training that forces it to learn:** spoil the input and ask for the"
        " clean image (a denoising autoencoder: Vincent et al., ICML 2008). A copy of a spoilt"
        " image is wrong; only what is known of images restores it. Penalties on the code are"
        " another (sparse and variational codes).",
        f"**Does it?** {_said(by_name['noise'])}",
        "![With noise and without](noise.png)" if e.noise_trainings else "",
        "**A good answer** names the identity, says that zero error needs no structure, and"
        " changes what is asked rather than the layers.",
    ]
    return _page(paragraphs)


def _second(e: Evidence, by_name: Mapping[str, Judgement]) -> str:
    parts = []
    for k, steps in e.steps.items():
        worst = max(steps, key=lambda step: step.incoherent)
        parts += [
            f"## Codes of {k}",
            _table(steps),
            f"Most often incoherent at t = {worst.t:g}: {percent(worst.incoherent)} of the paths.",
        ]
    paragraphs = [
        "# Exercise 2: where a path becomes incoherent",
        "Straight paths between the codes of two test images of different classes, many of them. An"
        " image is incoherent if a classifier gives no class more than an even chance; a code is in"
        " a hole if it lies farther from training codes than all but 1% of held-out ones do.",
        *parts,
        f"**Is a path incoherent where it is in a hole?** {_said(by_name['incoherent-in-holes'])}",
        f"**Does it leave the occupied region?** {_said(by_name['holes-on-the-path'])}",
        "![A path at a code of 2](interpolate/interpolation.png)",
        "![How often paths are in holes](interpolate/hole_rates.png)",
        "**A good answer** reads the range of t off the decoded row, finds it between the ends"
        " rather than at them, and looks up in the scatter of codes what lies there.",
    ]
    return _page(paragraphs)


def _table(steps: Sequence[Step]) -> str:
    rows: list[tuple[str, ...]] = [("t", "incoherent", "in a hole", "both"), ("---",) * 4]
    rows += [
        (f"{step.t:g}", *map(percent, (step.incoherent, step.in_hole, step.both)))
        for step in steps[:: max((len(steps) - 1) // 10, 1)]
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _third(e: Evidence, by_name: Mapping[str, Judgement]) -> str:
    header = ("code", "network", "PCA", "advantage", "of PCA's error")
    rows: list[tuple[str, ...]] = [header, ("---",) * 5]
    rows += [
        (
            str(a.code_dim),
            f"{a.network_mse:.5f}",
            f"{a.pca_mse:.5f}",
            f"{a.absolute:+.5f}",
            a.relative_in_words(),
        )
        for a in e.advantages
    ]
    paragraphs = [
        "# Exercise 3: network and PCA over the code dimension",
        "\n".join("| " + " | ".join(row) + " |" for row in rows),
        f"Test mse per pixel, {e.recipe}, mean over seeds.",
        explain_trend(e.advantages),
        f"**Is a curved surface always better?** {_said(by_name['advantage'])}",
        f"**Trained as the chapter trains, at 32:** {over_seeds(e.chapter_test_mse[32])} on test"
        f" images, where PCA has {e.pca_test_mse[32]:.4f}.",
        "![Both curves](pca-compare/comparison.png)",
        "**A good answer** tells absolute from relative advantage, and explains both by how much of"
        " the variance PCA already keeps.",
    ]
    return _page(paragraphs)


def _said(judgement: Judgement) -> str:
    """The verdict, what was measured, and why, in sentences."""
    head = f"{judgement.verdict[0].upper()}{judgement.verdict[1:]}"
    return f"{head}: {judgement.reason}. Measured: {judgement.measured}."


def _page(paragraphs: Sequence[str]) -> str:
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"
