"""Reads the settings from the environment: refuses unknown names, and ignores variables of an orchestrator."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from pydantic import ValidationError

from service.settings import Settings

_PREFIX = "AXON_"

# Kubernetes sets these in every container for each Service of the namespace, and Docker for each legacy link. The
# variables of a Service called `axon` or `axon-api` begin like our settings.
_SERVICE_LINK = re.compile(
    r"AXON(_[A-Z0-9_]+)?_"
    r"(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?|ENV_[A-Za-z0-9_]+)"
)
_ADDRESS = re.compile(r"[a-z]+://.+")  # the value of AXON_PORT, AXON_API_PORT and the like, if they are links
_LINK_NAME = re.compile(r"AXON(_[A-Z0-9_]+)?_NAME")  # a link if the value is a path, such as /web/axon

# Variables of `axon predict --url`, docker-compose.yml, the tests and the benchmarks, not settings of the server.
_NO_SETTINGS = re.compile(
    r"AXON_(CLIENT_KEY|PUBLISHED_PORT|(SOAK|OVERLOAD|FUZZ)_SECONDS|FUZZ_KEY|REPLICA_REQUESTS|BENCH(_[A-Z_]+)?)"
)


class SettingsError(Exception):
    """An error for unusable settings, with one sentence for each fault. No sentence has a value that may be secret."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = sentences


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Reads the settings.

    Args:
        environment: variables of the process, which are searched for unknown names.

    Raises:
        SettingsError: a setting is wrong, or the name of a variable begins with `AXON_` and is not a setting.
    """
    sentences = _unknown(environment)
    settings = None
    try:
        settings = Settings()
    except ValidationError as error:
        sentences += _faults(error)
    if settings is None or sentences:
        raise SettingsError(sentences)
    return settings


def service_links(environment: Mapping[str, str]) -> list[str]:
    """Returns the names of the variables that an orchestrator set, and that the server ignores."""
    return sorted(name for name, value in environment.items() if _is_service_link(name, value))


def _is_service_link(name: str, value: str) -> bool:
    if _SERVICE_LINK.fullmatch(name):
        return True
    if _LINK_NAME.fullmatch(name):
        return value.startswith("/")
    return name.startswith(_PREFIX) and name.endswith("_PORT") and bool(_ADDRESS.match(value))


def _unknown(environment: Mapping[str, str]) -> list[str]:
    known = {f"{_PREFIX}{name.upper()}" for name in Settings.model_fields}
    sentences = []
    for name, value in sorted(environment.items()):
        wanted = name.upper()  # Settings ignores the case of names
        if not wanted.startswith(_PREFIX) or wanted in known or _NO_SETTINGS.fullmatch(wanted):
            continue
        if _is_service_link(name, value):
            continue
        near = _nearest(wanted, known)
        hint = "axon serve --help lists the settings." if near is None else f"did you mean {near}?"
        sentences.append(f"{name}: there is no such setting; {hint}")
    return sentences


def _nearest(wanted: str, known: set[str]) -> str | None:
    """Returns the setting that a name probably means: one with words too many, or one with similar letters."""
    words = set(wanted.split("_"))
    parts = [name for name in known if words.issuperset(name.split("_"))]  # AXON_HTTP_PORT has AXON_PORT in it
    near = difflib.get_close_matches(wanted, parts or known, n=1, cutoff=0.6)
    return near[0] if near else None


def _faults(error: ValidationError) -> list[str]:
    sentences = []
    for fault in error.errors():
        message = fault["msg"].removeprefix("Value error, ").rstrip(".")
        if fault["loc"]:
            name = "_".join([_PREFIX[:-1], *(str(part).upper() for part in fault["loc"])])
            sentences.append(f"{name}: {message} (got {_shown(fault['input'])}).")
        else:  # a fault of several settings together: the input would be all settings, the API keys included
            sentences.append(f"settings: {message}.")
    return sentences


def _shown(given: object) -> str:
    """Returns a value for a message, without the credentials of a URL."""
    return re.sub(r"//[^/@\s]*@|\?[^\s']*", lambda found: "//…@" if found[0].startswith("//") else "?…", repr(given))
