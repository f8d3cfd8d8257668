"""The command `axon score`: answers the rows of files of any size with a model of the store."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from models.conformal import check_level
from models.errors import AxonError, BucketError, may_pass
from models.open_store import open_store
from models.signing import trusted
from scoring.command_table import ABOUT, COMMAND

_EXIT_REFUSED, _EXIT_MAY_PASS, _EXIT_INTERRUPTED = 2, os.EX_TEMPFAIL, 130
_DESCRIPTION = """\
Answers the rows of a file, a folder or a pattern of files: Parquet, CSV (packed or not) and Arrow. Only the model's
columns are read, and the memory is bounded whatever the size. The answers are those of the server. SOURCE and --out are
paths or URLs of a bucket (s3://, gs://, az://); SOURCE may be one file of a web server (https://), too.

--out is a folder, where each part of about a million rows becomes a file, or a file with a suffix. A part appears when
it is complete. The same command, started again after a crash, goes on with the parts that are not finished and gives
the same bytes; it refuses to go on if the model or a file has changed.
"""
_EPILOG = """\
examples:
  axon score 'rows/*.parquet' --model churn@3 --out answers --keep customer_id
  axon score rows.csv.gz --model churn@production --out answers.csv --errors null
  axon score rows --model churn@3 --out answers --shard 0/8        # one of eight machines
  axon score 's3://rows/2026/*.parquet' --model churn@3 --out s3://answers/2026

Machines share a job by --shard i/n: part k is of shard k modulo n. The default comes from JOB_COMPLETION_INDEX and
JOB_COMPLETIONS (an Indexed Job of Kubernetes), or from SLURM_ARRAY_TASK_ID (an array job of Slurm).

exit codes:
  0    the parts of this process are finished
  2    refused: a setting, the model, the source or a row does not fit; the same command is refused again
  75   a fault that may pass: a bucket or a network, a disk, the memory; the same command goes on with what is left
  130  interrupted

docs/scoring.md has the details.
"""


def add_score_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to a parser, for completion.

    Args:
        commands: argparse's collection of commands.
    """
    _add_options(commands.add_parser(COMMAND, help=ABOUT), os.environ)


def run_score(given: Sequence[str], *, prog: str, environment: Mapping[str, str] = os.environ) -> int:
    """Runs the command and returns its exit code.

    Args:
        given: options of the command, without the command.
        prog: name of the program in its help.
        environment: variables of the process.
    """
    parser = argparse.ArgumentParser(
        prog=f"{prog} {COMMAND}",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_options(parser, environment)
    arguments = parser.parse_args(given)
    try:
        return _run(arguments, environment)
    except AxonError as error:
        sys.stderr.write(f"error: {error}\n")
        return _EXIT_MAY_PASS if _may_pass(error) else _EXIT_REFUSED
    except MemoryError:
        sys.stderr.write("error: the memory of this machine is not enough for this model.\n")
        return _EXIT_MAY_PASS
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: the same command goes on with the parts that are not finished.\n")
        return _EXIT_INTERRUPTED


def _may_pass(error: AxonError) -> bool:
    """Returns True if the same command may succeed later: a bucket that did not answer, a full disk, little memory."""
    cause = error.__cause__
    # A permission or a path of the wrong kind stays until somebody corrects something. Of a damaged file, Arrow raises
    # an error of the system without a number.
    stays = isinstance(cause, PermissionError | IsADirectoryError | NotADirectoryError) or (
        isinstance(cause, OSError) and cause.errno is None
    )
    return isinstance(error, BucketError) or (may_pass(error) and not stays)


def _add_options(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    parser.add_argument(
        "source", metavar="SOURCE", help="a file, a folder, or a pattern between quotes; a path or a URL"
    )
    parser.add_argument("--model", metavar="MODEL", required=True, help="NAME, NAME@VERSION or NAME@ALIAS")
    parser.add_argument(
        "--out", metavar="PATH", required=True, help="a folder, or a .parquet, .csv or .arrow file; a path or a URL"
    )
    parser.add_argument(
        "--store",
        metavar="STORE",
        default=environment.get("AXON_STORE") or "checkpoints",
        help="the folder or bucket of models (default: AXON_STORE, else checkpoints)",
    )
    parser.add_argument(
        "--format",
        choices=("parquet", "csv", "arrow"),
        help="format of the answers (default: the suffix's, or parquet)",
    )
    parser.add_argument("--keep", metavar="A,B,…", default="", help="columns of the source to write before the answers")
    parser.add_argument("--prefix", default="", metavar="TEXT", help="beginning of the answers' names")
    parser.add_argument(
        "--errors",
        choices=("refuse", "skip", "null"),
        default="refuse",
        help="rows that do not fit: end the job, leave them out, or answer them with nulls (default: refuse)",
    )
    parser.add_argument("--members", metavar="K", type=int, help="answer with the first K members of an ensemble")
    parser.add_argument(
        "--intervals",
        type=_level,
        metavar="LEVEL",
        help="add intervals or sets of labels that contain the truth in this share of rows, such as 0.9",
    )
    parser.add_argument("--shard", metavar="I/N", help="answer each part whose number modulo N is I")
    parser.add_argument(
        "--part-rows", metavar="N", type=int, default=1_000_000, help="rows that make a part (default: 1000000)"
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where to compute (default: a GPU if there is one)",
    )
    parser.add_argument(
        "--threads", metavar="N", type=int, help="threads that answer rows (default: the free processors)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, and no last line")


def _level(text: str) -> float:
    try:
        return check_level(float(text))
    except ValueError:  # `ConfigError` is one
        raise argparse.ArgumentTypeError(f"a level between 0 and 1 is expected, got {text!r}") from None


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Pauses Python's garbage collection during imports, and keeps the imported objects out of later collections.

    An import of torch makes a million objects that stay. The collector visits them again and again, a sixth of the CPU
    time of the start.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.freeze()
            gc.enable()


def _run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    # Imported here: torch takes seconds, which the help and a refused option have no need of.
    from scoring.shard import shard_of
    from scoring.writing import form_of

    keep = tuple(name.strip() for name in arguments.keep.split(",") if name.strip())
    shard = shard_of(arguments.shard, environment)
    form = form_of(arguments.out, arguments.format)
    version = trusted(open_store(arguments.store).resolve(arguments.model), environment)

    with _no_garbage_collection():
        import torch

        from scoring.job import score
        from scoring.job_settings import JobSettings
        from scoring.progress import progress
        from training.engines.device import choose_device
        from training.free_cpus import free_cpus
        from training.terminal import plain_console

    torch.set_num_threads(1)  # of one matrix product: batches are answered side by side instead
    threads = arguments.threads
    settings = JobSettings(
        source=arguments.source,
        out=arguments.out,
        form=form,
        keep=keep,
        errors=arguments.errors,
        prefix=arguments.prefix,
        members=arguments.members,
        intervals=arguments.intervals,
        part_rows=arguments.part_rows,
        shard=shard,
        device=choose_device(arguments.device),
        threads=free_cpus() if threads is None else threads,
    )
    begin = time.monotonic()
    with progress(plain_console(stderr=True, quiet=arguments.quiet), str(version)) as moved:
        outcome = score(version, settings, moved=moved)
    for remark in outcome.remarks():
        sys.stderr.write(f"{remark}\n")
    if not arguments.quiet:
        of_shard = f" of shard {shard}" if shard.count > 1 else ""
        before = f", {outcome.finished_before:,} of them before" if outcome.finished_before else ""
        sys.stderr.write(
            f"{outcome.answered:,} rows{of_shard} answered by {version} in {outcome.parts:,} "
            f"part{'' if outcome.parts == 1 else 's'}{before}, {time.monotonic() - begin:.1f} s: {arguments.out}\n"
        )
        if outcome.parts_left:
            are = "part is" if outcome.parts_left == 1 else "parts are"
            sys.stderr.write(f"{outcome.parts_left:,} {are} of other shards and not finished yet\n")
    return 0
