"""Section 4: what a random code decodes to."""

from aecli.chapter.verdict import Verdict


def judge_grey_smear(low: float, high: float) -> Verdict:
    """Section 4's "0.41 to 0.58": a code from N(0, I) decodes to a flat mid-grey band.

    low, high: the darkest and the brightest pixel. No ink and no paper means that every pixel is
    nearer to mid-grey than to black or to white.
    """
    span = f"pixels from {low:.2f} to {high:.2f}"
    if low >= 0.25 and high <= 0.75:
        return Verdict(True, f"{span}, all nearer to mid-grey than to black or white")
    reached = [
        name for name, is_there in (("black", low < 0.25), ("white", high > 0.75)) if is_there
    ]
    return Verdict(
        False, f"{span}, some nearer to {' and some to '.join(reached)} than to mid-grey"
    )
