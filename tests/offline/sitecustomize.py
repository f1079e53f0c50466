"""Refuses every connection that leaves this machine.

Python imports a module of this name at start-up, so `conftest.py` puts this folder on PYTHONPATH and the commands that tests start are
refused too.
"""

import socket
from typing import Any

LOOPBACK = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "", None}


class NetworkRefusedError(RuntimeError):
    """A test reached for the network. Not an OSError, so that no retry or fallback hides it."""


def refuse(host: object) -> None:
    if isinstance(host, bytes):
        host = host.decode()
    if host not in LOOPBACK:
        raise NetworkRefusedError(f"tests use no network, but this one asked for {host!r}; give it local data or replace the client")


def guarded(method: Any) -> Any:
    def connect(self: socket.socket, address: Any) -> Any:
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            refuse(address[0])
        return method(self, address)

    return connect


def install() -> None:
    look_up = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        refuse(host)
        return look_up(host, *arguments, **options)

    socket.getaddrinfo = getaddrinfo
    socket.socket.connect = guarded(socket.socket.connect)  # type: ignore[method-assign]
    socket.socket.connect_ex = guarded(socket.socket.connect_ex)  # type: ignore[method-assign]


install()
