"""The table of training's commands. A list of commands needs no import of their modules, which takes a second."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: By module: its commands, and the line of each in the list of commands.
COMMANDS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "training.commands.fit": {"fit": "train a model and publish it"},
        "training.commands.predict": {"predict": "answer the rows of a table in a file"},
        "training.commands.inspect": {"inspect": "show what a table is understood as"},
        "training.commands.search": {"search": "try many settings and publish the best"},
        "training.commands.lr_find": {"lr-find": "find a learning rate"},
        "training.commands.data": {"data": "write a built-in dataset as CSV"},
        "training.commands.demo": {"demo": "train the demo models"},
        "training.commands.store": {
            "list": "list the models in the store",
            "summary": "show a model's layers, or those of a network that is not trained",
            "alias": "point an alias at a version",
            "delete": "delete a version",
        },
        "training.commands.promote": {
            "publish": "publish a model that was kept on the disk",
            "promote": "make a name mean a version",
            "rollback": "make a name mean its version before",
        },
        "training.commands.traffic": {
            "split": "divide a name's requests among versions",
            "shadow": "copy a name's requests to a version, and compare",
        },
        "training.commands.versions": {"versions": "set which versions of a model are served"},
        "training.commands.study": {"study": "see the ideas behind an MLP run"},
    }
)

EXIT_CODES = """\
exit codes:
  0    done
  1    study: a claim did not hold in this run
  2    refused: one sentence says why
  3    fit, search: trained and kept, but not published
  129  the terminal was closed
  130  interrupted by Ctrl-C
  141  nobody reads the output any more
  143  interrupted by SIGTERM
"""
