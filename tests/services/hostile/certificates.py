"""Certificates made at the start: one authority to trust, and servers that must not be trusted all the same."""

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)
HOST = "localhost"
# Name of the listener -> the name in the certificate, and how many days from now it is valid.
KINDS = {"good": (HOST, 30), "expired": (HOST, -1), "wrong-name": ("elsewhere.example", 30), "unknown": (HOST, 30)}


class Authority:
    """A certificate authority; its own certificate lies in `authority.pem` of the directory."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.file = directory, directory / "authority.pem"
        self._key, self._name = ec.generate_private_key(ec.SECP256R1()), _named("Tests alone")
        certificate = self._sign(
            _builder(self._name, 30, self._key).add_extension(x509.BasicConstraints(True, 0), True)
        )
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def context(self, kind: str) -> ssl.SSLContext:
        """The TLS of a server of a kind; `unknown` is signed by itself."""
        host, days = KINDS[kind]
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_named(host), days, key).add_extension(_names(host), False)
        certificate = builder.issuer_name(_named(host)).sign(key, hashes.SHA256()) if kind == "unknown" else None
        chain = self.directory / f"{kind}.pem"
        pem = (certificate or self._sign(builder)).public_bytes(serialization.Encoding.PEM)
        chain.touch(0o600)
        chain.write_bytes(pem + _private(key))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.issuer_name(self._name).sign(self._key, hashes.SHA256())


def _builder(name: x509.Name, days: int, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    valid = x509.CertificateBuilder().not_valid_before(now - 60 * DAY).not_valid_after(now + days * DAY)
    return valid.subject_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())


def _names(host: str) -> x509.SubjectAlternativeName:
    loopback = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))] if host == HOST else []
    return x509.SubjectAlternativeName([x509.DNSName(host), *loopback])


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
