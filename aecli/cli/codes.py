"""Commands that put a trained codec to work: `encode`, `decode`, `search` and `export`."""

from pathlib import Path
from typing import Annotated

import typer

from aecli.cli.options import DATA_DIR, OFFLINE, QUIET, RUNS_DIR, one_of
from aecli.terminal import Terminal

_RUN = typer.Argument(
    metavar="RUN",
    help="Run whose model is used: its folder, its name as `aecli ls` prints it, or latest, the"
    " newest finished run that has a model.",
)
_SET = typer.Option(
    "--set",
    metavar="KEY=VALUE",
    help="Setting of a path's images, such as data.stride=16. Repeatable (default: as the run read"
    " its own).",
)
_AS_JSON = typer.Option("--json", help="Print one JSON object on stdout.")


def encode(
    run: Annotated[str, _RUN],
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Images to encode: the name of a dataset that `aecli data` lists, or the path of a"
            " folder, an array or a scene.",
        ),
    ],
    output: Annotated[
        str, typer.Option("-o", metavar="FILE.npy", help="File to write the codes to.")
    ],
    scores: Annotated[
        bool,
        typer.Option(
            "--scores",
            help="Add each image's reconstruction error and its code's distance to the region that"
            " training images occupy, and draw the 20 oddest images.",
        ),
    ] = False,
    bits: Annotated[
        int | None,
        typer.Option(
            "--bits",
            metavar="B",
            min=1,
            max=16,
            help="Store the codes in bits, too: FILE.bits has each number in one of 2^B steps (B"
            " from 1 to 16), entropy-coded, and FILE.npy what is left of it. Needs 'aecli[bits]'"
            " (default: the numbers as they are).",
        ),
    ] = None,
    part: Annotated[
        str,
        one_of(
            "--part",
            "train|val|test|rest|all",
            help="Part of the dataset: of the run's split, if it was trained on this dataset, else"
            " of the dataset's own; rest is what --limit-train left out (default: all).",
        ),
    ] = "all",
    assignments: Annotated[list[str] | None, _SET] = None,
    runs_dir: Annotated[Path, RUNS_DIR] = Path("runs"),
    data_dir: Annotated[str | None, DATA_DIR] = None,
    offline: Annotated[bool, OFFLINE] = False,
    as_json: Annotated[bool, _AS_JSON] = False,
    quiet: Annotated[bool, QUIET] = False,
) -> None:
    """Encode all images of a dataset, of any size, and say where each of them lies.

    Beside FILE.npy, float32 with a row for each image, stand FILE.csv (index, file, part, label,
    place) and FILE.json (the model and the images they are of). The images of a path are taken in
    the order of their names; scenes are cut into tiles as the run's were, row by row. After an
    interruption or a kill the same command goes on.

    With --bits the steps of each unit of a code, and how often each is met, are those of the run's
    training images; `aecli decode RUN FILE.bits` needs no other file. Printed is what that takes,
    with the file's header and without, and the error of what decodes from it. Scores are those of
    the codes before.
    """
    from aecli.cli.encode import encode as carry_out

    terminal = Terminal(quiet, as_json)
    given = assignments or ()
    carry_out(run, data, output, terminal, runs_dir, data_dir, offline, part, scores, given, bits)


def decode(
    run: Annotated[str, _RUN],
    codes: Annotated[
        str,
        typer.Argument(
            metavar="FILE.npy|FILE.bits",
            help="Codes to decode, a row for each image, or in bits, as `aecli encode --bits` left"
            " them.",
        ),
    ],
    output: Annotated[
        str, typer.Option("-o", metavar="DIR", help="Folder to write, which must be new or empty.")
    ],
    as_npy: Annotated[
        bool, typer.Option("--npy", help="Write one array, images.npy, whatever the images are.")
    ] = False,
    runs_dir: Annotated[Path, RUNS_DIR] = Path("runs"),
    as_json: Annotated[bool, _AS_JSON] = False,
    quiet: Annotated[bool, QUIET] = False,
) -> None:
    """Decode codes into images, in the units of the images that the run learned from.

    Each becomes a PNG with the index of its code as name; what PNG cannot hold (other channels than
    1 or 3, numbers other than 8 bits) becomes one array, images.npy. Tiles of a scene become a
    GeoTIFF of the scene's size and place, by the FILE.csv and FILE.json that `aecli encode` left.
    """
    from aecli.cli.decode import decode as carry_out

    carry_out(run, codes, output, as_npy, Terminal(quiet, as_json), runs_dir)


