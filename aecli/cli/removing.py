"""`aecli rm` and `aecli clean`: a list with sizes first, a question, and then the removal."""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from aecli.data.own import in_use
from aecli.errors import StorageError, UsageError
from aecli.runs import storage
from aecli.runs.comparison import direction, is_number
from aecli.runs.removal import looking_into, remove_remnants, remove_run, size_of, why_kept
from aecli.runs.selection import (
    Chosen,
    begun_since,
    chosen,
    conditions,
    entry_of,
    facts_of,
    meeting,
    why_left_out,
)
from aecli.terminal import Terminal, one_line

_NAMED = 5  # runs in a sentence, at most
PARTS = {
    "images": "decoded pixels of folders and scenes; decoded anew when needed",
    "classifiers": "judges of samples; trained anew when needed",
    "datasets": "downloaded files; downloaded anew when needed",
}


def remove_runs(
    patterns: Sequence[str],
    where: Sequence[str],
    since: str | None,
    keep_best: int | None,
    by: str | None,
    yes: bool,
    terminal: Terminal,
    runs_dir: Path,
) -> None:
    """Remove runs. Raises UsageError, DataError, StorageError; nothing is removed then, but for
    what a full disk or a missing right has left in between."""
    if not patterns and not where and since is None and keep_best is None:
        raise UsageError("rm: which runs? Name them, or choose by --where, --since or --keep-best")
    _require_order(keep_best, by)
    found = chosen(patterns, runs_dir)
    wanted = conditions(where)
    if wanted or since is not None:
        begun = "" if since is None else begun_since(since)
        facts = [facts_of(one.run) for one in found]
        holds = meeting(wanted, facts)
        found = [
            one
            for one, ok, each in zip(found, holds, facts, strict=True)
            if ok and str(each.get("started", "")) >= begun
        ]
    found = [one for one in found if not _is_kept(one, terminal)]
    if keep_best is not None and by is not None:
        found = _worse(found, keep_best, by, terminal)
    if not found:
        terminal.say("nothing to remove")
        return
    sizes = [size_of(one.run.path) for one in found]
    rows = [
        (one_line(str(one.run.path)), one.run.state, storage.size(size))
        for one, size in zip(found, sizes, strict=True)
    ]
    terminal.columns([("run", "state", "size"), *rows])
    if others := looking_into([one.run for one in found], runs_dir):
        names = ", ".join(one_line(run.path.name) for run in others[:_NAMED])
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        terminal.say(f"these are looked into, or gone on from, by runs that stay: {names}{more}")
    runs = "1 run" if len(found) == 1 else f"{len(found)} runs"
    if not _agreed(f"remove {runs}, {storage.size(sum(sizes))}?", yes, terminal):
        return
    for folder in {one.run.path.parent for one in found}:
        remove_remnants(folder)
    for one in found:
        remove_run(one.run)
    terminal.say(f"removed {runs}, {storage.size(sum(sizes))}")


def clean_cache(parts: Sequence[str], yes: bool, terminal: Terminal) -> None:
    """Empty parts of the cache. Raises UsageError, StorageError."""
    import platformdirs

    for part in parts:
        if part not in PARTS:
            raise UsageError(f"clean {part}: expected {', '.join(PARTS)}")
    cache = Path(platformdirs.user_cache_path("aecli"))
    rows, there, total = [], [], 0
    for part, what in PARTS.items():
        folder = cache / part
        if (parts and part not in parts) or folder.is_symlink() or not folder.is_dir():
            continue
        size = size_of(folder)
        if size:
            there.append(folder)
            total += size
            rows.append((part, storage.size(size), what))
    if not there:
        terminal.say(f"nothing in the cache, {cache}")
        return
    terminal.columns([("part", "size", "what it is"), *rows])
    if not _agreed(f"remove {storage.size(total)} from {cache}?", yes, terminal):
        return
    for folder in there:
        _empty(folder)
    left = sum(size_of(folder) for folder in there)
    kept = f"; {storage.size(left)} are in use and stay" if left else ""
    terminal.say(f"removed {storage.size(total - left)}{kept}")


def _require_order(keep_best: int | None, by: str | None) -> None:
    if (keep_best is None) != (by is None):
        raise UsageError("--keep-best N and --by METRIC: one needs the other")
    if by is not None and not direction(by):
        raise UsageError(f"--by {by}: it is not known which way it is better; try test_mse")


def _is_kept(one: Chosen, terminal: Terminal) -> bool:
    """True for a run that is not removed, which is told. Raises UsageError if it was named."""
    reason = why_kept(one.run)
    if reason and one.by_name:
        raise UsageError(f"{one.run.path}: not removed: {reason}; nothing was removed")
    if reason:
        terminal.say(f"kept: {one_line(one.run.path.name)}: {reason}")
    return bool(reason)


def _worse(found: Sequence[Chosen], n: int, by: str, terminal: Terminal) -> list[Chosen]:
    """All but the n best by a metric, and but those without it. Raises UsageError for runs that
    cannot be compared."""
    ranked, kinds = [], set()
    for one in found:
        value = None if why_left_out(one.run) else one.run.metrics.get(by)
        if not is_number(value):
            terminal.say(f"kept: {one_line(one.run.path.name)}: no {by}")
            continue
        entry = entry_of(one.run)
        kinds.add((entry.command, entry.images))
        ranked.append((-direction(by) * value, one.run.path.name, one))
    if len(kinds) > 1:
        raise UsageError(
            f"--keep-best: these runs are of {len(kinds)} kinds, other commands or other images,"
            " whose numbers are not compared; choose by --where command==..., dataset.name==..."
        )
    return [one for _, _, one in sorted(ranked, key=lambda row: row[:2])[n:]]


def _agreed(question: str, yes: bool, terminal: Terminal) -> bool:
    """True if the user says yes. Raises UsageError where nobody can be asked."""
    if yes:
        return True
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody is there to ask; --yes says so")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    terminal.say("nothing was removed")
    return False


def _empty(folder: Path) -> None:
    """Remove what is in a folder of the cache, but for what a process reads from."""
    remove: Callable[[Path], bool] = in_use.remove
    try:
        for above, folders, names in os.walk(folder, topdown=False):
            for name in names:
                path = Path(above, name)
                if path.is_symlink():
                    path.unlink()
                else:
                    remove(path)
            for name in folders:
                path = Path(above, name)
                if path.is_symlink():
                    path.unlink()
                    continue
                with contextlib.suppress(OSError):  # something in use is left in it
                    path.rmdir()
    except OSError as error:
        raise StorageError(f"cannot empty {folder}: {error.strerror}") from None
