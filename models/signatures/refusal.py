"""The signal inside this package that a signature is refused."""


class Refused(Exception):
    """A reason why a signature is refused; the message completes "has a signature that …"."""
