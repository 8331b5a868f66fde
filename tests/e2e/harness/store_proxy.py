"""An S3 store that refuses: a proxy before a true one, whose answers tests take into their hands."""

import threading
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


class Refusal:
    """An answer that is an error of S3's."""

    def __init__(self, status, code, more="", headers=()):
        self.status, self.headers = status, dict(headers)
        self.body = f"<Error><Code>{code}</Code><Message>as the test wants it</Message>{more}</Error>".encode()


class StoreProxy:
    """Forwards to the store at `port`; `refuse(method, path)` may answer with a Refusal, and may wait. `spoil(method, path
    and range, data)` may change the bytes of an answer whose request has happened: fewer than were announced, other ones,
    or None for no answer at all."""

    def __init__(self, port):
        self.refuse = self.spoil = None
        self.seen = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                self.store = HTTPConnection("127.0.0.1", port, timeout=60)

            def finish(self):
                self.store.close()
                super().finish()

            def log_message(self, *_):
                pass

            def serve(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                proxy.seen.append((self.command, self.path))
                refuse = proxy.refuse
                refusal = refuse and refuse(self.command, self.path)
                if refusal:
                    return self.answer(refusal.status, refusal.headers, refusal.body)
                try:
                    status, headers, data = self.forward(body)
                except (OSError, HTTPException):
                    # The store closed a connection that was idle.
                    self.store.close()
                    status, headers, data = self.forward(body)
                spoil = proxy.spoil
                if spoil and self.command != "HEAD":
                    headers.setdefault("Content-Length", str(len(data)))
                    what = f"{self.path} {self.headers.get('Range', '')}"
                    announced, data = len(data), spoil(self.command, what, data)
                    if data is None or len(data) != announced:
                        self.close_connection = True
                    if data is None:
                        return
                self.answer(status, headers, data)

            def forward(self, body):
                self.store.request(self.command, self.path, body, dict(self.headers))
                answer = self.store.getresponse()
                data = answer.read()
                headers = {name: value for name, value in answer.getheaders() if name.lower() not in HOP}
                if self.command == "HEAD":
                    headers["Content-Length"] = answer.getheader("Content-Length", "0")
                return answer.status, headers, data

            def answer(self, status, headers, data):
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    if "Content-Length" not in headers:
                        self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(data)
                except OSError:
                    self.close_connection = True

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
