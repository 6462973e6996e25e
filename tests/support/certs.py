"""Certificates for tests: a certificate authority of the test's own and what it signs, as PEM files put in place by rename."""
import datetime
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID


def key_of(kind):
    return ec.generate_private_key(ec.SECP256R1()) if kind == "EC" else rsa.generate_private_key(65537, 2048)


def name_of(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    def __init__(self):
        self.key = key_of("EC")
        self.cert = self.sign(name_of("Authority of a test"), self.key.public_key(), -1, 365, True)

    def sign(self, subject, public, from_days, until_days, ca):
        now = datetime.datetime.utcnow()
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(name_of("Authority of a test"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=from_days))
            .not_valid_after(now + datetime.timedelta(days=until_days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), True)
        )
        if not ca:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("complaints.example.com")]), False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, kind="EC", from_days=-1, until_days=90):
        key = key_of(kind)
        return Certificate(self.sign(name_of("complaints.example.com"), key.public_key(), from_days, until_days, False), key, self.cert)

    def pem(self):
        return self.cert.public_bytes(serialization.Encoding.PEM).decode()


class Certificate:
    def __init__(self, cert, key, signer):
        self.cert, self.key, self.signer = cert, key, signer

    def chain_pem(self):
        return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in (self.cert, self.signer))

    def key_pem(self):
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def der(self):
        return self.cert.public_bytes(serialization.Encoding.DER)

    def not_after(self):
        return self.cert.not_valid_after.replace(tzinfo=datetime.timezone.utc).timestamp()


def put(path, data):
    with open(path + ".new", "wb", opener=lambda p, flags: os.open(p, flags, 0o640)) as f:
        f.write(data)
    os.replace(path + ".new", path)
