"""Record batches of format v2: built by hand for the raw client, and taken apart from fetched bytes."""

import gzip
import struct
import time

import cramjam
import crc32c
import lz4.frame
import zstandard

HEADER = struct.Struct(">qiibIhiqqqhii")
SIZE = HEADER.size
CRC_AT, CRC_FROM = 17, 21
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
COMPRESS = {
    0: lambda b: b, 1: gzip.compress, 2: lambda b: bytes(cramjam.snappy.compress_raw(b)), 3: lz4.frame.compress,
    4: zstandard.ZstdCompressor().compress,
}
# Ten minutes ago: old enough to be told from append times, young enough for retention to leave it alone.
RECENT = int(time.time() * 1000) - 600_000
LOG_APPEND_TIME, TRANSACTIONAL, CONTROL = 0x08, 0x10, 0x20


def varint(value):
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7


def blob(data):
    return varint(-1) if data is None else varint(len(data)) + data


def encode_record(delta, ts_delta, key, value, headers=()):
    body = b"\0" + varint(ts_delta) + varint(delta) + blob(key) + blob(value) + varint(len(headers))
    for name, data in headers:
        body += blob(name.encode()) + blob(data)
    return varint(len(body)) + body


def build(records, codec="none", producer=(-1, -1), sequence=-1, base_ts=None, attributes=0, **override):
    """A batch of (timestamp, key, value[, headers]) tuples. `override` forces header fields to other values."""
    first = records[0][0] if base_ts is None else base_ts
    body = b"".join(encode_record(i, r[0] - first, *r[1:]) for i, r in enumerate(records))
    fields = {
        "base_offset": 0, "length": 0, "leader_epoch": -1, "magic": 2, "crc": 0,
        "attributes": CODECS[codec] | attributes, "last_delta": len(records) - 1, "first_ts": first,
        "max_ts": max(r[0] for r in records), "producer_id": producer[0], "producer_epoch": producer[1],
        "sequence": sequence, "count": len(records),
    }
    payload = override.pop("payload", None)
    payload = COMPRESS[CODECS[codec]](body) if payload is None else payload
    fields["length"] = SIZE - 12 + len(payload)
    crc = override.pop("crc", None)
    fields.update(override)
    data = bytearray(HEADER.pack(*fields.values()) + payload)
    struct.pack_into(">I", data, CRC_AT, crc32c.crc32c(bytes(data[CRC_FROM:])) if crc is None else crc)
    return bytes(data)


def simple(values, codec="none", ts=RECENT, **more):
    """A batch of plain values at rising timestamps."""
    return build([(ts + i, None, v) for i, v in enumerate(values)], codec, **more)


class Batch:
    """One fetched batch; its CRC is checked."""

    def __init__(self, data):
        (self.base_offset, self.length, self.leader_epoch, self.magic, self.crc, self.attributes, self.last_delta,
         self.first_ts, self.max_ts, self.producer_id, self.producer_epoch, self.sequence,
         self.count) = HEADER.unpack_from(data)
        self.raw = data
        self.codec = self.attributes & 7
        assert self.magic == 2, f"magic {self.magic}"
        assert crc32c.crc32c(data[CRC_FROM:]) == self.crc, f"CRC of the batch at {self.base_offset}"

    @property
    def next_offset(self):
        return self.base_offset + self.last_delta + 1

    def records(self):
        """(offset, timestamp, key, value, headers) of every record."""
        data = self.payload()
        at, out = 0, []
        for _ in range(self.count):
            _, at = read_varint(data, at)
            ts_delta, at = read_varint(data, at + 1)
            delta, at = read_varint(data, at)
            key, at = take(data, at)
            value, at = take(data, at)
            n, at = read_varint(data, at)
            headers = []
            for _ in range(n):
                name, at = take(data, at)
                content, at = take(data, at)
                headers.append((name.decode(), content))
            stamp = self.max_ts if self.attributes & LOG_APPEND_TIME else self.first_ts + ts_delta
            out.append((self.base_offset + delta, stamp, key, value, headers))
        assert at == len(data), "bytes left over in a batch"
        return out

    def payload(self):
        data = self.raw[SIZE:]
        if self.codec == 0:
            return data
        if self.codec == 1:
            return gzip.decompress(data)
        if self.codec == 2:
            return unsnappy(data)
        if self.codec == 3:
            return lz4.frame.decompress(data)
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def unsnappy(data):
    if data[:8] != b"\x82SNAPPY\0":
        return bytes(cramjam.snappy.decompress_raw(data))
    at, out = 16, b""
    while at < len(data):
        size = struct.unpack_from(">i", data, at)[0]
        out += bytes(cramjam.snappy.decompress_raw(data[at + 4:at + 4 + size]))
        at += 4 + size
    return out


def take(data, at):
    size, at = read_varint(data, at)
    return (None, at) if size < 0 else (data[at:at + size], at + size)


def split(data):
    """The whole batches of fetched bytes; a cut last one is left out."""
    at, out = 0, []
    while at + 12 <= len(data):
        size = 12 + struct.unpack_from(">i", data, at + 8)[0]
        if at + size > len(data):
            break
        out.append(Batch(data[at:at + size]))
        at += size
    return out
