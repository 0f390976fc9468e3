"""Where the router may listen: on loopback, or anywhere once clients have keys and the line is encrypted."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from planner.errors import SpecError
from runtime.listening import is_loopback


@dataclass(frozen=True, slots=True)
class ClientTls:
    """The certificate, with its chain, that clients are shown. Its authority is the operator's affair, not ours."""

    certificate: Path
    private_key: Path

    def context(self) -> ssl.SSLContext:
        """A context to serve with. Raises SpecError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.load_into(context)
        return context

    def load_into(self, context: ssl.SSLContext) -> None:
        """Show new connections the files' certificate as it is now. Raises SpecError."""
        try:
            context.load_cert_chain(self.certificate, self.private_key)
        except (OSError, ssl.SSLError) as error:
            raise SpecError(
                f"The certificate {self.certificate} with the key {self.private_key} can't be loaded: {error}.",
                hint="They are PEM files that belong together, the chain with the certificate.",
            ) from error


def check_exposure(host: str, *, has_keys: bool, client_tls: ClientTls | None) -> None:
    """Raise SpecError unless the router may listen on `host`."""
    if is_loopback(host):
        return
    hint = "Or listen on 127.0.0.1, behind a proxy that authenticates, or an SSH tunnel."
    if not has_keys:
        raise SpecError(
            f"The router was to listen on {host}, open to anyone; expected a loopback address, or client keys.",
            hint=f"Make a key first: thunderctl keys create NAME. {hint}",
        )
    if client_tls is None:
        raise SpecError(
            f"The router was to listen on {host}, where keys and prompts would cross in the clear; "
            "expected a loopback address, or TLS.",
            hint=f"Name a certificate: [serve] tls_cert and tls_key. {hint}",
        )
