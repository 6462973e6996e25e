"""Clients of the three channels, written on sockets and the standard library only: what a peer sees, nothing of ours."""
import base64
import hashlib
import hmac
import http.client
import json
import secrets
import smtplib
import socket
import urllib.parse

TIMEOUT = 60


# ---- mail ----


def crlf(data):
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def send_mail(port, raw, sender="customer@shop.example", recipients=("care@example.com",)):
    """One mail over a connection of its own: (code, text) of the answer that decided. Raises OSError when it broke off."""
    with smtplib.SMTP("127.0.0.1", int(port), local_hostname="client.example", timeout=TIMEOUT) as smtp:
        return mail_on(smtp, raw, sender, recipients)


def mail_on(smtp, raw, sender, recipients=("care@example.com",)):
    """One mail on an open connection (smtplib.SMTP)."""
    smtp.ehlo_or_helo_if_needed()
    try:
        for command, argument in [("MAIL", f"FROM:<{sender}>"), *(("RCPT", f"TO:<{r}>") for r in recipients)]:
            code, text = smtp.docmd(command, argument)
            if code // 100 != 2:
                smtp.rset()
                return code, text.decode("utf-8", "replace")
        code, text = smtp.data(raw)
    except smtplib.SMTPServerDisconnected as e:
        raise ConnectionError(str(e)) from e
    except smtplib.SMTPDataError as e:
        return e.smtp_code, e.smtp_error.decode("utf-8", "replace")
    return code, text.decode("utf-8", "replace")


class RawSmtp:
    """An SMTP dialogue byte by byte, for what a library would not send."""

    def __init__(self, port, greet=True):
        self.sock = socket.create_connection(("127.0.0.1", int(port)), timeout=TIMEOUT)
        self.file = self.sock.makefile("rb")
        if greet:
            assert self.reply()[0] == 220

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def reply(self):
        """(code, [lines]); (0, []) when the peer closed."""
        lines = []
        while True:
            line = self.file.readline()
            if not line:
                return 0, lines
            lines.append(line.decode("utf-8", "replace").rstrip("\r\n"))
            if line[3:4] != b"-":
                return int(line[:3]), lines

    def command(self, line):
        self.send(line + "\r\n")
        return self.reply()

    def close(self):
        self.file.close()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# ---- SMS ----


def twilio_signature(token, url, params):
    data = url + "".join(name + value for name, value in sorted(params.items()))
    return base64.b64encode(hmac.new(token.encode(), data.encode(), hashlib.sha1).digest()).decode()


def sms_params(text, sender="+8613900001111", sid=None, account="AC" + "5" * 32, to="+18005551212"):
    sid = sid or "SM" + secrets.token_hex(16)
    return {
        "MessageSid": sid,
        "SmsSid": sid,
        "SmsMessageSid": sid,
        "AccountSid": account,
        "From": sender,
        "To": to,
        "Body": text,
        "NumMedia": "0",
        "NumSegments": "1",
        "SmsStatus": "received",
        "ApiVersion": "2010-04-01",
    }


def post(url, body, headers):
    """(status, body); raises OSError when the connection broke off."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT)
    try:
        connection.request(
            "POST", parts.path + ("?" + parts.query if parts.query else ""), body=body, headers=headers
        )
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    except http.client.HTTPException as e:
        raise ConnectionError(repr(e)) from e
    finally:
        connection.close()


def send_sms(url, token, params, signature=None):
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
    signature = twilio_signature(token, url, params) if signature is None else signature
    if signature:
        headers["X-Twilio-Signature"] = signature
    return post(url, urllib.parse.urlencode(params).encode(), headers)


# ---- complaints by HTTP ----


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.raw = status, headers, body
        self.type = headers.get("Content-Type", "")
        self.json = json.loads(body) if body and "json" in self.type else None


def http_request(port, method, path, body=None, headers=None):
    """One request over a connection of its own. Raises OSError when it broke off."""
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=TIMEOUT)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    except http.client.HTTPException as e:
        raise ConnectionError(repr(e)) from e
    finally:
        connection.close()


def http_bytes(port, data, timeout=10):
    """What comes back for these bytes until the peer closes: (bytes, whether it closed in time)."""
    with socket.create_connection(("127.0.0.1", int(port)), timeout=timeout) as sock:
        got = b""
        try:
            sock.sendall(data)
        except OSError:
            pass  # it closed before it had all
        try:
            while True:
                piece = sock.recv(65536)
                if not piece:
                    return got, True
                got += piece
        except ConnectionResetError:
            return got, True
        except TimeoutError:
            return got, False


def form(parts, boundary=None):
    """(body, content type) of multipart/form-data; a part is (name, bytes) or (name, bytes, filename, type)."""
    boundary = boundary or secrets.token_hex(12)
    body = b""
    for name, data, *file in parts:
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        if file:
            body += f'; filename="{file[0]}"\r\nContent-Type: {file[1]}'.encode()
        body += b"\r\n\r\n" + data + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


# ---- line protocol ----


class LineError(Exception):
    def __init__(self, body):
        super().__init__(f"{body.get('code')}: {body.get('message')}")
        self.body = body
        self.code = body.get("code")


class Line:
    """One connection of the line protocol."""

    def __init__(self, port, token=None, tls=None, name=None):
        """`tls`: a context, to begin TLS with the connection; `name`: what the certificate must carry."""
        self.sock = socket.create_connection(("127.0.0.1", int(port)), timeout=TIMEOUT)
        self.file = None
        if tls:
            self.secure(tls, name)
        else:
            self.file = self.sock.makefile("rb")
        if token:
            self.ok("AUTH", token=token)

    def secure(self, tls, name):
        self.sock = tls.wrap_socket(self.sock, server_hostname=name)
        self.file = self.sock.makefile("rb")

    def starttls(self, tls, name):
        assert self.ok("STARTTLS") == {}
        self.secure(tls, name)

    def send(self, verb, args=None):
        self.send_raw(
            verb.encode()
            + (b" " + json.dumps(args, ensure_ascii=False).encode() if args is not None else b"")
            + b"\n"
        )

    def send_raw(self, data):
        self.sock.sendall(data)

    def answer(self):
        """("OK"|"ERR", object, rows)."""
        rows = []
        while True:
            line = self.file.readline()
            if not line.endswith(b"\n"):
                raise ConnectionError("connection closed")
            word, _, rest = line.decode("utf-8").rstrip("\r\n").partition(" ")
            body = json.loads(rest) if rest else {}
            if word != "ROW":
                return word, body, rows
            rows.append(body)

    def request(self, verb, **args):
        self.send(verb, args)
        return self.answer()

    def ok(self, verb, **args):
        word, body, rows = self.request(verb, **args)
        if word != "OK":
            raise LineError(body)
        return rows if rows or verb == "LIST" else body

    def close(self):
        self.file.close()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
