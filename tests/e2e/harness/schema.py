"""Kafka's message schemas, read from the kafka-clients jar, and an encoder and decoder driven by them.

Both sides are strict: an unknown field name, a value that is missing without a default, or bytes left over raise, so that
every answer of the broker is checked against the published schema of its version.
"""

import functools
import json
import re
import struct
import uuid
import zipfile

from .paths import CLIENTS_JAR

INTS = {"int8": ">b", "int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I", "int64": ">q", "float64": ">d"}


class SchemaError(Exception):
    """The bytes, or the values to write, do not fit the schema."""


def covers(spec, version):
    """Tells whether a version specification ("3", "0-4", "7+", "none") covers a version."""
    if not spec or spec == "none":
        return False
    if spec.endswith("+"):
        return version >= int(spec[:-1])
    low, _, high = spec.partition("-")
    return int(low) <= version <= int(high or low)


class Schema:
    """One message: its API key, valid versions, and fields."""

    def __init__(self, spec):
        self.name = spec["name"]
        self.key = spec.get("apiKey")
        self.fields = spec.get("fields", [])
        self.flexible = spec.get("flexibleVersions", "none")
        self.structs = {s["name"]: s["fields"] for s in spec.get("commonStructs", [])}
        self.valid = spec["validVersions"]

    def versions(self):
        low, _, high = self.valid.partition("-")
        return range(int(low), int(high or low) + 1)

    def encode(self, version, values):
        out = bytearray()
        Encoder(self, version, out).struct(self.fields, values, self.name)
        return bytes(out)

    def decode(self, version, data):
        decoder = Decoder(self, version, data)
        values = decoder.struct(self.fields)
        if decoder.at != len(data):
            raise SchemaError(f"{self.name} v{version}: {len(data) - decoder.at} bytes left over")
        return values


@functools.cache
def load():
    """All schemas of the jar by name, such as `FetchRequest`."""
    found = {}
    with zipfile.ZipFile(CLIENTS_JAR[-1]) as jar:
        for name in jar.namelist():
            if re.fullmatch(r"common/message/\w+(Request|Response|Header|Subscription|Assignment)\.json", name):
                text = jar.read(name).decode()
                text = re.sub(r'("(?:[^"\\]|\\.)*")|//[^\n]*', lambda m: m.group(1) or "", text)
                spec = json.loads(text)
                found[spec["name"]] = Schema(spec)
    return found


@functools.cache
def by_key():
    """(request, response) schemas by API key, of the APIs that brokers serve."""
    schemas = load()
    requests = [s for s in schemas.values() if s.name.endswith("Request") and s.valid != "none"]
    return {s.key: (s, schemas[s.name.removesuffix("Request") + "Response"]) for s in requests}


def default_of(field, schema, version):
    kind = field["type"]
    default = field.get("default")
    if default == "null" or (default is None and kind == "records"):
        return None
    if kind.startswith("[]"):
        return []
    if kind in ("string", "bytes"):
        return default if default is not None else ("" if kind == "string" else b"")
    if kind == "bool":
        return str(default).lower() == "true"
    if kind == "uuid":
        return uuid.UUID(int=0)
    if kind == "float64":
        return float(default or 0)
    if kind in INTS:
        return int(str(default or 0), 0)
    fields = field.get("fields") or schema.structs[kind]
    return {f["name"]: default_of(f, schema, version) for f in fields if covers(f["versions"], version)}


def fields_of(field, schema, kind):
    return field.get("fields") or schema.structs.get(kind)


