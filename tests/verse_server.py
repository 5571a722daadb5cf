"""An HTTP server on 127.0.0.1 for the download tests, with faults that a test switches on."""

import io
import re
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip archive of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@dataclass
class Faults:
    """Faults of the server.

    Attributes:
        statuses: answers of the next requests before it behaves (429, 503, ...).
        retry_after: the Retry-After header of those answers.
        drop_after: bytes of a body after which the next connections break, one entry each.
        ranges: whether it serves ranges.
        if_range: whether it looks at If-Range.
        validators: whether it sends ETag.
        length: whether it says how long the body is (chunked transfer otherwise).
        stall_s: silence before the body.
        bytes_per_s: slows the body down.
    """

    statuses: list[int] = field(default_factory=list)
    retry_after: str | None = None
    drop_after: list[int] = field(default_factory=list)
    ranges: bool = True
    if_range: bool = True
    validators: bool = True
    length: bool = True
    stall_s: float = 0.0
    bytes_per_s: float | None = None


@dataclass
class Request:
    path: str
    range: str | None
    if_range: str | None
    time: float


class VerseServer:
    """Serves `files` (bytes by path); `requests` records what was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.version = 1
        self.faults = Faults()
        self.requests: list[Request] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/{path}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        headers, faults = handler.headers, self.faults
        handler.close_connection = True
        path = handler.path.lstrip("/")
        self.requests.append(
            Request(path, headers.get("Range"), headers.get("If-Range"), time.monotonic())
        )
        if faults.statuses:
            handler.send_response(faults.statuses.pop(0))
            if faults.retry_after:
                handler.send_header("Retry-After", faults.retry_after)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        if path not in self.files:
            handler.send_error(404)
            return
        self._send_file(handler, self.files[path])

    def _send_file(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        headers, faults, etag = handler.headers, self.faults, f'"v{self.version}"'
        total, start = len(body), 0
        asked = re.fullmatch(r"bytes=(\d+)-", headers.get("Range", ""))
        same = not faults.if_range or headers.get("If-Range") in (None, etag)
        partial = bool(asked and faults.ranges and same)
        if partial:
            assert asked
            start = int(asked[1])
            if start >= total:
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{total}")
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            handler.send_response(200)
        if faults.validators:
            handler.send_header("ETag", etag)
        if faults.length:
            handler.send_header("Content-Length", str(total - start))
        else:
            handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        self._send_body(handler, body[start:])

    def _send_body(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        faults = self.faults
        time.sleep(faults.stall_s)
        limit = faults.drop_after.pop(0) if faults.drop_after else None
        step, rate = 1 << 14, faults.bytes_per_s
        try:
            for offset in range(0, len(body), step):
                piece = body[offset : offset + step]
                if limit is not None and offset + len(piece) > limit:
                    handler.wfile.write(piece[: max(limit - offset, 0)])
                    return
                if not faults.length:
                    handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                else:
                    handler.wfile.write(piece)
                if rate:
                    time.sleep(len(piece) / rate)
            if not faults.length:
                handler.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass


@contextmanager
def running_server() -> Iterator[VerseServer]:
    """A server that listens until the block ends."""
    server = VerseServer()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()
