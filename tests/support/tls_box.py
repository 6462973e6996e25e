"""A sandbox with a certificate of an authority of its own: STARTTLS on smtp_port, TLS from the first byte on tls_port, LMTP by TCP on
lmtp_port beside the sandbox's socket, and the line protocol in TLS on line_tls_port."""
import os
import shutil
import socket
import ssl
import tempfile

import certs
import processes
import sandbox_config
from box import Box

HOST = "complaints.example.com"
HANDSHAKE_S = 2


class TlsBox(Box):
    """`mail`: options of that section; `overlay`: of any."""

    def __init__(self, build=None, overlay=None, **mail):
        self.folder = tempfile.mkdtemp(prefix="cdt-tls-", dir="/tmp")
        self.authority = certs.Authority()
        self.ports = processes.PortReservation()
        self.tls_port, self.lmtp_port, self.line_tls_port = self.ports.take(), self.ports.take(), self.ports.take()
        self.cert_file, self.key_file = os.path.join(self.folder, "mx.pem"), os.path.join(self.folder, "mx.key")
        self.trust_file = os.path.join(self.folder, "trust.pem")
        certs.put(self.trust_file, self.authority.pem().encode())
        self.install(self.authority.issue())
        ours = {
            "tls": {"certificates": [{"certificate": self.cert_file, "key": self.key_file}], "poll": "100ms"},
            "mail": {
                "listen_tls": [f"127.0.0.1:{self.tls_port}"],
                "lmtp_listen": [f"127.0.0.1:{self.lmtp_port}"],
                "tls_handshake_timeout": f"{HANDSHAKE_S}s",
                **mail,
            },
            "line": {"listen_tls": [f"127.0.0.1:{self.line_tls_port}"], "tls_handshake_timeout": f"{HANDSHAKE_S}s"},
        }
        super().__init__(build=build, overlay=sandbox_config.merge(ours, overlay or {}))

    def install(self, certificate):
        certs.put(self.cert_file, certificate.chain_pem())
        certs.put(self.key_file, certificate.key_pem())

    def context(self):
        return ssl.create_default_context(cadata=self.authority.pem())

    def shown(self):
        """The certificate that a new client gets, as DER."""
        with socket.create_connection(("127.0.0.1", self.tls_port), timeout=30) as plain:
            with self.context().wrap_socket(plain, server_hostname=HOST) as sock:
                return sock.getpeercert(True)

    def front(self):
        return self.state["daemon"]["pid"]

    def close(self):
        super().close()
        self.ports.release()
        shutil.rmtree(self.folder, ignore_errors=True)
