"""Claims of section 2: the table, what codes of each width learn, and codes of two."""

from aecli.chapter import changes, digits, judges, turning
from aecli.chapter.claim import CODES, DECODED, ERROR, LEARNED, NUMBER, Claim, Rule

_LEARNS = {
    2: (
        "coarse identity, blurry averages",
        "half to 80% of the labels, less than half of slant and of thickness, images below 0.75 of"
        " the real ones' sharpness",
        "A code of 2 is for looking at, not for keeping images.",
        "A code of 2 holds something else than the table says.",
    ),
    8: (
        "identity, rough slant and thickness",
        "80% of the labels, half of the variance of slant and of thickness",
        "A code of 8 keeps which digit it is, and roughly how it was written.",
        "A code of 8 keeps less of identity, slant and thickness than the table says.",
    ),
    32: (
        "sharp digits with style",
        "the same, and images at 0.9 of the real ones' sharpness",
        "A code of 32 keeps digits and their style, and decodes them sharply.",
        "A code of 32 keeps less than the table says.",
    ),
}

CLAIMS = (
    *(
        Claim(
            f"table-{code_dim}",
            2,
            f"mse at a code of {code_dim}",
            printed,
            judges.row(code_dim),
            Rule(
                "the error that the chapter's loop prints in its last epoch",
                "within 3 standard deviations over seeds, 2% of the printed number, or rounding",
                "another seed or another torch changes no more",
            ),
            so="The row is what the chapter's loop gives.",
            otherwise="The row is not what the chapter's loop gives; take the measured one.",
            turns=turning.row(code_dim),
            figure="sweep/tradeoff.png",
            needs_full_training=NUMBER,
            of_mnist=True,
        )
        for code_dim, printed in ((2, "0.052"), (8, "0.028"), (32, "0.020"))
    ),
    *(
        Claim(
            f"learns-{code_dim}",
            2,
            f"what a code of {code_dim} learns",
            printed,
            digits.learns(code_dim),
            Rule(
                "labels, slant and thickness as linear readers and neighbours read them from the"
                " code; sharpness of decoded images as a share of the real ones'",
                threshold,
                "half is where more is read than is not; the others are the grades by which `aecli"
                " sweep-codedim` words its table",
            ),
            so=so,
            otherwise=otherwise,
            turns=turning.learns(code_dim),
            figure="sweep/decoded.png",
            needs_full_training=CODES,
            of_digits=True,
        )
        for code_dim, (printed, threshold, so, otherwise) in _LEARNS.items()
    ),
    Claim(
        "sweet-spot",
        2,
        "a code of 32 is the sweet spot",
        "32",
        digits.sweet_spot,
        Rule(
            "sharpness of decoded images as a share of the real ones', at codes of 2 to 64",
            "the smallest code that reaches 0.9 is the one of 32",
            "a smaller code that decodes as sharply would be sweeter",
        ),
        so="Begin with a code of 32.",
        otherwise="Begin with the code that is the smallest whose images are sharp enough for you.",
        turns=turning.sweet_spot,
        figure="sweep/decoded.png",
        needs_full_training=DECODED,
        of_digits=True,
    ),
    Claim(
        "one-blob",
        2,
        "a codec learns that a digit is about one connected blob of ink",
        "roughly one",
        digits.one_piece,
        Rule(
            "the share of decoded test digits whose ink, pixels at least half as bright as the"
            " brightest, is one connected piece",
            "at most 5 points below that of the digits themselves, in every seed, at 2, 8 and 32",
            "roughly one: real digits are not always in one piece either",
        ),
        so="What is decoded has strokes that hang together.",
        otherwise="Decoded digits fall to pieces more often than real ones.",
        turns=turning.one_piece,
        figure="one_piece.png",
        needs_full_training=DECODED,
        of_digits=True,
    ),
    Claim(
        "identity",
        2,
        "a code of 784 copies its input",
        "~0.000",
        judges.identity,
        Rule(
            "the error of a code as wide as the image, with the chapter's layers and without",
            "below 0.0005 by the chapter's loop; below 5% of the mean image's without layers",
            "the table prints three digits; a twentieth of what a constant picture costs is nearly"
            " a copy",
        ),
        so="An overcomplete code copies.",
        otherwise="A wide code alone does not make a copy: look for narrower layers.",
        turns=turning.identity,
        figure="sweep/decoded.png",
        needs_full_training=ERROR,
    ),
    Claim(
        "meaningless",
        2,
        "an overcomplete code is just the image again",
        "meaningless",
        judges.meaningless,
        Rule(
            "accuracy of two readers of labels, from the code and from the pixels",
            "at most one point more from the code",
            "a point is about what another split of the images changes",
        ),
        so="A copy is worth no more than what it copies.",
        otherwise="Even a copy may be arranged so that more is read from it.",
        turns=turning.meaningless,
        figure="sweep/decoded.png",
        needs_full_training=CODES,
    ),
    Claim(
        "noise",
        2,
        "a change of the training, noise, forces an overcomplete code to learn (exercise 1)",
        "forces",
        changes.learns_by_noise,
        Rule(
            "errors on half-masked test images, and on images cut up and shuffled",
            "masked images at less than half the error, shuffled ones at more than 1.5 times, in"
            " every seed",
            "it has to restore what a copy cannot, and to stop copying what is no image",
        ),
        so="A wide code learns if its input is spoilt: denoise.",
        otherwise="This noise does not make an overcomplete code learn.",
        turns=turning.noise,
        figure="noise.png",
        needs_full_training=LEARNED,
    ),
    Claim(
        "compression",
        2,
        "compression ratios of the table",
        "392, 98, 24.5, 1",
        judges.ratios,
        Rule("pixels over numbers of the code", "the table's", "they are printed"),
        so="The ratio counts numbers, not bits.",
        otherwise="The table's ratios are of other images.",
    ),
    Claim(
        "diminishing",
        2,
        "past 32 extra capacity buys almost nothing on MNIST",
        "the drop shrinks",
        judges.diminishing,
        Rule(
            "the error's fall from a code of 32 to one of 64, in percent, by the chapter's training"
            " and by aecli's",
            "less than 10%, by both",
            "a tenth less error for twice the numbers is almost nothing",
        ),
        so="Stop at 32.",
        otherwise="A wider code still pays for itself.",
        turns=turning.diminishing,
        figure="sweep/tradeoff.png",
        needs_full_training=ERROR,
        of_mnist=True,
    ),
    Claim(
        "clusters",
        2,
        "codes of 2 form loosely separated clusters by class",
        "loose",
        judges.clusters,
        Rule(
            "the share of test images whose 5 nearest training codes vote for their class",
            "from half-way between chance and 100% up to 95%",
            "below it is nearer to chance than to clusters, above they are cleanly separated",
        ),
        so="Classes show in a picture of two numbers, and overlap.",
        otherwise="Two numbers do not show classes as loose clusters.",
        turns=turning.clusters,
        figure="sweep/code_scatter.png",
        needs_full_training=CODES,
    ),
)