class Encoder:
    """Writes one message."""

    def __init__(self, schema, version, out):
        self.schema, self.version, self.out = schema, version, out
        self.flexible = covers(schema.flexible, version)

    def uvarint(self, value):
        while value > 0x7F:
            self.out.append(value & 0x7F | 0x80)
            value >>= 7
        self.out.append(value)

    def length(self, value, short, compact):
        """Writes a length; None stands for null."""
        if compact:
            self.uvarint(0 if value is None else value + 1)
        else:
            self.out += struct.pack(">h" if short else ">i", -1 if value is None else value)

    def struct(self, fields, values, where):
        known = {f["name"] for f in fields if covers(f["versions"], self.version)}
        for name in set(values) - known - {"_tags"}:
            raise SchemaError(f"{where} v{self.version} has no field {name}")
        tagged = []
        for f in fields:
            if not covers(f["versions"], self.version):
                continue
            given = f["name"] in values
            value = values[f["name"]] if given else default_of(f, self.schema, self.version)
            if covers(f.get("taggedVersions"), self.version):
                if given and value != default_of(f, self.schema, self.version):
                    tagged.append((f["tag"], f, value))
                continue
            self.value(f, f["type"], value, where)
        if self.flexible:
            self.tags(tagged, values.get("_tags", {}), where)

    def tags(self, tagged, unknown, where):
        self.uvarint(len(tagged) + len(unknown))
        for tag, f, value in sorted(tagged, key=lambda t: t[0]):
            inner = Encoder(self.schema, self.version, bytearray())
            inner.value(f, f["type"], value, where)
            self.uvarint(tag)
            self.uvarint(len(inner.out))
            self.out += inner.out
        for tag, data in sorted(unknown.items()):
            self.uvarint(tag)
            self.uvarint(len(data))
            self.out += data

    def value(self, f, kind, value, where):
        compact = self.flexible and f.get("flexibleVersions") != "none"
        if kind.startswith("[]"):
            self.length(None if value is None else len(value), False, compact)
            for item in value or ():
                self.value(f, kind[2:], item, where)
        elif kind in INTS:
            self.out += struct.pack(INTS[kind], value)
        elif kind == "bool":
            self.out.append(1 if value else 0)
        elif kind == "uuid":
            self.out += value.bytes
        elif kind in ("string", "bytes", "records"):
            data = value.encode() if isinstance(value, str) else value
            self.length(None if data is None else len(data), kind == "string", compact)
            self.out += data or b""
        elif covers(f.get("nullableVersions"), self.version) and not f["type"].startswith("[]"):
            self.out += struct.pack(">b", -1 if value is None else 1)
            if value is not None:
                self.struct(fields_of(f, self.schema, kind), value, f"{where}.{f['name']}")
        else:
            self.struct(fields_of(f, self.schema, kind), value, f"{where}.{f['name']}")


class Decoder:
    """Reads one message."""

    def __init__(self, schema, version, data):
        self.schema, self.version, self.data, self.at = schema, version, data, 0
        self.flexible = covers(schema.flexible, version)

    def take(self, n):
        if n < 0 or self.at + n > len(self.data):
            raise SchemaError(f"{self.schema.name} v{self.version}: {n} bytes wanted at {self.at} of {len(self.data)}")
        self.at += n
        return self.data[self.at - n:self.at]

    def uvarint(self):
        value, shift = 0, 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def length(self, short, compact):
        if compact:
            n = self.uvarint() - 1
        else:
            n = struct.unpack(">h", self.take(2))[0] if short else struct.unpack(">i", self.take(4))[0]
        return None if n < 0 else n

    def struct(self, fields):
        values, tagged = {}, {}
        for f in fields:
            if not covers(f["versions"], self.version):
                continue
            if covers(f.get("taggedVersions"), self.version):
                tagged[f["tag"]] = f
                values[f["name"]] = default_of(f, self.schema, self.version)
            else:
                values[f["name"]] = self.value(f, f["type"])
        if self.flexible:
            for _ in range(self.uvarint()):
                tag, size = self.uvarint(), self.uvarint()
                end = self.at + size
                if tag in tagged:
                    values[tagged[tag]["name"]] = self.value(tagged[tag], tagged[tag]["type"])
                    if self.at != end:
                        raise SchemaError(f"{self.schema.name} v{self.version}: tag {tag} has a wrong size")
                else:
                    values.setdefault("_tags", {})[tag] = self.take(size)
        return values

    def value(self, f, kind):
        compact = self.flexible and f.get("flexibleVersions") != "none"
        if kind.startswith("[]"):
            n = self.length(False, compact)
            self.check_null(f, n)
            return None if n is None else [self.value(f, kind[2:]) for _ in range(n)]
        if kind in INTS:
            return struct.unpack(INTS[kind], self.take(struct.calcsize(INTS[kind])))[0]
        if kind == "bool":
            return self.take(1) != b"\0"
        if kind == "uuid":
            return uuid.UUID(bytes=bytes(self.take(16)))
        if kind in ("string", "bytes", "records"):
            n = self.length(kind == "string", compact)
            self.check_null(f, n)
            data = None if n is None else bytes(self.take(n))
            return data.decode() if kind == "string" and data is not None else data
        if covers(f.get("nullableVersions"), self.version) and not f["type"].startswith("[]"):
            if struct.unpack(">b", self.take(1))[0] < 0:
                return None
        return self.struct(fields_of(f, self.schema, kind))

    def check_null(self, f, n):
        if n is None and not covers(f.get("nullableVersions"), self.version):
            raise SchemaError(f"{self.schema.name} v{self.version}: {f['name']} is null and may not be")
