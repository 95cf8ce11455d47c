"""What a service in Python needs to join the bus: envelopes, and `serve`.

Needs only pynng. Every byte follows bus/PROTOCOL.md, section 2. Copy this file to your service.
"""
import argparse, os, struct

import pynng

HELLO, REQUEST, REPLY, EVENT, PING, PONG = 0, 1, 2, 3, 6, 7
# version, kind, flags, ttl, correlation id, status, reserved, head length
HEADER = struct.Struct(">BBHI16sHHI")


def pack(kind, fields=(), body=b"", correlation=bytes(16), status=0):
    """Encodes a message. `fields` are pairs of strings."""
    fields = [(name.encode(), value.encode()) for name, value in fields]
    head = b"".join(struct.pack(">HH", len(name), len(value)) + name + value for name, value in fields)
    return HEADER.pack(0xB1, kind, 0, 0, correlation, status, 0, len(head)) + head + body


def unpack(data):
    """Decodes a message: its kind, correlation id and fields. Raises ValueError if it is not an envelope."""
    try:
        version, kind, _flags, _ttl, correlation, _status, _, head_len = HEADER.unpack_from(data)
        at, end, fields = HEADER.size, HEADER.size + head_len, {}
        if version != 0xB1 or end > len(data):
            raise ValueError("not an envelope")
        while at < end:
            name_len, value_len = struct.unpack_from(">HH", data, at)
            name, value = at + 4, at + 4 + name_len
            at = value + value_len
            fields[data[name:value].decode()] = data[value:at].decode()
    except struct.error as error:
        raise ValueError("a truncated envelope") from error
    return kind, correlation, fields


def join(url, listen, hello):
    """Opens a BUS socket that sends `hello` as the first message on every new pipe, also after a reconnect."""
    # nng silently drops messages when a queue is full; its default length is 16.
    bus = pynng.Bus0(send_buffer_size=8192, recv_buffer_size=8192)
    bus.add_post_pipe_connect_cb(lambda pipe: bus.send(hello))
    bus.listen(url) if listen else bus.dial(url, block=False)
    return bus


def serve(service, route, handle):
    """Serves `route` (such as `GET /py/{name}`) at the URL of the command line, until Ctrl-C.

    `handle(path)` gets the path without its query, and returns the content type and the body as text.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("url", metavar="URL", help="tcp://HOST:PORT or ipc:///PATH")
    parser.add_argument("--listen", action="store_true", help="listen at URL rather than dial it")
    args = parser.parse_args()
    hello = [("service", service), ("version", "1"), ("instance", f"py-{os.getpid()}"), ("route", route)]
    try:
        answer(join(args.url, args.listen, pack(HELLO, hello)), handle)
    except KeyboardInterrupt:
        pass


def answer(bus, handle):
    """Answers requests and pings, one after the other."""
    while True:
        try:
            kind, correlation, fields = unpack(bus.recv())
        except ValueError:
            continue  # Peers may send anything; a malformed message is ignored.
        if kind == PING:
            bus.send(pack(PONG, correlation=correlation))
        elif kind == REQUEST:
            content_type, body = handle(fields.get(":path", "/").partition("?")[0])
            # The correlation id returns unchanged; the asker finds its request by it.
            bus.send(pack(REPLY, [("content-type", content_type)], body.encode(), correlation, 200))
