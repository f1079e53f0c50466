"""Tests reach nothing outside this machine, nor do the commands they start."""

import socket
import subprocess
import sys

import pytest
from sitecustomize import NetworkRefusedError

OUTSIDE = "192.0.2.1"  # an address for documentation, RFC 5737


def test_a_connection_outside_this_machine_is_refused() -> None:
    with pytest.raises(NetworkRefusedError, match=OUTSIDE):
        socket.create_connection((OUTSIDE, 443), timeout=1)
    for connect in (socket.socket.connect, socket.socket.connect_ex):
        with socket.socket() as unconnected, pytest.raises(NetworkRefusedError):
            connect(unconnected, (OUTSIDE, 443))
    with pytest.raises(NetworkRefusedError):
        socket.getaddrinfo("example.org", 443)


def test_a_command_started_by_a_test_is_refused_too() -> None:
    command = f"import socket; socket.create_connection(({OUTSIDE!r}, 443), timeout=1)"
    ended = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
    assert "NetworkRefusedError" in ended.stderr


def test_processes_of_this_machine_may_talk() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
