"""Mutual TLS between a deployment's own processes: TLS 1.3, certificates required both ways, names checked both ways.

A folder of credentials holds `ca.crt`, `tls.crt` and `tls.key`. The authority is the deployment's own, so a certificate
it signed proves membership; what a member may ask is decided by the name in it (`peer_names`).
"""

import ssl
from typing import TYPE_CHECKING

from planner.errors import SpecError

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

AUTHORITY_CERTIFICATE = "ca.crt"
CERTIFICATE = "tls.crt"
PRIVATE_KEY = "tls.key"


def server_context(folder: "Path") -> ssl.SSLContext:
    """A context that serves with `folder`'s certificate and turns away a peer without one of the same authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _loaded(context, folder)


def client_context(folder: "Path") -> ssl.SSLContext:
    """A context that dials with `folder`'s certificate; the peer must hold the name given as `server_hostname`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False
    return _loaded(context, folder)


def peer_names(transport: "asyncio.BaseTransport | None") -> frozenset[str]:
    """The DNS names in the certificate of the other end; empty without TLS."""
    certificate = transport.get_extra_info("peercert") if transport is not None else None
    names = certificate.get("subjectAltName", ()) if certificate else ()
    return frozenset(value for kind, value in names if kind == "DNS")


def _loaded(context: ssl.SSLContext, folder: "Path") -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    files = {name: folder / name for name in (AUTHORITY_CERTIFICATE, CERTIFICATE, PRIVATE_KEY)}
    for path in files.values():
        if not path.is_file():
            raise SpecError(f"{path} is missing; expected a folder with {', '.join(files)}.")
    try:
        context.load_verify_locations(cafile=files[AUTHORITY_CERTIFICATE])
        context.load_cert_chain(files[CERTIFICATE], files[PRIVATE_KEY])
    except (ssl.SSLError, OSError) as error:
        raise SpecError(f"The credentials in {folder} can't be loaded: {error}.") from error
    return context
