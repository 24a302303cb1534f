"""TCP ports for servers that tests start."""

import socket

_held: list[socket.socket] = []


def free_port() -> int:
    """A port that nobody listens on, of loopback or any other address, and that stays this process's own until it ends.

    A socket that is bound but does not listen keeps the kernel from giving the port to anybody else who asks for a free one, or
    connects from one; else a server that starts late, or anew, finds a stranger in its place, and its test asks the stranger.
    Servers that set SO_REUSEADDR may listen all the same (https://man7.org/linux/man-pages/man7/socket.7.html); all of ours do.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    _held.append(held)
    return int(held.getsockname()[1])
