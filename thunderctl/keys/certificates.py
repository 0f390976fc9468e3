"""A deployment's certificate authority: makes it once, and issues the certificates of its agents, router and operator.

Keys are EC P-256 in files of mode 0600. Certificates are valid from an hour ago, because clocks of rented hosts differ.
Both calls may be made again, and by several processes at once: what is there and still good stays as it is.
"""

import datetime
import fcntl
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from planner.errors import SpecError
from runtime.files import write_private
from runtime.tls import AUTHORITY_CERTIFICATE, CERTIFICATE, PRIVATE_KEY

if TYPE_CHECKING:
    from pathlib import Path

AUTHORITY_KEY = "ca.key"
CLOCK_SKEW = datetime.timedelta(hours=1)
AUTHORITY_VALIDITY = datetime.timedelta(days=3650)
VALIDITY = datetime.timedelta(days=365)
RENEW_BEFORE = datetime.timedelta(days=30)


def ensure_authority(folder: "Path") -> None:
    """Make the authority (`ca.crt`, `ca.key`) in `folder` unless it is there."""
    if has_authority(folder):
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(folder):
        if not has_authority(folder):
            _make_authority(folder)


def _make_authority(folder: "Path") -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _common_name("thunder authority")
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    certificate = (
        _builder(name, name, key.public_key(), AUTHORITY_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(folder / AUTHORITY_KEY, _key_pem(key))
    write_private(folder / AUTHORITY_CERTIFICATE, _pem(certificate))


def has_authority(folder: "Path") -> bool:
    return (folder / AUTHORITY_CERTIFICATE).exists() and (folder / AUTHORITY_KEY).exists()


def issue(ca_folder: "Path", name: str, target_folder: "Path") -> None:
    """Put `ca.crt`, `tls.crt` and `tls.key` for DNS name `name` into `target_folder`, for serving and for dialling.

    A certificate of this authority and name that lasts for another month stays. Who reads meanwhile gets one that fits
    its key (`runtime/tls.py`).
    """
    authority, authority_key = _authority(ca_folder)
    if _still_good(target_folder, name, authority):
        return
    with _alone(ca_folder):
        if not _still_good(target_folder, name, authority):
            _issue(authority, authority_key, name, target_folder)


def _issue(
    authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey, name: str, target_folder: "Path"
) -> None:
    target_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    certificate = (
        # The subject stays general: a common name holds 64 characters, a DNS name more.
        _builder(_common_name("thunder"), authority.subject, key.public_key(), VALIDITY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usages, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    write_private(target_folder / AUTHORITY_CERTIFICATE, _pem(authority))
    write_private(target_folder / PRIVATE_KEY, _key_pem(key) + _pem(certificate))
    write_private(target_folder / CERTIFICATE, _pem(certificate))


@contextmanager
def _alone(ca_folder: "Path") -> Iterator[None]:
    """One process makes credentials of an authority at a time."""
    with (ca_folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_fresh(folder: "Path") -> bool:
    """Whether the certificate in a folder lasts for another month; one that can't be read does not."""
    try:
        return _lasts(x509.load_pem_x509_certificate((folder / CERTIFICATE).read_bytes()))
    except (OSError, ValueError):
        return False


def _lasts(certificate: x509.Certificate) -> bool:
    """For another month. One that is not valid yet does not: this host's clock was ahead when it was made."""
    now = datetime.datetime.now(datetime.UTC)
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - RENEW_BEFORE


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, validity: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + validity)
    )


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _authority(folder: "Path") -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate((folder / AUTHORITY_CERTIFICATE).read_bytes())
        key = serialization.load_pem_private_key((folder / AUTHORITY_KEY).read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise SpecError(f"The certificate authority in {folder} can't be read: {error}.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SpecError(f"{folder / AUTHORITY_KEY} is not an elliptic-curve key.")
    return certificate, key


def _still_good(folder: "Path", name: str, authority: x509.Certificate) -> bool:
    files = [folder / file for file in (AUTHORITY_CERTIFICATE, CERTIFICATE, PRIVATE_KEY)]
    if not all(file.exists() for file in files):
        return False
    try:
        known = x509.load_pem_x509_certificate(files[0].read_bytes())
        certificate = x509.load_pem_x509_certificate(files[1].read_bytes())
        certificate.verify_directly_issued_by(authority)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_cert_chain(files[1], files[2])  # refuses a key that is not the certificate's
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound, ssl.SSLError):
        return False
    return _lasts(certificate) and known == authority and names.get_values_for_type(x509.DNSName) == [name]


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
