#!/usr/bin/env python3
"""A service in Python: joins the bus, claims `GET /py/{name}` and answers JSON.

    hello.py URL [--listen]      e.g. hello.py tcp://127.0.0.1:5555
                                      hello.py ipc:///tmp/hello.ipc --listen

Needs pynng alone. Every byte is from bus/PROTOCOL.md, section 2; copy this file to start a service of your own.
"""
import json, os, struct, sys

import pynng

HELLO, REQUEST, REPLY, PING, PONG = 0, 1, 2, 6, 7
# version, kind, flags, ttl, correlation id, status, reserved, head length
HEADER = struct.Struct(">BBHI16sHHI")


def pack(kind, fields=(), body=b"", correlation=bytes(16), status=0):
    head = b"".join(struct.pack(">HH", len(n), len(v)) + n.encode() + v.encode() for n, v in fields)
    return HEADER.pack(0xB1, kind, 0, 0, correlation, status, 0, len(head)) + head + body


def unpack(data):
    version, kind, _flags, _ttl, correlation, _status, _, head_len = HEADER.unpack_from(data)
    at, end, fields = HEADER.size, HEADER.size + head_len, {}
    if version != 0xB1 or end > len(data):
        raise ValueError("not an envelope")
    while at < end:
        name_len, value_len = struct.unpack_from(">HH", data, at)
        name, value = at + 4, at + 4 + name_len
        at = value + value_len
        fields[data[name:value].decode()] = data[value:at].decode()
    return kind, correlation, fields


def main(url, listen):
    hello = pack(HELLO, [("service", "py-hello"), ("version", "1"), ("instance", f"py-{os.getpid()}"),
                         ("route", "GET /py/{name}")])
    # nng silently drops messages when a queue is full; its default length is 16.
    with pynng.Bus0(send_buffer_size=8192, recv_buffer_size=8192) as bus:
        # A hello is the first message on every new pipe, also after a reconnect.
        bus.add_post_pipe_connect_cb(lambda pipe: bus.send(hello))
        bus.listen(url) if listen else bus.dial(url, block=False)
        while True:
            try:
                kind, correlation, fields = unpack(bus.recv())
            except (ValueError, struct.error):
                continue  # Peers may send anything; a malformed message is ignored.
            if kind == PING:
                bus.send(pack(PONG, correlation=correlation))
            elif kind == REQUEST:
                name = fields[":path"].partition("?")[0].rpartition("/")[2]
                body = json.dumps({"hello": name, "pid": os.getpid()}).encode()
                # The correlation id returns unchanged; the asker finds its request by it.
                bus.send(pack(REPLY, [("content-type", "application/json")], body, correlation, 200))


if __name__ == "__main__":
    args = [arg for arg in sys.argv[1:] if arg != "--listen"]
    if len(args) != 1:
        sys.exit(__doc__)
    try:
        main(args[0], "--listen" in sys.argv)
    except KeyboardInterrupt:
        pass
