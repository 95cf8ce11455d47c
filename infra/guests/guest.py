"""What a service in Python needs to join the bus: envelopes, and `serve`.

Needs only pynng. Every byte follows bus/PROTOCOL.md, section 2. Copy this file to your service.
"""
import argparse, collections, itertools, os, struct

import pynng

HELLO, REQUEST, REPLY, EVENT, PING, PONG = 0, 1, 2, 3, 6, 7
# The flag of a copy, whose reply is only compared, and that of a traced request.
SHADOW, SAMPLED = 2, 8
# version, kind, flags, ttl, correlation id, status, reserved, head length
HEADER = struct.Struct(">BBHI16sHHI")
# The fields that a request passes on to every request that is sent on behalf of it.
FOLLOWED = (":toggle", ":pin", ":priority", "traceparent", "tracestate", "x-request-id")

Message = collections.namedtuple("Message", "kind flags ttl correlation status fields body")


def pack(kind, fields=(), body=b"", correlation=bytes(16), status=0, flags=0, ttl=0):
    """Encodes a message. `fields` are pairs of strings."""
    fields = [(name.encode(), value.encode()) for name, value in fields]
    head = b"".join(struct.pack(">HH", len(name), len(value)) + name + value for name, value in fields)
    return HEADER.pack(0xB1, kind, flags, ttl, correlation, status, 0, len(head)) + head + body


def unpack(data):
    """Decodes a message; its fields are pairs of strings. Raises ValueError if it is not an envelope."""
    try:
        version, kind, flags, ttl, correlation, status, _, head_len = HEADER.unpack_from(data)
        at, end, fields = HEADER.size, HEADER.size + head_len, []
        if version != 0xB1 or end > len(data):
            raise ValueError("not an envelope")
        while at < end:
            name_len, value_len = struct.unpack_from(">HH", data, at)
            name, value = at + 4, at + 4 + name_len
            at = value + value_len
            fields.append((data[name:value].decode(), data[value:at].decode()))
    except struct.error as error:
        raise ValueError("a truncated envelope") from error
    return Message(kind, flags, ttl, correlation, status, fields, data[end:])


class Request:
    """A received request, and what the edge of the stack has decided for it."""

    def __init__(self, message):
        self.message = message
        self.path = dict(message.fields).get(":path", "/").partition("?")[0]
        # True for a copy, whose answer is only compared: leave out what reaches the outside.
        self.is_shadow = bool(message.flags & SHADOW)
        # The variant of each toggle that is on, None where it has no variants. Decisions precede
        # the headers.
        decided = itertools.takewhile(lambda field: field[0].startswith(":"), message.fields)
        toggles = [value.partition("=") for name, value in decided if name == ":toggle"]
        self.toggles = {name: variant if equals else None for name, equals, variant in reversed(toggles)}

    def toggle(self, name):
        """True when the toggle is on. The service must name it in its hello."""
        return name in self.toggles

    def variant(self, name):
        """The variant of a toggle that is on; None when it has none."""
        return self.toggles.get(name)

    def onward(self, method, path, correlation):
        """A request for `path` on behalf of this one, with its decisions, its trace and the time that it has."""
        fields = [(":method", method), (":path", path)]
        fields += [field for field in self.message.fields if field[0] in FOLLOWED]
        flags = self.message.flags & (SHADOW | SAMPLED)
        return pack(REQUEST, fields, correlation=correlation, flags=flags, ttl=self.message.ttl)


def join(url, listen, hello):
    """Opens a BUS socket that sends `hello` as the first message on every new pipe, also after a reconnect."""
    # nng silently drops messages when a queue is full; its default length is 16.
    bus = pynng.Bus0(send_buffer_size=8192, recv_buffer_size=8192)
    bus.add_post_pipe_connect_cb(lambda pipe: bus.send(hello))
    bus.listen(url) if listen else bus.dial(url, block=False)
    return bus


def arguments():
    """A parser of the arguments that every service has; add others to it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url", metavar="URL", help="tcp://HOST:PORT or ipc:///PATH")
    parser.add_argument("--listen", action="store_true", help="listen at URL rather than dial it")
    return parser


def serve(args, service, route, handle, toggles=()):
    """Serves `route` (such as `GET /py/{name}`) at the URL of the command line, until Ctrl-C.

    `handle(request)` gets a Request, and returns the content type and the body as text. `toggles` are the names of
    those that it reads, and of those that the services read that it asks.
    """
    hello = [("service", service), ("version", "1"), ("instance", f"py-{os.getpid()}"), ("route", route)]
    hello += [("toggle", name) for name in toggles]
    try:
        answer(join(args.url, args.listen, pack(HELLO, hello)), handle)
    except KeyboardInterrupt:
        pass


def answer(bus, handle):
    """Answers requests and pings, one after the other."""
    while True:
        try:
            message = unpack(bus.recv())
        except ValueError:
            continue  # Peers may send anything; a malformed message is ignored.
        if message.kind == PING:
            bus.send(pack(PONG, correlation=message.correlation))
        elif message.kind == REQUEST:
            content_type, body = handle(Request(message))
            # The correlation id returns unchanged; the asker finds its request by it.
            bus.send(pack(REPLY, [("content-type", content_type)], body.encode(), message.correlation, 200))
