"""An HTTP receiver as forwarding meets them: takes events, answers some with errors, drops some connections."""

import collections
import http.server
import json
import random
import threading


class Receiver:
    """Listens on a free port of this machine. `answer(event) -> status` may be replaced; 0 drops the connection."""

    def __init__(self, seed=0, trouble=0.0):
        self.events = []  # every event that was answered with 2xx, in order
        self.counts = collections.Counter()  # by id, of these
        self.requests = 0
        self.content_types = set()
        self.faults = []
        self._random = random.Random(seed)
        self._trouble = trouble
        self._lock = threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver._take(self.headers["Content-Type"], body)
                if status == 0:
                    self.close_connection = True
                    return
                self.send_response(status)
                body = b"" if status == 204 else b"ok" if status < 300 else b"no"
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):  # where a POST must not end up by following a redirect
                receiver.faults.append(f"GET {self.path}")
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, client_address):
                pass  # a sender that is killed leaves a broken connection

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/events"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, event):
        """The status for one event."""
        luck = self._random.random()
        if luck >= self._trouble:
            return 204 if luck > 0.9 else 200
        return self._random.choice((0, 500, 503, 429))

    def _take(self, content_type, body):
        with self._lock:
            self.requests += 1
            self.content_types.add(content_type)
            event = json.loads(body)
            status = self.answer(event)
            if 200 <= status < 300:
                self.events.append(event)
                self.counts[event["id"]] += 1
            return status
