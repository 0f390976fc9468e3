"""Where the API listens: where the spec says, or it is said why not; and nothing else depends on it."""

import asyncio
import datetime
import socket
import ssl

import aiohttp
import pytest
from aiohttp import web

from planner.errors import ThunderError
from thunderctl.api.bounds import BOUNDS, Bounds
from thunderctl.api.door import Door, Place


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
async def door():
    made = []

    def application(is_open):
        async def hello(_):
            return web.json_response({"open": is_open})

        app = web.Application()
        app[BOUNDS] = Bounds()
        app.router.add_get("/", hello)
        return app

    def build(place):
        one = Door(lambda: place, application)
        made.append(one)
        return one

    yield build
    for one in made:
        await one.shut()


async def said_at(url, **more):
    async with aiohttp.ClientSession() as http, http.get(f"{url}/", **more) as response:
        return await response.json()


async def test_it_listens_where_the_spec_says(door):
    port = free_port()
    one = door(Place(f"127.0.0.1:{port}", stated=True))
    await one.look()
    assert (one.url, one.alerts) == (f"http://127.0.0.1:{port}", ())
    assert await said_at(one.url) == {"open": True}


async def test_nowhere_is_nowhere(door):
    one = door(Place(""))
    await one.look()
    assert (one.url, one.alerts) == ("", ())


async def test_a_port_that_is_taken_is_an_alert_until_it_is_free(door):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        one = door(Place(f"127.0.0.1:{port}", stated=True))
        await one.look()
        assert one.url == ""
        assert f"Port {port} of 127.0.0.1 is in use" in one.alerts[0]
    await one.look()
    assert one.alerts == ()
    assert await said_at(one.url) == {"open": True}


async def test_where_nobody_stated_a_port_another_is_as_good(door):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        one = door(Place(f"127.0.0.1:{port}"))
        await one.look()
    assert one.alerts == ()
    assert not one.url.endswith(f":{port}")
    assert await said_at(one.url) == {"open": True}


async def test_it_moves_when_the_spec_does_and_stays_when_that_cannot_be_read(door):
    one = door(None)
    first, second = (Place(f"127.0.0.1:{free_port()}", stated=True) for _ in range(2))
    one.wanted = lambda: first
    await one.look()
    before = one.url

    def down():
        raise ThunderError("The store can't be used.")

    one.wanted = down
    await one.look()
    assert (one.url, one.alerts) == (before, ())
    one.wanted = lambda: second
    await one.look()
    assert await said_at(one.url) == {"open": True}
    with pytest.raises(aiohttp.ClientConnectorError):
        await said_at(before)


async def test_off_loopback_it_is_encrypted_or_shut(door):
    one = door(Place("0.0.0.0:0", stated=True))
    await one.look()
    assert one.url == ""
    assert "would cross in the clear" in one.alerts[0]


async def test_half_a_certificate_is_said(door):
    one = door(Place("127.0.0.1:0", tls_cert="/nowhere.pem"))
    await one.look()
    assert "one of tls_cert and tls_key" in one.alerts[0]


async def test_off_loopback_with_a_certificate_everybody_needs_the_token(door, tmp_path):
    certificate, key = self_signed(tmp_path)
    one = door(Place("0.0.0.0:0", str(certificate), str(key), stated=True))
    await one.look()
    assert one.alerts == ()
    port = one.url.rpartition(":")[2]
    trust = ssl.create_default_context(cafile=str(certificate))
    assert await said_at(f"https://127.0.0.1:{port}", ssl=trust, server_hostname="localhost") == {"open": False}


async def test_a_certificate_that_was_renewed_is_shown_to_who_comes_then(door, tmp_path):
    certificate, key = self_signed(tmp_path)
    one = door(Place("127.0.0.1:0", str(certificate), str(key), stated=True))
    await one.look()
    first = await shown_at(one.url)
    old = key.read_bytes()
    self_signed(tmp_path)
    renewed = key.read_bytes()
    key.write_bytes(old)
    await one.look()
    assert "goes on with its old certificate" in one.alerts[0]
    assert "belong together" in one.alerts[0]
    assert await shown_at(one.url) == first
    key.write_bytes(renewed)
    await one.look()
    assert one.alerts == ()
    away = key.rename(tmp_path / "away")
    await one.look()
    assert "goes on with its old certificate" in one.alerts[0]
    away.rename(key)
    await one.look()
    assert one.alerts == (), "its files are as they were"
    assert await shown_at(one.url) == ssl.PEM_cert_to_DER_cert(certificate.read_text())


async def shown_at(url):
    """The certificate, as DER."""
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), ssl=trust)
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return found


def self_signed(folder):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, pem, plain))
    return certificate, private
