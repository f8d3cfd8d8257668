"""The server without its lane for plain requests: each request goes through the HTTP parser."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from service.__main__ import main
from service.http.plain_lane import PlainLane
from service.http.plain_request import PlainRequest


def take_none(lane: PlainLane, plain: PlainRequest, data: bytes) -> bool:
    """Takes no request."""
    return False


if __name__ == "__main__":
    PlainLane.take = take_none  # type: ignore[method-assign]
    sys.exit(main())
