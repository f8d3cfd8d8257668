"""The TLS certificate of the server, which is read again after a renewal."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

from service.logs import get_logger
from service.settings import Settings

log = get_logger(__name__)

Identity = tuple[int, int, int, int]


class CertificateError(Exception):
    """An unusable certificate or key; the message is one sentence for the person who starts the server."""


class Certificate:
    """A TLS certificate and the private key, read from two files.

    Args:
        certificate: PEM file of the certificate, followed by the intermediate certificates.
        key: PEM file of the private key, without a passphrase; it may be the same file.
        protocols: protocols that the server speaks, for the negotiation with the client (ALPN).

    Attributes:
        context: TLS context of new connections.
    """

    def __init__(self, certificate: Path, key: Path, protocols: Sequence[str] = ("http/1.1",)) -> None:
        self._certificate = certificate
        self._key = key
        self._protocols = list(protocols)
        self._seen = self._identities()
        self.context = self._load()

    @classmethod
    def from_settings(cls, settings: Settings) -> Certificate | None:
        """Returns the certificate that the settings name, or None; raises CertificateError."""
        if settings.tls_certificate is None or settings.tls_key is None:
            return None
        return cls(settings.tls_certificate, settings.tls_key)

    def with_protocols(self, *protocols: str) -> Certificate:
        """Returns the same certificate for other protocols; raises CertificateError."""
        return Certificate(self._certificate, self._key, protocols)

    def refresh(self) -> None:
        """Reads files that have changed. If they are not valid, the server keeps the previous certificate."""
        try:
            found = self._identities()
            if found == self._seen:
                return
            self._seen = found
            self.context = self._load()
        except CertificateError as error:
            log.error("the TLS certificate was not taken in; the one of before stays", reason=str(error))
        else:
            log.info("the TLS certificate was renewed", certificate=str(self._certificate))

    def _identities(self) -> tuple[Identity | None, Identity | None]:
        return _identity(self._certificate), _identity(self._key)

    def _load(self) -> ssl.SSLContext:
        _check_readable("AXON_TLS_CERTIFICATE", self._certificate)
        _check_readable("AXON_TLS_KEY", self._key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(self._protocols)
        passphrase_asked = False

        def no_passphrase() -> str:
            nonlocal passphrase_asked
            passphrase_asked = True
            return ""

        try:
            context.load_cert_chain(self._certificate, self._key, password=no_passphrase)
        except ssl.SSLError as error:
            raise CertificateError(self._fault(error, passphrase_asked)) from None
        except OSError as error:
            raise CertificateError(f"AXON_TLS_CERTIFICATE: {self._certificate}: {error.strerror}.") from None
        return context

    def _fault(self, error: ssl.SSLError, passphrase_asked: bool) -> str:
        if passphrase_asked:
            return f"AXON_TLS_KEY: {self._key} is encrypted with a passphrase; decrypt it."
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"AXON_TLS_KEY: {self._key} is not the key of the certificate in {self._certificate}."
        if not _has_certificate(self._certificate):
            return f"AXON_TLS_CERTIFICATE: {self._certificate} holds no certificate in PEM form."
        if error.reason in ("EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "CA_KEY_TOO_SMALL"):
            return f"AXON_TLS_CERTIFICATE: {self._certificate} is too weak: {error.reason}."
        return f"AXON_TLS_KEY: {self._key} holds no private key in PEM form."


def _identity(path: Path) -> Identity | None:
    """Returns inode, size and times of a file, which change with the file, or None if there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _check_readable(setting: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise CertificateError(f"{setting}: {path}: {error.strerror}.") from None


def _has_certificate(path: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (ssl.SSLError, OSError):
        return False
    return True
