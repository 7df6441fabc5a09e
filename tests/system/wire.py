"""wire.py - frames as bytes, written and bent by hand (layout: proto/frame.h). For tests of bad input."""
import socket
import struct

KIND_REQUEST = 1
CLUSTER_STATUS = 60
NODE_PING = 4

_table = []
for _byte in range(256):
    for _ in range(8):
        _byte = (_byte >> 1) ^ (0x82F63B78 if _byte & 1 else 0)
    _table.append(_byte)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def frame(message_type, message=b"", payload=b"", **bend):
    """A request frame. `bend` replaces a field: magic, version, kind, deadline, message_bytes, payload_bytes,
    message_crc, header_crc."""
    header = struct.pack(
        "<4sBBHQIIIIIII",
        bend.get("magic", b"TRLF"),
        bend.get("version", 1),
        bend.get("kind", KIND_REQUEST),
        message_type,
        bend.get("request", 1),
        bend.get("status", 0),
        bend.get("deadline", 5000),
        bend.get("message_bytes", len(message)),
        bend.get("payload_bytes", len(payload)),
        bend.get("message_crc", crc32c(message)),
        bend.get("reserved", 0),
        0,
    )
    header += struct.pack("<I", bend.get("header_crc", crc32c(header)))
    return header + message + payload


def exchange(port, data, timeout_s=10, end=False):
    """Send bytes on a new connection. Returns the first answer's 48 header bytes, or b"" when the peer closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        try:
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            while len(answer) < 48:
                piece = connection.recv(48 - len(answer))
                if not piece:
                    return b""
                answer += piece
            return answer
        except (ConnectionResetError, BrokenPipeError):
            return b""


def status_of(answer):
    return struct.unpack_from("<I", answer, 16)[0]
