"""A record server on this machine that misbehaves in the ways that real ones do."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    """What is served, how badly, and what was asked for.

    ``drop`` ends a connection after so many bytes; ``ranges`` says whether Range is
    known; ``wrong`` gives other bytes for as many requests; ``answers`` are codes for
    the next requests of files, before any is served.
    """

    files: dict[str, bytes]
    drop: int | None = None
    ranges: bool = True
    shift: int = 0
    wrong: int = 0
    extra: int = 0
    answers: list[int] = field(default_factory=list)
    record_answers: list[int] = field(default_factory=list)
    record: object = None
    asked: list[str | None] = field(default_factory=list)
    address: str = ""

    def listing(self) -> object:
        """The record, as Zenodo gives it."""
        if self.record is not None:
            return self.record
        return {
            "id": 10719375,
            "metadata": {"title": "Cells", "license": {"id": "cc-by-nc-nd-4.0"}},
            "files": [
                {
                    "id": "5c4e9f0a",
                    "key": name,
                    "size": len(data),
                    "checksum": f"md5:{hashlib.md5(data).hexdigest()}",
                    "links": {"self": f"/api/records/10719375/files/{name}/content"},
                }
                for name, data in self.files.items()
            ],
        }


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Serve until the end of the block; ``server.address`` is the API's address."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/api/records/10719375":
                self.give_record()
            else:
                self.give_file(self.path.split("/")[-2])

        def give_record(self) -> None:
            if server.record_answers and (code := server.record_answers.pop(0)) != 200:
                self.send_error(code)
                return
            body = json.dumps(server.listing()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def give_file(self, name: str) -> None:
            asked = self.headers.get("Range")
            server.asked.append(asked)
            if server.answers and (code := server.answers.pop(0)) != 200:
                self.send_error(code)
                return
            data = server.files[name] + b"x" * server.extra
            if server.wrong:
                server.wrong -= 1
                data = bytes(255 - byte for byte in data)
            begin = 0
            if asked and server.ranges:
                begin = int(asked.removeprefix("bytes=").rstrip("-")) - server.shift
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(data) - begin))
            self.end_headers()
            end = len(data) if server.drop is None else begin + server.drop
            self.wfile.write(data[begin:end])

        def log_message(self, *args: object) -> None:
            del args

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.address = f"http://127.0.0.1:{running.server_port}/api"
        try:
            yield server
        finally:
            running.shutdown()
            thread.join()
