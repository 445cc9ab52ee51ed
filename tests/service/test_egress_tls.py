"""Outbound HTTPS: who answers is verified by name, also where the connection goes to a judged address."""

import datetime
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nms.common.egress.address import parse_allowance
from nms.common.egress.egress import Egress
from nms.common.egress.exchange import Caps, Request
from nms.common.egress.problems import RemoteProblem
from nms.common.egress.shared import close_egress, get_egress
from nms.common.settings import Settings, SettingsRefused, get_settings, read_settings
from tests.service.remote import OK, Names, listening, saying, silent

HOST = "api.example.test"


@dataclass
class Authority:
    """An authority of the test and what it signed."""

    folder: Path

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        signed = self._sign(self.name, self.key, x509.BasicConstraints(ca=True, path_length=None))
        self.pem = self.folder / "authority.pem"
        self.pem.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def server(self, host: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        signed = self._sign(subject, key, x509.SubjectAlternativeName([x509.DNSName(host)]))
        file = self.folder / f"{host}.pem"
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        file.write_bytes(signed.public_bytes(pem) + key.private_bytes(pem, form, serialization.NoEncryption()))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(extension, critical=True)
            .sign(self.key, hashes.SHA256())
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def trusting(authority: Authority) -> Egress:
    tls = ssl.create_default_context(cafile=str(authority.pem))
    return Egress([parse_allowance("127.0.0.2")], tls, Names(["127.0.0.2"]))


async def test_name_and_host_are_those_of_the_url_while_the_connection_goes_to_the_judged_address(
    authority: Authority,
) -> None:
    egress = trusting(authority)
    async with listening(saying(OK), authority.server(HOST)) as remote:
        assert (await egress.send(Request("GET", remote.url(scheme="https")))).status == 200
        await egress.close()
        assert (remote.reached, remote.names) == (["127.0.0.2"], [HOST])
        assert f"host: {HOST}:{remote.port}" in remote.heads[0].decode().lower()


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_certificate_of_another_host_or_authority_is_refused_before_anything_is_sent(
    authority: Authority, trusted: bool
) -> None:
    tls = None if trusted else ssl.create_default_context()
    egress = trusting(authority) if tls is None else Egress([parse_allowance("127.0.0.2")], tls, Names(["127.0.0.2"]))
    async with listening(saying(OK), authority.server("other.example.test" if trusted else HOST)) as remote:
        with pytest.raises(RemoteProblem) as problem:
            await egress.send(Request("GET", remote.url(scheme="https")))
        await egress.close()
        assert remote.heads == []
    assert (problem.value.code, problem.value.reason) == ("remote-unreachable", "certificate")
    assert problem.value.sent is False


async def test_a_remote_without_tls_is_named_and_one_that_says_nothing_costs_the_connect_time(
    authority: Authority,
) -> None:
    egress = trusting(authority)
    caps = Caps(connect=0.3)
    async with listening(saying(OK)) as remote:
        remote.greeting = b"no TLS here\r\n\r\n\r\n"
        with pytest.raises(RemoteProblem) as problem:
            await egress.send(Request("GET", remote.url(scheme="https"), caps=caps))
    assert (problem.value.code, problem.value.reason, problem.value.sent) == ("remote-unreachable", "tls", False)
    async with listening(silent) as remote:
        with pytest.raises(RemoteProblem) as problem:
            await egress.send(Request("GET", remote.url(scheme="https"), caps=caps))
    assert (problem.value.code, problem.value.reason, problem.value.sent) == ("remote-timeout", "connect", False)
    await egress.close()


async def test_an_authority_of_ones_own_and_an_inner_network_are_settings(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EGRESS_CA", str(authority.pem))
    async with listening(saying(OK), authority.server("localhost")) as remote:
        monkeypatch.setenv("EGRESS_ALLOW", f"127.0.0.0/8:{remote.port}, [::1]:{remote.port}")
        get_settings.cache_clear()
        assert get_egress() is get_egress()
        answer = await get_egress().send(Request("GET", f"https://localhost:{remote.port}/"))
        assert answer.body == b"ok"
        await close_egress()
    await close_egress()
    get_settings.cache_clear()


async def test_an_authority_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(SettingsRefused):
            Egress.of(read_settings(Settings, _env_file=None, egress_ca=tmp_path / name))
