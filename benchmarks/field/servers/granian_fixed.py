"""granian over RSGI, which reads the body and sends fixed bytes: the ceiling for a server in Python behind Rust."""

HEADERS = [("content-type", "application/json")]
ANSWER = b'{"predictions":[0],"probabilities":[[0.5,0.5]]}'


async def app(scope: object, protocol: object) -> None:
    """Answers one request."""
    await protocol()
    protocol.response_bytes(200, HEADERS, ANSWER)
