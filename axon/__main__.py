"""The command `python -m axon`."""

import sys

from axon.own_packages import drop_working_folder

if __name__ == "__main__":
    drop_working_folder()
    from axon.cli import run

    sys.exit(run())
