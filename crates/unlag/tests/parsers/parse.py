"""What three Python readers understand of recorded requests.

Reads a JSON list of {"id", "hex"} from stdin and prints {"h11": {id: [request, ...]}, ...}; a request is
[method, target, [host, ...], body as hex], and only whole requests count. A reader that is not installed is left out.
`http.server` knows no chunks, so its requests have null for a body and only the first one of a recording is read.
"""

import io
import json
import sys
from http.server import BaseHTTPRequestHandler


def with_h11(data):
    import h11

    connection, requests, current = h11.Connection(our_role=h11.SERVER, max_incomplete_event_size=1 << 20), [], None
    connection.receive_data(data)
    connection.receive_data(b"")
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                hosts = [value.decode("latin-1") for name, value in event.headers if name == b"host"]
                current = [event.method.decode("latin-1"), event.target.decode("latin-1"), hosts, b""]
            elif isinstance(event, h11.Data):
                current[3] += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                requests.append(current[:3] + [current[3].hex()])
                answer = h11.Response(status_code=200, headers=[("content-length", "0")])
                connection.send(answer)
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE:
                    rest = connection.trailing_data[0]
                    return requests + ([["rest", rest.hex(), [], ""]] if rest else [])
                connection.start_next_cycle()
            elif event is h11.PAUSED or event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                return requests
    except h11.RemoteProtocolError:
        return requests


def with_httptools(data):
    import httptools

    class Reader:
        def __init__(self):
            self.requests, self.target, self.hosts, self.body = [], b"", [], b""

        def on_message_begin(self):
            self.target, self.hosts, self.body = b"", [], b""

        def on_url(self, part):
            self.target += part

        def on_header(self, name, value):
            if name.lower() == b"host":
                self.hosts.append(value.decode("latin-1"))

        def on_body(self, part):
            self.body += part

        def on_message_complete(self):
            method = parser.get_method().decode("latin-1")
            self.requests.append([method, self.target.decode("latin-1"), self.hosts, self.body.hex()])

    reader = Reader()
    parser = httptools.HttpRequestParser(reader)
    try:
        parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        pass
    return reader.requests


def with_http_server(data):
    class Reader(BaseHTTPRequestHandler):
        def __init__(self):
            self.rfile, self.wfile, self.client_address = io.BytesIO(data), io.BytesIO(), ("127.0.0.1", 0)

        def send_error(self, *_):
            raise ValueError("refused")

    reader = Reader()
    reader.raw_requestline = reader.rfile.readline(65537)
    try:
        if not reader.raw_requestline or not reader.parse_request() or not data.count(b"\r\n\r\n"):
            return []
    except ValueError:
        return []
    return [[reader.command, reader.path, reader.headers.get_all("host") or [], None]]


def main():
    recordings = json.load(sys.stdin)
    found = {}
    for name, read in (("h11", with_h11), ("httptools", with_httptools), ("http.server", with_http_server)):
        try:
            found[name] = {each["id"]: read(bytes.fromhex(each["hex"])) for each in recordings}
        except ModuleNotFoundError:
            continue
    json.dump(found, sys.stdout)


main()
