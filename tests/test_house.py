"""The house rules that a program can check: who imports whom, and what stays light."""

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

import aecli

ROOT = Path(aecli.__file__).parent

# From the outside in; a module imports only from levels further down, or its own package.
LEVELS = [
    {"__main__"},
    {"cli", "estimator"},
    {"experiments", "pages"},
    {"codespace"},
    {"training"},
    {"measure", "runs", "figures", "chapter"},
    {"codecs"},
    {"data"},
    {"config"},
    {"codecs.settings", "data.known"},
    {"codecs.grid_settings"},
    {"data.files"},
    {"terminal", "interrupts", "fields"},
    {"pathnames", "processes"},
    {"errors", "comparing", "strictjson", "bars", "counts", "lazily", "locks", "machine", "png"},
]


# The parts of outer packages that config knows; they import nothing heavy.
LIGHT = ("codecs.settings", "codecs.grid_settings", "data.known", "data.files")


def modules():
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield path, ".".join(parts) if ".".join(parts) in LIGHT else parts[0]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split(".")[0] == "aecli"
        ):
            parts = node.module.split(".")
            names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
            if ".".join(parts[1:]) in LIGHT:
                names = [".".join(parts[1:])]
            yield from (name for name in names if name != "__version__")


def level_of(name):
    return next(i for i, level in enumerate(LEVELS) if name in level)


def test_imports_point_inwards():
    type_only = {("terminal", "training"), ("data.known", "data")}
    for path, name in modules():
        if name == "__init__":
            continue
        for target in imported(path):
            allowed = (
                target == name
                or (name == "codecs" and target in LIGHT)
                or level_of(target) > level_of(name)
            )
            assert allowed or (name, target) in type_only, f"{path.name} imports {target}"


def test_figures_know_arrays_not_torch():
    for path in (ROOT / "figures").glob("*.py"):
        assert "torch" not in path.read_text().replace("knows torch", "")


def test_only_storage_writes_into_runs():
    writers = {
        path.relative_to(ROOT).as_posix()
        for path, _ in modules()
        if any(
            w in path.read_text() for w in (".write_bytes(", ".write_text(", 'open("wb")', '"xb"')
        )
    }
    # The others fill the user's cache, or write what is no run to where the user says.
    cache = {"data/own/store.py", "data/own/arrays.py"}
    elsewhere = {"cli/shipped.py", "cli/decode.py", "codespace/indexes.py"}
    assert writers == {"runs/storage.py", *elsewhere, *cache}


HEAVY = ("torch", "numpy", "matplotlib", "rich", "safetensors", "diffusers", "huggingface_hub")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["train", "--help"],
        ["encode", "--help"],
        ["help", "expect"],
        ["--version"],
        ["trian"],
        ["configs"],
        ["ls"],
        ["ls", "--columns", "run"],
        ["compare", "--help"],
        ["clean"],
        ["data"],
        ["schema"],
        ["train", "--expect", "tset_mse<1"],
    ],
)
def test_what_only_shows_something_imports_nothing_heavy(arguments):
    code = (
        f"import sys; sys.argv = ['aecli', *{arguments}]\n"
        "from aecli.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_one_function_writes_json():
    writers = {
        path.relative_to(ROOT).as_posix()
        for path, _ in modules()
        if re.search(r"\bjson\.dumps?\(", path.read_text())
    }
    # The others write a manifest and a hash's input, where there are no floats to be unfinite.
    assert writers == {"strictjson.py", "runs/storage.py", "training/jobs.py"}


# Words that stand for a missing subject where a sentence begins with them.
MISSING_SUBJECT = {"as", "how", "likewise", "of", "such", "what", "when", "where", "whether"}
MISSING_SUBJECT |= {"which", "who", "why"}


def first_words(path):
    """Line and first word, in lower case, of every docstring and every comment of full lines."""
    source = path.read_text()
    texts = {
        node.lineno: node.value.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    comments = {
        token.start[0]: token.string
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and token.line.lstrip().startswith("#")
    }
    # A comment goes on over lines: only its first one begins it.
    texts |= {line: text for line, text in comments.items() if line - 1 not in comments}
    for line, text in texts.items():
        if isinstance(text, str) and (words := re.findall(r"\w+", text)):
            yield line, words[0].lower()


def test_docstrings_and_comments_begin_with_a_noun_or_a_verb():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {word}"
        for path, _ in modules()
        for line, word in first_words(path)
        if word in MISSING_SUBJECT
    ]
    assert found == []


def test_no_file_is_written_through_a_memory_map():
    """On a full disk that would end in a signal."""
    for path, _ in modules():
        assert not re.search(r"open_memmap|mmap_mode=\"(r\+|w\+)\"", path.read_text()), path


def test_fsync_is_called_in_one_way_that_poor_file_systems_know():
    calls = [path.name for path, _ in modules() if "os.fsync(" in path.read_text()]
    assert sorted(calls) == ["files.py", "storage.py"]
