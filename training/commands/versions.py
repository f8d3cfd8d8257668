"""`versions`: shows and sets which versions of a model a server serves."""

from __future__ import annotations

import argparse

from models.errors import InvalidName, StoreError
from models.open_store import open_store
from models.version_policy import parse_policy
from training.commands.options import CommandLine

_VERSIONS = """\
Sets which versions of a model a server serves; without a POLICY, shows it. A running server follows within
AXON_RELOAD_SECONDS. Versions with an alias are always served.

  on-demand   all versions; those that no name means are loaded by their first request
  newest:2    the newest two
  all         all versions, loaded before any request
  listed      none but those with an alias
  1,3         these versions

Without a policy of its own, a model has the server's: AXON_VERSIONS, which is on-demand unless it is set.
"""


def add(line: CommandLine) -> None:
    """Adds the command."""
    versions = line.add("versions", "set which versions of a model are served", _versions, description=_VERSIONS)
    line.add_store(versions)
    versions.add_argument("name", metavar="NAME", help="the model")
    versions.add_argument("policy", metavar="POLICY", nargs="?", help="such as newest:2; see above")
    versions.add_argument("--remove", action="store_true", help="let the server's setting decide")


def _versions(arguments: argparse.Namespace) -> None:
    store, name = open_store(arguments.store), arguments.name
    if arguments.remove and arguments.policy is not None:
        raise InvalidName("give the policy, or --remove, and not both.")
    if arguments.remove:
        store.set_policy(name, None)
    elif arguments.policy is not None:
        store.set_policy(name, parse_policy(arguments.policy))
    store.entry(name)
    policy, problem = store.read_policy(name)
    if problem is not None:
        raise StoreError(problem)
    print(f"{name} is served by {'the setting of the server' if policy is None else policy.text}")
