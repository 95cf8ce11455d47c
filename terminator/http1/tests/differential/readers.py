"""Gives the same bytes to other readers of HTTP/1.1: llhttp (httptools), h11, nginx and haproxy.

    readers.py WORK_DIRECTORY <inputs >verdicts

Each input is a line `NAME HEX`. Each verdict is a line `READER NAME ACCEPTED REFUSED`: how many requests were read whole, and
whether a refusal (or the end of the input within a request) came behind them. A reader that is missing is `MISSING READER`, and
its release is `VERSION READER RELEASE`. Proxies stand in front of a server that answers everything; loopback only.
"""

import concurrent.futures
import pathlib
import re
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time

PATIENCE = 10


def llhttp(data):
    import httptools

    class Seen:
        count, within, over = 0, False, False

        def on_message_begin(self):
            self.within = True

        def on_message_complete(self):
            if not self.over:
                self.count += 1
                self.within = False
                self.over = not parser.should_keep_alive()

    seen = Seen()
    parser = httptools.HttpRequestParser(seen)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade as upgrade:
        # What follows is another protocol's to llhttp, and a further request to those who answer without an upgrade.
        rest = data[upgrade.args[0]:]
        if rest and not seen.over:
            count, refused = llhttp(rest)
            return seen.count + count, refused
    except httptools.HttpParserError:
        return seen.count, not seen.over
    return seen.count, seen.within and not seen.over


def h11_(data):
    import h11

    connection, count = h11.Connection(h11.SERVER, max_incomplete_event_size=32768), 0
    try:
        connection.receive_data(data)
        connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if isinstance(event, h11.ConnectionClosed) or event in (h11.NEED_DATA, h11.PAUSED):
                return count, False
            if isinstance(event, h11.EndOfMessage):
                count += 1
                connection.send(h11.Response(status_code=404, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return count, False
                connection.start_next_cycle()
    except h11.RemoteProtocolError:
        return count, True


SENTINEL = b"GET /sentinel HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


class Echo(socketserver.StreamRequestHandler):
    """Reads what a proxy sends, which is well-formed, and answers what came whole."""

    def handle(self):
        try:
            self.answer()
        except (OSError, ValueError, OverflowError):
            pass

    def lines(self):
        lines = []
        while (line := self.rfile.readline()) != b"\r\n":
            if not line:
                raise ValueError("cut off")
            lines.append(line)
        return lines

    def body(self, length):
        if len(self.rfile.read(length)) < length:
            raise ValueError("cut off")

    def answer(self):
        first, *lines = self.lines()
        fields = dict(line.lower().split(b":", 1) for line in lines if b":" in line)
        if b"chunked" in fields.get(b"transfer-encoding", b""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                self.body(size + 2)
            self.lines()
        else:
            self.body(int(fields.get(b"content-length", b"0")))
        name = b"x-sentinel" if b"/sentinel" in first else b"x-echo"
        self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n" + name + b": 1\r\n\r\n")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def nginx(work, port, upstream):
    config = f"""
        daemon off; master_process off; pid {work}/nginx.pid; error_log {work}/nginx.log;
        events {{}}
        http {{ access_log off; client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/f;
               uwsgi_temp_path {work}/u; scgi_temp_path {work}/s; large_client_header_buffers 4 32k;
               server {{ listen 127.0.0.1:{port}; keepalive_requests 1000; lingering_close off;
                        location / {{ proxy_pass http://127.0.0.1:{upstream}; proxy_ignore_client_abort on; }} }} }}"""
    (work / "nginx.conf").write_text(config)
    return ["nginx", "-c", f"{work}/nginx.conf", "-e", f"{work}/nginx.log"]


def haproxy(work, port, upstream):
    config = f"""
global
    tune.bufsize 40000
defaults
    mode http
    timeout client 5s
    timeout server 5s
    timeout connect 5s
frontend f
    bind 127.0.0.1:{port}
    default_backend b
backend b
    server s 127.0.0.1:{upstream}
"""
    (work / "haproxy.cfg").write_text(config)
    return ["haproxy", "-db", "-q", "-f", f"{work}/haproxy.cfg"]


def through(port, data):
    """Sends, and a request behind it that closes the connection: a proxy that waits for more gets the end of the input."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.settimeout(2)
        out = b""
        try:
            client.sendall(data + SENTINEL)
            while part := client.recv(65536):
                out += part
        except OSError:
            pass
    heads = re.findall(rb"HTTP/1\.[01] (\d\d\d)(.*?)\r\n\r\n", out, re.DOTALL)
    statuses = [int(status) for status, fields in heads if status != b"100" and b"x-sentinel" not in fields.lower()]
    return sum(status < 400 for status in statuses), any(status >= 400 for status in statuses)


def proxied(name, command, work, inputs):
    # A connection that finds no room waits a second.
    socketserver.ThreadingTCPServer.request_queue_size = 128
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = free_port()
    child = subprocess.Popen(command(work, port, server.server_address[1]), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if child.poll() is not None or time.monotonic() > end:
                    print("MISSING", name)
                    return
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            verdicts = pool.map(lambda item: through(port, item[1]), inputs)
            for (case, _), (count, refused) in zip(inputs, verdicts):
                print(name, case, count, int(refused))
    finally:
        child.kill()
        child.wait()
        server.shutdown()


def main():
    work = pathlib.Path(sys.argv[1])
    inputs = [(name, bytes.fromhex(data)) for name, _, data in (line.strip().partition(" ") for line in sys.stdin)]
    for name, module, read in (("llhttp", "httptools", llhttp), ("h11", "h11", h11_)):
        try:
            print("VERSION", name, __import__(module).__version__)
        except ImportError:
            print("MISSING", name)
            continue
        for case, data in inputs:
            count, refused = read(data)
            print(name, case, count, int(bool(refused)))
    for name, command in (("nginx", nginx), ("haproxy", haproxy)):
        if shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"):
            proxied(name, command, work, inputs)
        else:
            print("MISSING", name)


main()
