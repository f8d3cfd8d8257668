"""`make bench-field`: Axon beside TorchServe, Ray Serve, KServe, Triton, MLServer, BentoML and MLflow.

`setup` makes their virtual environments, several GB, in `$AXON_BENCH_ENVIRONMENTS` (by default
`$XDG_CACHE_HOME/axon-bench/environments`). `run` measures those that exist: same model, same payload, checked answers,
as in `make bench`. TorchServe needs Java 17. If run as root, the servers get a network namespace with only a loopback
interface.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.core import AXON, FASTAPI
from benchmarks.field.environments import PACKAGES, environments_folder, is_set_up, set_up
from benchmarks.field.loopback import isolate
from benchmarks.field.peers import FIELD
from benchmarks.goals import FIELD_GOALS
from benchmarks.rounds import add_options, run


def main(argv: list[str] | None = None) -> int:
    """Makes the environments or measures; returns 1 if a server failed or answered wrongly, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.field", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    setup = commands.add_parser("setup", help="makes the environments")
    setup.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PACKAGES)} [all]")
    measuring = commands.add_parser("run", help="measures")
    add_options(measuring, [AXON.name, FASTAPI.name, *FIELD], ["tab-64"], warm_up=3.0)  # Java compiles while it runs
    arguments = parser.parse_args(argv)
    if arguments.command == "setup":
        return _set_up(parser, arguments.names)
    missing = sorted(name for name, (_, environment) in FIELD.items() if not is_set_up(environment))
    peers = {AXON.name: AXON, FASTAPI.name: FASTAPI}
    peers |= {name: peer for name, (peer, _) in FIELD.items() if name not in missing}
    if unavailable := set(arguments.only or ()) - peers.keys():
        parser.error(f"not set up in {environments_folder()}: {', '.join(sorted(unavailable))}")
    if missing:
        print(f"left out, not set up in {environments_folder()}: {', '.join(missing)}", file=sys.stderr)
    if not isolate():
        print("no network of their own without root: Ray listens on every interface", file=sys.stderr)
    return run(arguments, peers, FIELD_GOALS, FASTAPI.name, strict=False)


def _set_up(parser: argparse.ArgumentParser, names: list[str]) -> int:
    if unknown := set(names) - PACKAGES.keys():
        parser.error(f"no such environment: {', '.join(sorted(unknown))}; there are: {', '.join(PACKAGES)}")
    failed = set_up(names or PACKAGES)
    if failed:
        print(f"not set up: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
