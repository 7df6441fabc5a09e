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


# ---- whole calls, and the few messages that tests read ----------------------------------------------


def call(port, message_type, body=b"", timeout_s=10):
    """One request; returns the reply's message. A status other than 0 is an error."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        connection.sendall(frame(message_type, body))
        header = _receive(connection, 48)
        status = status_of(header)
        if status != 0:
            raise ConnectionError(f"message type {message_type} was answered with status {status}")
        return _receive(connection, struct.unpack_from("<I", header, 24)[0])


def _receive(connection, count):
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ConnectionError("the peer closed")
        data += piece
    return data


def u32(number):
    return struct.pack("<I", number)


def u64(number):
    return struct.pack("<Q", number)


def _varint(number):
    data = b""
    while number >= 0x80:
        data += bytes([number & 0x7F | 0x80])
        number >>= 7
    return data + bytes([number])


def message(values):
    """A protobuf message of numbers and bytes: {field: value}."""
    data = b""
    for field, value in values.items():
        if isinstance(value, bytes):
            data += _varint(field << 3 | 2) + _varint(len(value)) + value
        else:
            data += _varint(field << 3) + _varint(value)
    return data


def fields(data):
    """{field: [values]} of a protobuf message: numbers and bytes."""
    found, at = {}, 0

    def varint():
        nonlocal at
        number, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(data):
        tag = varint()
        if tag & 7 == 0:
            value = varint()
        elif tag & 7 == 2:
            size = varint()
            value = data[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {tag & 7}")
        found.setdefault(tag >> 3, []).append(value)
    return found
