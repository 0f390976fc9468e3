"""A process's own port, bound before anything else is started."""

import errno
import ipaddress
import socket

from planner.errors import SpecError


def parse_listen(listen: str) -> tuple[str, int]:
    """`HOST:PORT` (an IPv6 host in brackets) → both. Raises SpecError."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise SpecError(f"The listening address is {listen!r}; expected HOST:PORT, such as 127.0.0.1:8000.")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket bound to the address, port 0 for any; it listens once a server takes it. Raises SpecError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise SpecError(f"The host {host!r} can't be listened on: {error.strerror}.") from error
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        # SO_REUSEADDR lets two sockets bind until one listens; listening here says "in use" at once.
        bound.listen(128)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise SpecError(
                f"Port {port} of {host} is in use.", hint="Stop what listens there, or choose another port."
            ) from error
        raise SpecError(f"{host}:{port} can't be listened on: {error.strerror}.") from error
    return bound
