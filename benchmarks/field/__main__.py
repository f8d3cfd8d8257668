"""`make bench-field`: Axon beside mosec, granian and seven other model servers, and beside FastAPI and two ceilings.

`setup` makes the virtual environments, several GB, in `$AXON_BENCH_ENVIRONMENTS` (by default
`$XDG_CACHE_HOME/axon-bench/environments`). `run` measures those that exist: same model, same payload, checked answers,
as in `make bench`. `run --driver perf_analyzer` loads those of the Open Inference Protocol with Triton's own load
generator. `traits` shows the behaviour of Axon, mosec and granian with a bad row, a killed worker and SIGTERM
under load. TorchServe needs Java 17. If run as root, the servers get a network namespace with only a loopback
interface.
"""

from __future__ import annotations

import argparse
import signal
import sys

from benchmarks.core import AXON, AXON_GRPC, AXON_OIP_BINARY, FASTAPI, FIXED_BYTES, GRPC_ECHO
from benchmarks.field.environments import NAMES, environments_folder, is_set_up, set_up
from benchmarks.field.loopback import isolate
from benchmarks.field.peers import FIELD
from benchmarks.field.traits import CANDIDATES, CLIENTS, try_traits
from benchmarks.field.traits_table import traits_table
from benchmarks.goals import FIELD_GOALS
from benchmarks.rounds import add_options, run

WORKLOADS = ["tab-64", "tab-1", "mnist-64", "bulk-8"]  # those that the goals name
_WITHOUT_ENVIRONMENT = {peer.name: peer for peer in (AXON, AXON_OIP_BINARY, AXON_GRPC, GRPC_ECHO, FASTAPI, FIXED_BYTES)}


def main(argv: list[str] | None = None) -> int:
    """Makes the environments or measures; returns 1 if a server failed or answered wrongly, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.field", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    setup = commands.add_parser("setup", help="makes the environments")
    setup.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} [all]")
    measuring = commands.add_parser("run", help="measures")
    names = [*_WITHOUT_ENVIRONMENT, *FIELD]
    add_options(measuring, names, WORKLOADS, warm_up=3.0)  # Java compiles while it runs
    comparing = commands.add_parser("traits", help="shows what the speed includes")
    comparing.add_argument("--only", nargs="+", choices=CANDIDATES, help="servers [all]")
    comparing.add_argument("--times", type=int, default=5, help="kills and SIGTERMs for each server [%(default)s]")
    arguments = parser.parse_args(argv)
    if arguments.command == "setup":
        return _set_up(parser, arguments.names)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # no server outlives the benchmark
    if arguments.command == "traits":
        environments = {name: candidate.environment for name, candidate in CANDIDATES.items()}
        return _traits(_chosen(parser, environments, arguments.only), arguments.times)
    peers = _WITHOUT_ENVIRONMENT | {name: peer for name, (peer, _) in FIELD.items()}
    environments = dict.fromkeys(_WITHOUT_ENVIRONMENT) | {name: environment for name, (_, environment) in FIELD.items()}
    arguments.only = _chosen(parser, environments, arguments.only)
    return run(arguments, peers, FIELD_GOALS, FASTAPI.name, strict=False)


def _chosen(parser: argparse.ArgumentParser, environments: dict[str, str | None], only: list[str] | None) -> list[str]:
    """Isolates this process and returns the names of the servers to start, without those that are not set up.

    Args:
        parser: parser that reports a server that was asked for and is not set up.
        environments: name of each server's virtual environment, or None if it needs none.
        only: names of the servers that were asked for, or None for all.
    """
    names = only or list(environments)
    missing = [name for name in names if (needed := environments[name]) is not None and not is_set_up(needed)]
    if missing and only:
        parser.error(f"not set up in {environments_folder()}: {', '.join(missing)}")
    if missing:
        print(f"left out, not set up in {environments_folder()}: {', '.join(missing)}", file=sys.stderr)
    if not isolate():
        print("no network of their own without root: Ray listens on every interface", file=sys.stderr)
    return [name for name in names if name not in missing]


def _traits(names: list[str], times: int) -> int:
    found = {}
    for name in names:
        try:
            found[name] = try_traits(CANDIDATES[name], times)
        except (RuntimeError, OSError) as error:
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    print(f"{times} kills and SIGTERMs of each server: median (largest); {CLIENTS} connections.\n")
    print(traits_table(found), "", *(f"- `{name}`: {CANDIDATES[name].peer.settings}" for name in found), sep="\n")
    return 0 if len(found) == len(names) else 1


def _set_up(parser: argparse.ArgumentParser, names: list[str]) -> int:
    if unknown := set(names).difference(NAMES):
        parser.error(f"no such environment: {', '.join(sorted(unknown))}; there are: {', '.join(NAMES)}")
    failed = set_up(names or NAMES)
    if failed:
        print(f"not set up: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