def search(
    run: Annotated[str, _RUN],
    query: Annotated[
        str,
        typer.Argument(
            metavar="QUERY",
            help="Image to search by: a file; a window of a file, as 'scene.tif[COLUMN,ROW]', as"
            " large as the model's images; or the index of a code.",
        ),
    ],
    among: Annotated[
        str,
        typer.Option(
            "--in",
            metavar="DATA|FILE.npy",
            help="Images to search in: codes of `aecli encode`, or a dataset's name or path, which"
            " is encoded first.",
        ),
    ],
    k: Annotated[
        int, typer.Option("-k", metavar="K", min=1, help="Number of nearest images (default: 10).")
    ] = 10,
    metric: Annotated[
        str | None,
        one_of(
            "--metric",
            "euclidean|cosine",
            help="Distance between codes; cosine is one minus the cosine (default: euclidean).",
        ),
    ] = None,
    with_copies: Annotated[
        bool,
        typer.Option(
            "--with-copies", help="Count the query itself and images of equal content, too."
        ),
    ] = False,
    index: Annotated[
        str | None,
        typer.Option(
            "--index",
            metavar="faiss",
            help="Index to search by, built beside FILE.npy at the first time (default: none, exact"
            " search).",
        ),
    ] = None,
    codes: Annotated[
        str | None,
        typer.Option(
            "--codes",
            metavar="binary",
            help="Form of the codes to compare: binary is one bit per unit, above its median or"
            " not, by Hamming distance (default: the numbers).",
        ),
    ] = None,
    output: Annotated[
        str,
        typer.Option("-o", metavar="FILE.png", help="Picture to write (default: search.png)."),
    ] = "search.png",
    assignments: Annotated[list[str] | None, _SET] = None,
    runs_dir: Annotated[Path, RUNS_DIR] = Path("runs"),
    data_dir: Annotated[str | None, DATA_DIR] = None,
    offline: Annotated[bool, OFFLINE] = False,
    as_json: Annotated[bool, _AS_JSON] = False,
    quiet: Annotated[bool, QUIET] = False,
) -> None:
    """Find the images whose codes are nearest to an image's: a table, and a picture of them.

    The search is exact, and where distances are equal the order is by index. Left out are the query
    itself and images of equal content, whose codes differ by rounding alone. An index, or binary
    codes, is quicker and not exact; its recall, measured against exact search, is printed.
    """
    from aecli.cli.search import Asked
    from aecli.cli.search import search as carry_out

    asked = Asked(query, among, k, metric, with_copies, index, codes, output, assignments or ())
    carry_out(run, asked, Terminal(quiet, as_json), runs_dir, data_dir, offline)


def export(
    run: Annotated[str, _RUN],
    output: Annotated[
        str, typer.Option("-o", metavar="DIR", help="Folder to write, which must be new or empty.")
    ],
    format_: Annotated[
        str,
        one_of(
            "--format",
            "onnx|torch|diffusers",
            help="Format of the files: onnx, which needs 'aecli[onnx]'; torch, for torch.export; or"
            " diffusers, a folder for its from_pretrained, of kl and dc (default: onnx).",
        ),
    ] = "onnx",
    runs_dir: Annotated[Path, RUNS_DIR] = Path("runs"),
    as_json: Annotated[bool, _AS_JSON] = False,
    quiet: Annotated[bool, QUIET] = False,
) -> None:
    """Export the encoder and the decoder of a run, for other programs.

    Each takes any number of images or codes at a time, as float32, and is checked, as the file that
    it became, against the codec: on 10 inputs no number may differ by more than 1e-5 (of numbers
    above 1, as a share of the largest). The names, shapes and ranges of what goes in and comes out
    are in the files' metadata and, for people, in export.json beside them.
    """
    from aecli.cli.export import export as carry_out

    carry_out(run, format_, output, Terminal(quiet, as_json), runs_dir)
