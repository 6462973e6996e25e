"""A relay that does what the local part of a recipient says, for test_esmtp.c.

sink.py MODE DIR: prints its port, keeps each accepted message in DIR (N.eml, first line the envelope as JSON), and
runs until its standard input ends. MODE: plain, tls (STARTTLS required, certificate DIR/cert.pem for localhost),
expired (likewise, but its time is over), inject (text behind the answer to STARTTLS), auth (user "u", password "p"), mute (never a greeting), away (421 as
greeting).
"""
import asyncio
import json
import logging
import os
import ssl
import subprocess
import sys
import warnings

from aiosmtpd.smtp import SMTP, AuthResult

MODE, DIR = sys.argv[1], sys.argv[2]
CERT, KEY = os.path.join(DIR, "cert.pem"), os.path.join(DIR, "key.pem")
count = 0
names = []  # that clients asked for in their handshakes
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")


class Handler:
    async def handle_MAIL(self, server, session, envelope, address, options):
        if address.startswith("badsender"):
            return "550 5.1.8 sender refused"
        envelope.mail_from = address
        self.utf8 = "SMTPUTF8" in options
        return "250 2.1.0 ok"

    async def handle_RCPT(self, server, session, envelope, address, options):
        local = address.split("@")[0]
        if local == "unknown":
            return "550 5.1.1 no such\tuser"
        if local == "greylisted":
            return "451 4.7.1 come back later"
        if local == "dropatrcpt":
            server.transport.abort()
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server, session, envelope):
        global count
        local = envelope.rcpt_tos[0].split("@")[0]
        if local == "spam":
            return "554 5.7.1 not wanted"
        if local == "full":
            return "452 4.3.1 no space"
        if local in ("dropafterdot", "slow"):
            if local == "slow":
                await asyncio.sleep(30)
            server.transport.abort()
            return "250 never seen"
        count += 1
        note = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "helo": session.host_name,
                "tls": bool(session.ssl), "auth": session.authenticated, "utf8": self.utf8}
        if session.ssl:
            note["sni"] = names[-1] if names else None
            note["version"] = server.transport.get_extra_info("ssl_object").version()
        with open(os.path.join(DIR, f"{count}.tmp"), "wb") as f:
            f.write(json.dumps(note, ensure_ascii=False).encode() + b"\n" + envelope.original_content)
        os.rename(os.path.join(DIR, f"{count}.tmp"), os.path.join(DIR, f"{count}.eml"))
        return "250 2.0.0 kept"


def authenticate(server, session, envelope, mechanism, data):
    ok = data.login == b"u" and data.password == b"p"
    return AuthResult(success=ok, handled=False, message=None if ok else "535 5.7.8 no")


def make_context():
    make = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", KEY, "-subj", "/CN=sink"]
    if MODE == "expired":
        subprocess.run([*make, "-out", CERT + ".csr"], check=True, capture_output=True)
        with open(CERT + ".ext", "w", encoding="ascii") as f:
            f.write("subjectAltName=DNS:localhost\n")
        subprocess.run(["openssl", "x509", "-req", "-in", CERT + ".csr", "-signkey", KEY, "-out", CERT, "-days", "-1",
                        "-extfile", CERT + ".ext"], check=True, capture_output=True)
    else:
        subprocess.run([*make, "-x509", "-out", CERT, "-days", "2", "-addext", "subjectAltName=DNS:localhost"],
                       check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERT, KEY)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    return context


async def injecting(reader, writer, context):
    """Answers STARTTLS and, in the same packet, everything that a client would like to hear inside TLS."""
    writer.write(b"220 sink\r\n")
    await reader.readline()
    writer.write(b"250-sink\r\n250 STARTTLS\r\n")
    await reader.readline()
    writer.write(b"220 go ahead\r\n250-sink\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 stolen\r\n")
    await writer.drain()
    try:
        loop = asyncio.get_running_loop()
        protocol = writer.transport.get_protocol()
        transport = await loop.start_tls(writer.transport, protocol, context, server_side=True)
        await asyncio.sleep(1)
        transport.abort()
    except (ssl.SSLError, OSError):
        writer.transport.abort()


async def silent(reader, writer, greeting):
    if greeting:
        writer.write(greeting)
        await writer.drain()
        writer.close()
    else:
        await asyncio.sleep(60)


async def main():
    loop = asyncio.get_running_loop()
    context = make_context() if MODE in ("tls", "expired", "inject") else None
    options = {"hostname": "sink", "enable_SMTPUTF8": True}
    if MODE in ("tls", "expired"):
        options.update(tls_context=context, require_starttls=True)
    if MODE == "auth":
        options.update(auth_require_tls=False, auth_required=True, authenticator=authenticate)
    if MODE == "inject":
        server = await asyncio.start_server(lambda r, w: injecting(r, w, context), "127.0.0.1", 0)
    elif MODE in ("mute", "away"):
        greeting = b"421 4.3.2 not now\r\n" if MODE == "away" else None
        server = await asyncio.start_server(lambda r, w: silent(r, w, greeting), "127.0.0.1", 0)
    else:
        server = await loop.create_server(lambda: SMTP(Handler(), **options), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    os._exit(0)


asyncio.run(main())
