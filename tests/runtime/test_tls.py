"""The deployment's certificates and what they let through: right authority, right name, both ways, TLS 1.3."""

import asyncio
import datetime
import ssl
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509

from planner.errors import SpecError
from runtime.files import write_private
from runtime.tls import client_context, keep_loaded, peer_names, server_context
from thunderctl.keys import certificates
from thunderctl.keys.certificates import ensure_authority, issue

AGENT = "lease-1.agent.thunder"
ROUTER = "router.thunder"


@pytest.fixture
def deployment(tmp_path: Path) -> Path:
    """One authority, an agent and a router."""
    ensure_authority(tmp_path / "ca")
    issue(tmp_path / "ca", AGENT, tmp_path / "agent")
    issue(tmp_path / "ca", ROUTER, tmp_path / "router")
    return tmp_path


@asynccontextmanager
async def listening(folder: Path):
    """A server that answers with the names of whoever calls; yields its port."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(",".join(sorted(peer_names(writer.transport))).encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_context(folder))
    async with server:
        yield server.sockets[0].getsockname()[1]


async def call(port: int, context: ssl.SSLContext | None, name: str | None = AGENT) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    try:
        return (await reader.read()).decode()
    finally:
        writer.close()


async def is_turned_away(port: int, context: ssl.SSLContext) -> bool:
    """In TLS 1.3 a client learns that its certificate was refused only after its own handshake."""
    try:
        return await call(port, context) == ""
    except (ssl.SSLError, ConnectionError):
        return True


async def test_each_side_knows_the_other_by_name(deployment: Path):
    async with listening(deployment / "agent") as port:
        assert await call(port, client_context(deployment / "router")) == ROUTER


async def test_a_server_of_another_name_is_refused(deployment: Path):
    async with listening(deployment / "agent") as port:
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await call(port, client_context(deployment / "router"), "lease-2.agent.thunder")


async def test_a_caller_of_another_authority_is_refused(deployment: Path, tmp_path: Path):
    ensure_authority(tmp_path / "other")
    issue(tmp_path / "other", ROUTER, tmp_path / "stranger")
    (tmp_path / "stranger" / "ca.crt").write_bytes((deployment / "ca" / "ca.crt").read_bytes())
    async with listening(deployment / "agent") as port:
        assert await is_turned_away(port, client_context(tmp_path / "stranger"))


async def test_a_server_of_another_authority_is_refused(deployment: Path, tmp_path: Path):
    ensure_authority(tmp_path / "other")
    issue(tmp_path / "other", AGENT, tmp_path / "stranger")
    async with listening(tmp_path / "stranger") as port:
        with pytest.raises(ssl.SSLCertVerificationError):
            await call(port, client_context(deployment / "router"))


async def test_a_caller_without_a_certificate_is_refused(deployment: Path):
    bare = ssl.create_default_context(cafile=deployment / "ca" / "ca.crt")
    async with listening(deployment / "agent") as port:
        assert await is_turned_away(port, bare)


async def test_a_caller_without_tls_gets_nothing(deployment: Path):
    async with listening(deployment / "agent") as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /health HTTP/1.1\r\n\r\n")
        assert b"HTTP" not in await reader.read()
        writer.close()


async def test_older_protocols_are_refused(deployment: Path):
    context = client_context(deployment / "router")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with listening(deployment / "agent") as port:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await call(port, context)


async def test_a_certificate_that_is_renewed_is_shown_to_who_comes_next_and_ends_no_connection(deployment: Path):
    def serial() -> int:
        return x509.load_pem_x509_certificate((deployment / "agent" / "tls.crt").read_bytes()).serial_number

    async def shown(port: int) -> tuple[int, asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=caller, server_hostname=AGENT)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(der).serial_number, reader, writer

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await reader.read(1):
            writer.write(said)
        writer.close()

    context, caller = server_context(deployment / "agent"), client_context(deployment / "router")
    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
    looking = asyncio.create_task(keep_loaded(deployment / "agent", context, every_s=0.001))
    async with server, asyncio.timeout(30):
        port = server.sockets[0].getsockname()[1]
        first, reader, writer = await shown(port)
        (deployment / "agent" / "tls.crt").write_text("half of one")
        await asyncio.sleep(0.02)  # it may be looked at, and changes nothing
        issue(deployment / "ca", AGENT, deployment / "agent")
        renewed = serial()
        while (found := await shown(port))[0] == first:
            found[2].close()
        found[2].close()
        assert found[0] == renewed != first
        writer.write(b"x")
        assert await reader.read(1) == b"x"
        writer.close()
    looking.cancel()


def test_who_reads_while_another_pair_is_put_in_place_has_one_or_the_other(deployment: Path, monkeypatch):
    """Looked at after every file that issuing puts in place; a context that is in use as well."""
    from runtime.tls import _loaded

    used, seen = server_context(deployment / "agent"), []

    def looked_at(path: Path, content: bytes) -> None:
        write_private(path, content)
        client_context(deployment / "agent")
        _loaded(used, deployment / "agent")
        seen.append(path.name)

    monkeypatch.setattr(certificates, "write_private", looked_at)
    monkeypatch.setattr(certificates, "_still_good", lambda *_: False)
    issue(deployment / "ca", AGENT, deployment / "agent")
    assert seen == ["ca.crt", "tls.key", "tls.crt"]


def test_credentials_that_many_issue_at_once_fit_together(deployment: Path, monkeypatch):
    monkeypatch.setattr(certificates, "_still_good", lambda *_: False)
    with ThreadPoolExecutor(8) as threads:
        made = [threads.submit(issue, deployment / "ca", AGENT, deployment / "agent") for _ in range(24)]
    assert [one.exception() for one in made] == [None] * 24
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(deployment / "agent" / "tls.crt", deployment / "agent" / "tls.key")


def test_an_authority_that_many_make_at_once_is_one(tmp_path: Path):
    with ThreadPoolExecutor(8) as threads:
        made = [threads.submit(ensure_authority, tmp_path / "ca") for _ in range(8)]
    assert [one.exception() for one in made] == [None] * 8
    issue(tmp_path / "ca", AGENT, tmp_path / "agent")
    certificate = x509.load_pem_x509_certificate((tmp_path / "agent" / "tls.crt").read_bytes())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate((tmp_path / "ca" / "ca.crt").read_bytes()))


def test_keys_are_their_owners_alone(deployment: Path):
    for key in (deployment / "ca" / "ca.key", deployment / "agent" / "tls.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert not (deployment / "agent" / "ca.key").exists()


def test_issuing_again_changes_nothing(deployment: Path):
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in deployment.rglob("*") if path.is_file()}

    before = files()
    ensure_authority(deployment / "ca")
    issue(deployment / "ca", AGENT, deployment / "agent")
    assert files() == before


@pytest.mark.parametrize("change", ["name", "authority", "key", "certificate"])
def test_a_certificate_that_no_longer_fits_is_issued_afresh(deployment: Path, tmp_path: Path, change: str):
    authority, name = deployment / "ca", AGENT
    if change == "name":
        name = "lease-2.agent.thunder"
    elif change == "authority":
        authority = tmp_path / "other"
        ensure_authority(authority)
    elif change == "key":
        (deployment / "agent" / "tls.key").write_bytes((deployment / "router" / "tls.key").read_bytes())
    else:
        (deployment / "agent" / "tls.crt").write_text("nonsense")
    issue(authority, name, deployment / "agent")
    certificate = x509.load_pem_x509_certificate((deployment / "agent" / "tls.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [name]
    server_context(deployment / "agent")


def test_certificates_hold_for_a_year_and_on_hosts_whose_clock_is_behind(deployment: Path):
    certificate = x509.load_pem_x509_certificate((deployment / "agent" / "tls.crt").read_bytes())
    now = datetime.datetime.now(datetime.UTC)
    assert certificate.not_valid_before_utc < now - datetime.timedelta(minutes=50)
    assert certificate.not_valid_after_utc > now + datetime.timedelta(days=364)


def test_a_lease_id_longer_than_a_common_name_will_do(deployment: Path):
    name = f"{'x' * 60}.agent.thunder"
    issue(deployment / "ca", name, deployment / "long")
    server_context(deployment / "long")


def test_missing_credentials_are_named(deployment: Path):
    (deployment / "agent" / "tls.key").unlink()
    with pytest.raises(SpecError, match=r"tls\.key is missing"):
        client_context(deployment / "agent")


def test_broken_credentials_are_named(deployment: Path):
    (deployment / "agent" / "tls.crt").write_text("nonsense")
    with pytest.raises(SpecError, match="can't be loaded"):
        client_context(deployment / "agent")
