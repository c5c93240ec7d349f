"""Who may ask: Host and Origin checks against web pages that reach for the loopback, and a bearer token."""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from lineshaft.core.admit import Refusal
from lineshaft.errors import Refused, StorageError, UsageError

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

_HOST = re.compile(r"(?:[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?\.?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?\Z")
_TOKEN = re.compile(r"[!-~]{16,512}\Z")


class Guard:
    """Checks the head of a request before anything else is done with it.

    Parameters
    ----------
    token
        What ``Authorization: Bearer`` must carry.
    hosts
        Names that the server answers to, in any case; IPv6 addresses in brackets. ``NAME`` is answered at the port
        that the server listens on; where it is not of the loopback, also without a port, as a proxy with TLS passes
        it on. ``NAME:PORT`` is answered at that port alone. Pages of these hosts may ask, over http, or (the loopback
        aside) https.

    Raises
    ------
    UsageError
        The token is too short, or a host is no host.

    """

    def __init__(self, token: str, hosts: Iterable[str] = LOOPBACK) -> None:
        if not _TOKEN.match(token):
            raise UsageError("a token has 16 to 512 printable characters without spaces; let token_file() make one")
        self._token = token.encode()
        self._hosts = tuple(host.lower() for host in hosts)
        if wrong := [host for host in self._hosts if not _HOST.match(host)]:
            raise UsageError(f"{wrong[0]!r} is not a host: use NAME or NAME:PORT, IPv6 addresses in [brackets]")

    def __repr__(self) -> str:
        return f"Guard(token=[secure], hosts={self._hosts})"

    def place(self, headers: Iterable[tuple[bytes, bytes]], port: int) -> Refusal | None:
        """Refuse a foreign Host (a rebound DNS name) or Origin (another site's page); None where all is well."""
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._is_own(hosts[0], port):
            return Refusal("host", "the Host header does not name this server", f"use {self._hosts[0]}:{port}")
        origins = [value for name, value in headers if name == b"origin"]
        if not all(self._is_own_page(origin.lower(), port) for origin in origins):
            return Refusal("origin", "requests from pages of another origin are refused", "call it from a program")
        return None

    def token(self, headers: Iterable[tuple[bytes, bytes]]) -> Refusal | None:
        """Refuse a missing or wrong token; the comparison takes the same time however much of it is right."""
        given = [value for name, value in headers if name == b"authorization"]
        if len(given) == 1 and given[0][:7].lower() == b"bearer " and hmac.compare_digest(given[0][7:], self._token):
            return None
        fault = "a wrong token" if given else "no token"
        return Refusal(
            "token", f"the request carries {fault}", "send Authorization: Bearer with the token file's content"
        )

    def _is_own_page(self, origin: bytes, port: int) -> bool:
        scheme, _, authority = origin.partition(b"://")
        local = _name_of(authority.decode("latin-1")) in LOOPBACK
        return scheme in ({b"http"} if local else {b"http", b"https"}) and self._is_own(authority, port)

    def _is_own(self, authority: bytes, port: int) -> bool:
        asked = authority.lower().decode("latin-1")
        name = _name_of(asked)
        if asked == name:  # at the scheme's own port
            return name in self._hosts and (port == 80 or name not in LOOPBACK)
        return asked in self._hosts or (name in self._hosts and asked == f"{name}:{port}")


def _name_of(authority: str) -> str:
    """Return a host without its port."""
    return re.sub(r":[0-9]*\Z", "", authority) if authority.count(":") == 1 or "]:" in authority else authority


def token_file(path: str | Path) -> str:
    """Return the token kept in a file; make the file, readable by its owner alone, where there is none.

    Raises
    ------
    Refused
        Others may read the file, or it belongs to somebody else.
    UsageError
        It holds no token.

    """
    place = Path(path)
    try:
        return _read_token(place)
    except FileNotFoundError:
        _make_token(place)
        return _read_token(place)


def _read_token(path: Path) -> str:
    with path.open("rb") as stream:
        facts = os.fstat(stream.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise UsageError(f"{path.name} is not a file; name a file for the token")
        if facts.st_mode & 0o077 or facts.st_uid != os.geteuid():
            raise Refused(
                f"{path.name} has mode {stat.S_IMODE(facts.st_mode):04o} and owner {facts.st_uid}; a token needs 0600 "
                f"and owner {os.geteuid()}: chmod 600 it, or name a new file"
            )
        content = stream.read(1024).decode("latin-1").strip()
    if not _TOKEN.match(content):
        raise UsageError(f"{path.name} holds no token (16 to 512 printable characters); delete it to get a new one")
    return content


def _make_token(path: Path) -> None:
    """Write a token under another name first, so that nobody ever reads a file without one; the first of two wins."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise StorageError(
            f"cannot make the token file {path.name}: {error.strerror}; name a folder you can write to"
        ) from error
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(secrets.token_urlsafe(32) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()
