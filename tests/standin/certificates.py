"""A certificate authority of our own, a server certificate, and a throw-away account key."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

HOSTS = (
    "*.googleapis.com",
    "*.us.rep.googleapis.com",
    "*.eu.rep.googleapis.com",
    "*.us-central1.rep.googleapis.com",
    "*.europe-west4.rep.googleapis.com",
    "*.pkg.dev",
    "localhost",
)


def write_certificates(folder: Path) -> dict[str, Path]:
    """Write ca.pem, server.pem (key and certificate) and account.json into `folder`."""
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _certificate("tunepipe stand-in CA", authority_key, None, None)
    server = _certificate("tunepipe stand-in", server_key, authority, authority_key)
    files = {
        "ca": _pem(authority),
        "certificate": _pem(server),
        "key": _private_pem(server_key),
        "account": json.dumps(_account()).encode(),
    }
    paths = {name: folder / f"{name}.{'json' if name == 'account' else 'pem'}" for name in files}
    for name, data in files.items():
        paths[name].write_bytes(data)
    return paths


def _certificate(name: str, key: Any, issuer: x509.Certificate | None, issuer_key: Any) -> Any:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if issuer:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS])
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
        builder = builder.add_extension(names, critical=False).add_extension(signer, critical=False)
    else:
        usage = dict.fromkeys(_USAGES, False) | {"key_cert_sign": True, "crl_sign": True}
        builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
    return builder.sign(issuer_key or key, hashes.SHA256())


_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private_pem(key: Any) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _account() -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return {
        "type": "service_account",
        "project_id": "demo-project",
        "private_key_id": "standin",
        "private_key": _private_pem(key).decode(),
        "client_email": "runner@demo-project.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
