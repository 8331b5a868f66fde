"""An S3 store in memory that answers after a set time, as a process of its own: for figures, where moto is the bottleneck.

    python -m harness.fast_store PORT MILLISECONDS
"""

import hashlib
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE = 1000


class Store(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    objects, uploads, lock = {}, {}, threading.Lock()
    wait_s = 0.0

    def log_message(self, *_):
        pass

    def parse(self):
        url = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        self.key = unquote(url.path).lstrip("/").partition("/")[2]
        body = bytearray(int(self.headers.get("Content-Length", 0)))
        at, view = 0, memoryview(body)
        while at < len(body):
            at += self.rfile.readinto(view[at:])
        time.sleep(self.wait_s)
        return bytes(body)

    def say(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code):
        self.say(status, f"<Error><Code>{code}</Code></Error>".encode())

    def write(self, body):
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        with self.lock:
            now = self.objects.get(self.key)
            wanted = self.headers.get("If-Match")
            if (self.headers.get("If-None-Match") and now) or (wanted and (not now or now[1] != wanted)):
                return None
            self.objects[self.key] = (body, tag)
        return tag

    def do_PUT(self):
        body = self.parse()
        if "uploadId" in self.query:
            self.uploads[self.query["uploadId"]][int(self.query["partNumber"])] = body
            return self.say(200, headers=[("ETag", f'"{self.query["partNumber"]}"')])
        tag = self.write(body)
        return self.say(200, headers=[("ETag", tag)]) if tag else self.refuse(412, "PreconditionFailed")

    def do_POST(self):
        self.parse()
        if "uploads" in self.query:
            upload = f"u{len(self.uploads)}"
            self.uploads[upload] = {}
            return self.say(200, f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId>"
                                 "</InitiateMultipartUploadResult>".encode())
        parts = self.uploads[self.query["uploadId"]]
        tag = self.write(b"".join(parts[number] for number in sorted(parts)))
        return self.say(200, f"<CompleteMultipartUploadResult><ETag>{escape(tag)}</ETag>"
                             "</CompleteMultipartUploadResult>".encode())

    def do_DELETE(self):
        self.parse()
        with self.lock:
            self.objects.pop(self.key, None)
        self.say(204)

    def do_HEAD(self):
        self.parse()
        found = self.objects.get(self.key)
        if not found:
            return self.refuse(404, "NoSuchKey")
        self.send_response(200)
        for name, value in self.about(found):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(found[0])))
        self.end_headers()

    @staticmethod
    def about(found):
        return [("ETag", found[1]), ("Last-Modified", "Sun, 06 Nov 2044 08:49:37 GMT")]

    def do_GET(self):
        self.parse()
        if "list-type" in self.query:
            return self.list()
        found = self.objects.get(self.key)
        if not found:
            return self.refuse(404, "NoSuchKey")
        data, span = memoryview(found[0]), self.headers.get("Range")
        if not span:
            return self.say(200, data, self.about(found))
        first, last = map(int, span.removeprefix("bytes=").split("-"))
        piece = data[first:last + 1]
        where = f"bytes {first}-{first + len(piece) - 1}/{len(data)}"
        return self.say(206, piece, [*self.about(found), ("Content-Range", where)])

    def list(self):
        prefix, after = self.query.get("prefix", ""), self.query.get("start-after", "")
        with self.lock:
            keys = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        rows = "".join(f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key][0])}</Size>"
                       "<LastModified>2044-11-06T08:49:37.000Z</LastModified></Contents>" for key in keys[:PAGE])
        more = str(len(keys) > PAGE).lower()
        self.say(200, f"<ListBucketResult><IsTruncated>{more}</IsTruncated>{rows}</ListBucketResult>".encode())


class Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, *_):
        """Who asked went away."""


if __name__ == "__main__":
    Store.wait_s = float(sys.argv[2]) / 1000
    Server(("127.0.0.1", int(sys.argv[1])), Store).serve_forever()
