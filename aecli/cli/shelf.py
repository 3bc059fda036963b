"""Commands on the runs and the cache that are there: `compare`, `ls`, `rm` and `clean`."""

from pathlib import Path
from typing import Annotated

import typer

from aecli.cli.options import QUIET, RUNS_DIR
from aecli.errors import UsageError
from aecli.terminal import Terminal

_RUNS = typer.Argument(
    metavar="RUN",
    help="Runs: folders, names as `aecli ls` prints them, patterns such as '*-train-*', or latest"
    " (default: all runs).",
    show_default=False,
)
_RUNS_TO_REMOVE = typer.Argument(
    metavar="RUN",
    help="Runs to remove: folders, names as `aecli ls` prints them, patterns such as '*-train-*',"
    " or latest (default: those of --where and --since).",
    show_default=False,
)
_WHERE = typer.Option(
    "--where",
    metavar="'KEY==VALUE'",
    help="Condition on a setting, a metric or a fact of a run, such as 'codec.code_dim==32' or"
    " 'test_mse<0.02'. Repeatable (default: none).",
)
_SINCE = typer.Option(
    "--since",
    metavar="TIME",
    help="Begun at that time or later, in UTC: 2026-11-20, 2026-11-20T08:00, or a span up to now,"
    " 30m, 12h, 7d, 2w (default: any time).",
)
_YES = typer.Option("--yes", "-y", help="Remove without a question.")


def compare(
    runs: Annotated[list[str] | None, _RUNS] = None,
    since: Annotated[str | None, _SINCE] = None,
    where: Annotated[list[str] | None, _WHERE] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="NAME",
            help="Metric to show, or a pattern of some, such as 'kl_*'. Repeatable (default: the"
            " chief ones of the command; all in --csv and --json).",
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            metavar="RUN",
            help="Run that the others are held against, or a pattern of runs that differ by seed"
            " alone (default: none).",
        ),
    ] = None,
    expectations: Annotated[
        list[str] | None,
        typer.Option(
            "--expect",
            metavar="'METRIC<=X'",
            help="Condition on a metric of every group of runs but the baseline, such as"
            " 'test_mse<=baseline*1.02'; exit 7 if it does not hold. Repeatable (default: none).",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            metavar="DIR",
            help="Folder to write the tables to, and the trainings over one another as a picture"
            " (default: none).",
        ),
    ] = None,
    html: Annotated[
        str | None,
        typer.Option(
            "--html", metavar="FILE", help="Page to write of all that, in one file (default: none)."
        ),
    ] = None,
    pictures: Annotated[
        bool,
        typer.Option(
            "--pictures",
            help="Draw the same test images as each run decodes them, too; needs -o or --html.",
        ),
    ] = False,
    as_md: Annotated[bool, typer.Option("--md", help="Print Markdown.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a row for each group.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    runs_dir: Annotated[Path, RUNS_DIR] = Path("runs"),
    quiet: Annotated[bool, QUIET] = False,
) -> None:
    """Put runs side by side: the settings that differ, the metrics, and which is better.

    Runs that differ by seed alone are one row, with the mean and the standard deviation over seeds;
    of a seed that was run twice the newest run counts. A row is marked as best (*) where it is
    better than every other: Welch's t interval of the difference leaves out 0 at 95%, with the
    degrees of freedom of the row with fewer seeds. Of one seed nothing can be said.

    Runs by another version of aecli or torch are rows of their own; runs of other commands, and
    those measured on other images, stand in tables of their own. Runs that are damaged, unfinished
    or running are named and left out. A baseline need not meet --where and --since.
    """
    forms = {"md": as_md, "csv": as_csv, "json": as_json}
    given = [form for form, is_given in forms.items() if is_given]
    if len(given) > 1:
        raise UsageError(f"--{given[0]} and --{given[1]}: one or the other")
    from aecli.cli.compare import Asked
    from aecli.cli.compare import compare as carry_out

    asked = Asked(
        runs or (),
        since,
        where or (),
        metrics or (),
        baseline,
        expectations or (),
        given[0] if given else "table",
        html,
        output,
        pictures,
    )
    carry_out(asked, Terminal(quiet, as_json), runs_dir)


def show_runs(
    runs: Annotated[list[str] | None, _RUNS] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="KEY,KEY",
            help="Columns to show: settings, metrics and facts of runs, such as"
            " run,codec.code_dim,test_mse (default: run,state,started,seconds,error).",
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort", metavar="KEY", help="Order by a column, the least first (default: run)."
        ),
    ] = None,
    reverse: Annotated[
        bool, typer.Option("--reverse", help="Turn the order round: the greatest first.")
    ] = False,
    where: Annotated[list[str] | None, _WHERE] = None,
    since: Annotated[str | None, _SINCE] = None,
    runs_dir: Annotated[Path, RUNS_DIR] = Path("runs"),
    as_json: Annotated[
        bool, typer.Option("--json", help='Print one JSON object, {"runs": [...]}.')
    ] = False,
) -> None:
    """List the runs, oldest first, each with its state.

    The state is completed, failed, interrupted, running, dead (killed), empty (killed before it
    wrote anything) or unreadable.
    """
    from aecli.cli.ls import ls

    ls(runs or (), columns, sort, reverse, where or (), since, Terminal(as_json=as_json), runs_dir)


def remove(
    runs: Annotated[list[str] | None, _RUNS_TO_REMOVE] = None,
    where: Annotated[list[str] | None, _WHERE] = None,
    since: Annotated[str | None, _SINCE] = None,
    keep_best: Annotated[
        int | None,
        typer.Option(
            "--keep-best",
            metavar="N",
            min=1,
            help="Number of these runs to keep, the best by --by; what has no such metric is kept"
            " too (default: none).",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by", metavar="METRIC", help="Metric that says which runs are best (default: none)."
        ),
    ] = None,
    yes: Annotated[bool, _YES] = False,
    runs_dir: Annotated[Path, RUNS_DIR] = Path("runs"),
    quiet: Annotated[bool, QUIET] = False,
) -> None:
    """Remove runs, after a list of them with their sizes and a question.

    What is running is never removed, nor is a folder that is no run. There is no way back.
    """
    from aecli.cli.removing import remove_runs

    remove_runs(runs or (), where or (), since, keep_best, by, yes, Terminal(quiet), runs_dir)


def clean(
    parts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PART",
            help="Parts of the cache: images (decoded pixels of paths), classifiers (trained anew"
            " when needed), datasets (downloaded anew when needed) (default: all).",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, _YES] = False,
    quiet: Annotated[bool, QUIET] = False,
) -> None:
    """Empty the user's cache, after a list of what is in it, with sizes, and a question.

    No run and no image of the user's own is touched; what a process is reading stays.
    """
    from aecli.cli.removing import clean_cache

    clean_cache(parts or (), yes, Terminal(quiet))
