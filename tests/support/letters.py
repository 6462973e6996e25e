"""Mails made from parts, byte-exact and each with a mark of its own."""
import base64
import email.utils
import secrets
import struct
import zlib


def mark():
    return "mark-" + secrets.token_hex(8)


def png(width=48, height=32):
    """A small valid picture: a red field with a grey stripe."""
    row = b"".join(b"\xd0\x30\x20" if x % 16 > 3 else b"\x90\x90\x90" for x in range(width))
    raw = b"".join(b"\0" + row for _ in range(height))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def encoded_word(text, charset):
    return f"=?{charset}?B?{base64.b64encode(text.encode(charset)).decode()}?="


def header(name, value):
    return f"{name}: {value}\r\n".encode("utf-8")


def mail(
    subject,
    text,
    sender="Ann Example <customer@shop.example>",
    message_id=None,
    extra=(),
    charset="utf-8",
    to="care@example.com",
    date=None,
):
    """A plain mail; headers not in ASCII become encoded words in `charset`, the body is 8bit or base64."""
    message_id = message_id or f"{secrets.token_hex(12)}@client.example"
    name, _, address = sender.rpartition("<")
    if not name.isascii():
        sender = f"{encoded_word(name.strip(), charset)} <{address}"
    out = header("From", sender) + header("To", to)
    out += header("Subject", subject if subject.isascii() else encoded_word(subject, charset))
    out += header("Date", date or email.utils.formatdate())
    out += header("Message-ID", f"<{message_id}>") + header("MIME-Version", "1.0")
    for name, value in extra:
        out += header(name, value)
    out += header("Content-Type", f"text/plain; charset={charset}")
    body = text.encode(charset).replace(b"\n", b"\r\n")
    if charset == "utf-8":
        return out + header("Content-Transfer-Encoding", "8bit") + b"\r\n" + body + b"\r\n"
    return (
        out
        + header("Content-Transfer-Encoding", "base64")
        + b"\r\n"
        + base64.encodebytes(body).replace(b"\n", b"\r\n")
    )


def html_mail(
    subject, html, picture=None, filename="photo.png", sender="Ben Example <ben@shop.example>", message_id=None
):
    """No plain text part: HTML alone, and a picture when given."""
    message_id = message_id or f"{secrets.token_hex(12)}@client.example"
    out = header("From", sender) + header("To", "care@example.com") + header("Subject", subject)
    out += header("Date", email.utils.formatdate())
    out += header("Message-ID", f"<{message_id}>") + header("MIME-Version", "1.0")
    part = (
        header("Content-Type", "text/html; charset=utf-8")
        + header("Content-Transfer-Encoding", "base64")
        + b"\r\n"
        + base64.encodebytes(html.encode()).replace(b"\n", b"\r\n")
    )
    if picture is None:
        return out + part
    edge = "edge-" + secrets.token_hex(8)
    out += header("Content-Type", f'multipart/mixed; boundary="{edge}"') + b"\r\n"
    out += f"--{edge}\r\n".encode() + part
    out += f"--{edge}\r\n".encode() + header("Content-Type", f'image/png; name="{filename}"')
    out += header("Content-Transfer-Encoding", "base64") + header(
        "Content-Disposition", f'attachment; filename="{filename}"'
    )
    out += b"\r\n" + base64.encodebytes(picture).replace(b"\n", b"\r\n")
    return out + f"--{edge}--\r\n".encode()
