"""Pages of `aecli help` that belong to no single command."""

from collections.abc import Callable

from aecli.cli import metric_names
from aecli.cli.help import listing, paragraphs

EXIT_CODES: dict[int, str] = {
    0: "Done.",
    1: "A bug in aecli; please report it.",
    2: "A mistake on the command line or in a config; or a run that does not fit in memory.",
    3: "Data, a model or a checkpoint that is missing or damaged.",
    4: "A training that diverged: its loss was not finite.",
    5: "Some trainings of a sweep failed; the others are kept.",
    6: "A folder or a file that cannot be written.",
    7: "A measured number that an --expect did not allow; the run itself is complete.",
    129: "Stopped by SIGHUP: the terminal was closed.",
    130: "Stopped by SIGINT: Ctrl-C.",
    143: "Stopped by SIGTERM.",
}


def exit_codes() -> str:
    """The page `exit-codes`."""
    rows = [(f"{code:>3}", text) for code, text in EXIT_CODES.items()]
    after = (
        "A run that ends with another code than 0 and has a folder names it: in the error on"
        " stderr, as the last line of stdout, and with --json in the one object on stdout, as"
        ' {"run": ..., "error": ..., "exit_code": ...}. At 5 and 7 that object has the metrics too.'
    )
    return f"{listing('Exit codes of every command', rows)}\n\n{paragraphs(after)}"


def expectations() -> str:
    """The page `expect`."""
    before = (
        "--expect 'METRIC<=NUMBER' checks a number of the finished run, for scripts and CI: where"
        " one does not hold the exit code is 7. It can be given several times. The comparisons are"
        " <, <=, ==, !=, >= and >; the number may be true or false, and dataset is"
        " compared with a name (dataset==mnist). A metric that could not be"
        " measured (null) fails every --expect. The name is checked before anything is trained."
        "\n\n"
        "A <row> is a row of the table: a code dimension, as in test_mse_32; in sweep-codedim also"
        " with _wide (without hidden layers) or a variant, as in test_mse_784_wide_gaussian."
        "\n\n"
        "aecli compare takes the metrics of all commands, and bounds beside those of another run:"
        " --baseline RUN --expect 'test_mse<=baseline*1.02' (or baseline+0.5, baseline-0.5). Where"
        " runs differ by seed alone it is their mean that is held against the bound."
    )
    pages = [
        f"aecli {command}:\n{paragraphs(', '.join(names), '  ')}"
        for command, names in metric_names.METRICS.items()
    ]
    return "\n\n".join(["Gates on metrics: --expect", paragraphs(before), *pages])


def configs() -> str:
    """The page `config`."""
    text = (
        "A setting can be given in four ways. The first of these that has it counts: a flag"
        " (--epochs 3), --set KEY.KEY=VALUE (--set train.epochs=3), the YAML file of --config, the"
        " default."
        "\n\n"
        "--config takes the path of a YAML file, or the name of a config that ships with aecli:"
        " `aecli configs` lists them, `aecli configs show NAME` prints one, `aecli configs copy"
        " NAME` gives a copy to edit. A config is for one command, which it names."
        "\n\n"
        "`aecli schema COMMAND` prints the JSON Schema of a command's config, with every key, its"
        " default and what it does. `--dry-run` checks every setting and prints the config that"
        " would run. Naming another recipe (--recipe, train.recipe) or another codec (--codec,"
        " codec.name) drops the settings that a config underneath has for the one it names."
        "\n\n"
        "Every run folder has a config.yaml that repeats the run:"
    )
    return f"Configs\n\n{paragraphs(text)}\n  aecli train --config runs/latest/config.yaml"


TOPICS: dict[str, Callable[[], str]] = {
    "config": configs,
    "exit-codes": exit_codes,
    "expect": expectations,
}
