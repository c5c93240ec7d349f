"""Running the app: on the loopback unless told otherwise, until a signal; what was accepted is finished first."""

from __future__ import annotations

import ipaddress
import math
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from lineshaft.errors import UsageError
from lineshaft.serve.app import App
from lineshaft.serve.guard import LOOPBACK
from lineshaft.serve.protocol import BoundedProtocol

if TYPE_CHECKING:
    from lineshaft.core.admit import Limits
    from lineshaft.serve.model import Served

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def announce(names: list[str], url: str) -> None:
    """Print the one line that says where the server is."""
    print(f"serving {', '.join(names)} on {url}", flush=True)  # noqa: T201 - people and scripts wait for this line


def serve(
    models: Mapping[str, Served],
    *,
    token: str,
    host: str = "127.0.0.1",
    port: int = 0,
    limits: Limits | None = None,
    remote_hosts: tuple[str, ...] = (),
    announce: Callable[[list[str], str], None] = announce,
) -> None:
    """Serve until SIGTERM or SIGINT; then finish what was accepted, and return.

    Parameters
    ----------
    models
        ``name`` or ``name@version`` to what is served there.
    token
        What requests must carry; `lineshaft.serve.guard.token_file` makes one.
    host, port
        Where to listen; port 0 takes a free one.
    limits
        Bounds on what comes in.
    remote_hosts
        Names under which other machines reach this server, each with its port where that is not the one listened on
        or, behind TLS, the usual one. Listening anywhere but on the loopback needs them: a request whose Host is not
        among them is refused.
    announce
        Called once with the names and the URL when requests are answered.

    Raises
    ------
    UsageError
        The host is not the loopback and no ``remote_hosts`` are given, or the address cannot be used.

    """
    if not _is_loopback(host) and not remote_hosts:
        raise UsageError(
            f"{host} can be reached from other machines, and only the loopback is served unless remote_hosts names "
            "the hosts under which clients reach this one; put TLS in front of it"
        )
    app = App(models, token, limits, (*LOOPBACK, *_announced(host), *remote_hosts))
    listener = _listen(host, port)
    try:
        _Server(app, lambda: announce(app.names, _url(listener))).run(sockets=[listener])
    finally:
        listener.close()
        app.close()


@contextmanager
def run_in_background(app: App, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Run an app in a thread of this process, over real HTTP; yields its URL, and drains on the way out."""
    listener = _listen(host, port)
    url, started = _url(listener), threading.Event()
    server = _Server(app, started.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="lineshaft-server")
    thread.start()
    try:
        while not started.wait(0.05):
            if not thread.is_alive():
                raise UsageError(f"the server on {url} did not start; its log has the cause")
        yield url
    finally:
        app.drain()
        server.should_exit = True
        thread.join()
        listener.close()
        app.close()


class _Server(uvicorn.Server):
    """Uvicorn with our protocol, our way to stop, and a word when it has started."""

    def __init__(self, app: App, started: Callable[[], None]) -> None:
        limits = app.limits
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=partial(BoundedProtocol, limits=limits, refused=app.metrics.refused),  # type: ignore[arg-type]
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                headers=[("cache-control", "no-store"), ("x-content-type-options", "nosniff")],
                timeout_graceful_shutdown=math.ceil(limits.drain_seconds),
            )
        )
        self._app = app
        self._tell_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell_started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal and stay stopped: Uvicorn raises the signal again, and a drained server ends well."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the drain; a second SIGINT ends it."""
        self._app.drain()
        super().handle_exit(sig, frame)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another, or 0 for any"
        ) from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _announced(host: str) -> tuple[str, ...]:
    """Return the host of the URL that is announced, where it is one that clients can ask for."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ()
    return () if address.is_unspecified else (f"[{address}]" if address.version == 6 else str(address),)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
