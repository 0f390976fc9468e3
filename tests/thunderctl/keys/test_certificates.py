"""Certificates that are issued again where they are of no use."""

from datetime import UTC, datetime, timedelta

from cryptography import x509

from runtime.tls import CERTIFICATE
from thunderctl.keys import certificates
from thunderctl.keys.certificates import ensure_authority, is_fresh, issue


def test_one_that_is_not_valid_yet_is_issued_again(tmp_path, monkeypatch):
    """The clock of this host was years ahead when it was made, and has been set since."""
    ensure_authority(tmp_path / "ca")
    with monkeypatch.context() as ahead:
        ahead.setattr(certificates, "CLOCK_SKEW", timedelta(days=-900))
        ahead.setattr(certificates, "VALIDITY", timedelta(days=1300))
        issue(tmp_path / "ca", "router.thunder", tmp_path / "tls")
    assert not is_fresh(tmp_path / "tls")
    issue(tmp_path / "ca", "router.thunder", tmp_path / "tls")
    made = x509.load_pem_x509_certificate((tmp_path / "tls" / CERTIFICATE).read_bytes())
    assert made.not_valid_before_utc < datetime.now(UTC)
    assert is_fresh(tmp_path / "tls")
