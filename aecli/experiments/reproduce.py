"""`aecli reproduce`: run the whole chapter, judge every claim, and write the ledger."""

from dataclasses import replace

from aecli import chapter
from aecli.chapter import Claim, exercises, ledger
from aecli.config import ReproduceConfig, quick_images
from aecli.counts import count
from aecli.data.images import Images
from aecli.errors import UsageError
from aecli.experiments.possible import require_held_out_images, require_images
from aecli.experiments.reproduce_changes import conversion_fit
from aecli.experiments.reproduce_parts import CHAPTER_FIT, Gathering
from aecli.experiments.result import Result
from aecli.experiments.wording import settings_in_words
from aecli.runs.context import Context, load_images
from aecli.runs.folder import RunDir, new_run
from aecli.training import device
from aecli.training.jobs import facts_of_jobs, failure_text

_CHAPTERS = ("the chapter's own networks", CHAPTER_FIT)
# Every figure's title and every printed table of a quick run says that it is a quick look.
_QUICK_LOOK = ", quick look"
_QUICK_TESTED = 2_000  # test images that it measures on, at most


def check(config: ReproduceConfig, images: int | None) -> None:
    """Raises UsageError for what would fail only after trainings; images: the number, if known."""
    require_images(images, CHAPTER_FIT.batch_size, "the chapter's batches are as large")


def run(config: ReproduceConfig, context: Context) -> Result:
    """Measure and judge everything; claims.md and claims.json are the ledger. Raises AecliError."""
    device.prepare(config)
    check(config, config.data.limit_train)
    slug = config.name or ("quick" if config.quick else "chapter")
    with new_run(context.runs_dir, config, slug, context.argv, context.resumed) as run_dir:
        context.tell_machine(run_dir.path, facts_of_jobs(config), " for each training")
        images, config = load_images(config, context, run_dir, quick_images(config))
        if config.quick:
            test = images.test.first(_QUICK_TESTED)
            images = replace(images, test=test, aside=_QUICK_LOOK)
        run_dir.note(quick=config.quick)
        check(config, len(images.train))
        _check_images(images)
        context.terminal.warn(run_dir.note(**facts_of_jobs(config)))
        gathering = Gathering(config, images, run_dir, context)
        evidence = gathering.evidence()
        context.terminal.say("reproduce: judging the claims")
        judged = [(_as_drawn(c, run_dir), j) for c, j in chapter.judge_all(evidence)]
        run_dir.write_json("claims.json", ledger.entries(judged, images.name))
        about = _about(config, images)
        run_dir.save_text("claims.md", ledger.markdown(judged, images.name, about))
        for number, page in exercises.pages(evidence, judged).items():
            run_dir.save_text(f"exercise-{number}.md", page)
        numbers = {"dataset": images.name, **ledger.counts(judged), "quick": config.quick}
        run_dir.write_metrics(numbers)
        if gathering.failures:
            run_dir.fail(failure_text(gathering.failures))
    header = ("claim", "chapter", "verdict")
    rows = [(claim.name, claim.printed, judgement.verdict) for claim, judgement in judged]
    title = f"{images.title}: the chapter's claims, {count(config.seeds, 'seed')}"
    notes = [about, ledger.counts_in_words(judged)]
    return Result(run_dir.path, numbers, title, rows, header, notes, gathering.failures)


def _as_drawn(claim: Claim, run_dir: RunDir) -> Claim:
    """The claim without its figure where that was not drawn: there was nothing to see."""
    return claim if (run_dir.path / claim.figure).is_file() else replace(claim, figure="")


def _check_images(images: Images) -> None:
    """Raises UsageError for images that leave the claims without evidence."""
    if not images.labelled:
        raise UsageError(
            f"{images.name} has no labels of two classes or more, and some claims are about labels"
        )
    half = f"images in half of the {len(images.test)} test images"
    require_held_out_images(len(images.test) // 2, half, settable=False)


def _about(config: ReproduceConfig, images: Images) -> str:
    """Sentences on the data and the training."""
    quick = "Few images and epochs: a look, not a result. " if config.quick else ""
    others = [_CHAPTERS, ("codecs made variational", conversion_fit(config))]
    return (
        f"{quick}{images.name}: {len(images.train):,} training and {len(images.test):,} test"
        f" images, mse per pixel in [0, 1]. {settings_in_words(config, images, others)}"
    )
