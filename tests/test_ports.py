"""Ports of the servers that tests start."""

import socket

import pytest

from tests.support.ports import free_port


def test_a_port_that_was_given_out_is_taken_by_nobody_else_and_can_be_listened_on_again_and_again():
    port = free_port()
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind(("127.0.0.1", port))
    for _ in "server", "the same, started anew":
        with socket.create_server(("127.0.0.1", port)) as server, socket.create_connection(("127.0.0.1", port)) as client:
            server.accept()[0].close()
            assert client.recv(1) == b""
