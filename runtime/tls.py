"""Mutual TLS between a deployment's own processes: TLS 1.3, certificates required both ways, names checked both ways.

A folder of credentials holds `ca.crt`, `tls.crt` and `tls.key`. The authority is the deployment's own, so a certificate
it signed proves membership; what a member may ask is decided by the name in it (`peer_names`). `tls.key` has its own
certificate behind the key, and is replaced first: who reads while another pair is put in place has one or the other.
"""

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING

from planner.errors import SpecError

if TYPE_CHECKING:
    from pathlib import Path

AUTHORITY_CERTIFICATE = "ca.crt"
CERTIFICATE = "tls.crt"
PRIVATE_KEY = "tls.key"
LOOK_EVERY_S = 60.0

log = logging.getLogger(__name__)


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


async def keep_loaded(folder: "Path", *contexts: ssl.SSLContext, every_s: float = LOOK_EVERY_S) -> None:
    """Load `folder`'s credentials again whenever its certificate has changed, until cancelled.

    Whoever dials or is dialled from then on sees the new one; connections that stand go on. Half-written credentials
    change nothing, and are looked at again.
    """
    loaded = _mark(folder)
    while True:
        await asyncio.sleep(every_s)
        if (now := _mark(folder)) == loaded:
            continue
        try:
            client_context(folder)  # tried out first: a context that is in use never gets half of it
            for context in contexts:
                _loaded(context, folder)
        except SpecError as error:
            log.warning("the credentials stay as they were: %s", error.message)
        else:
            loaded = now
            log.info("the credentials in %s were loaded again", folder)


def _mark(folder: "Path") -> tuple[int, int] | None:
    """What tells one certificate's file from the next."""
    try:
        found = (folder / CERTIFICATE).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


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
        _load_pair(context, files[CERTIFICATE], files[PRIVATE_KEY])
    except (ssl.SSLError, OSError) as error:
        raise SpecError(f"The credentials in {folder} can't be loaded: {error}.") from error
    return context


def _load_pair(context: ssl.SSLContext, certificate: "Path", key: "Path") -> None:
    """A key that is another certificate's is newer than this one: then its own is behind it."""
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        if error.reason != "KEY_VALUES_MISMATCH":
            raise
        context.load_cert_chain(key)
