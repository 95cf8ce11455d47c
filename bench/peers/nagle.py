"""How long a request takes whose head and body a client with Nagle's algorithm writes one after the other (docs/adr/0021).

    python3 nagle.py 127.0.0.1:8080 PUT /profiles/1 '{"name":"Ann"}'
"""

import socket
import statistics
import sys
import time

if len(sys.argv) != 5:
    sys.exit(__doc__)
address, method, path, body = sys.argv[1:]
host, port = address.rsplit(":", 1)
head = f"{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(body.encode())}\r\n\r\n"


def ask(connection, pieces):
    """Sends the pieces, reads the response; milliseconds."""
    started = time.perf_counter()
    for piece in pieces:
        connection.sendall(piece.encode())
    response = b""
    while b"\r\n\r\n" not in response:
        response += connection.recv(65536) or sys.exit("the server closed the connection")
    fields, rest = response.split(b"\r\n\r\n", 1)
    lines = dict(line.lower().split(b":", 1) for line in fields.split(b"\r\n")[1:])
    missing = int(lines.get(b"content-length", 0)) - len(rest)
    while missing > 0:
        missing -= len(connection.recv(65536) or sys.exit("the server closed the connection"))
    return (time.perf_counter() - started) * 1e3, fields.split(b" ")[1].decode()


for name, pieces in ("whole", [head + body]), ("in two", [head, body]):
    with socket.create_connection((host, int(port))) as connection:
        taken = [ask(connection, pieces) for _ in range(60)]
    times, statuses = zip(*taken)
    print(f"{name:7} median {statistics.median(times):.2f} ms, longest {max(times):.2f} ms, statuses {sorted(set(statuses))}")
