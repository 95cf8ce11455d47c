#!/usr/bin/env python3
"""Events in Python: waits for a topic's events and prints them, or publishes one.

    events.py URL TOPIC [--listen]           prints every event of TOPIC, one JSON line each
    events.py URL TOPIC --say TEXT           publishes TEXT once and exits

Both ping first and print the round trip. Needs guest.py beside it, and pynng.
"""
import argparse, json, os, time

import pynng

from guest import EVENT, HELLO, PING, PONG, join, pack, unpack


def ping(bus):
    """Pings until a pong arrives, because messages are lost before there is a pipe. Prints events that arrive."""
    bus.recv_timeout = 500
    while True:
        correlation, start = os.urandom(16), time.monotonic()
        bus.send(pack(PING, correlation=correlation))
        try:
            while receive(bus) != (PONG, correlation):
                pass
        except pynng.Timeout:
            continue
        bus.recv_timeout = -1
        return time.monotonic() - start


def receive(bus):
    """Handles one message: prints an event, answers a ping; returns its kind and correlation id."""
    try:
        message = unpack(bus.recv())
    except ValueError:
        return None, None  # Not an envelope; peers may send anything.
    if message.kind == EVENT:
        fields = dict(message.fields)
        print(json.dumps({"topic": fields[":topic"], "fields": fields, "body": message.body.decode()}), flush=True)
    elif message.kind == PING:
        bus.send(pack(PONG, correlation=message.correlation))
    return message.kind, message.correlation


def main(args):
    hello = [("service", "py-events"), ("version", "1"), ("instance", f"py-{os.getpid()}")]
    if not args.say:
        hello.append(("topic", args.topic))  # The events of this topic are sent to this peer.
    with join(args.url, args.listen, pack(HELLO, hello)) as bus:
        print(f"pong after {ping(bus) * 1000:.3f} ms", flush=True)
        if args.say:
            bus.send(pack(EVENT, [(":topic", args.topic)], args.say.encode()))
            # BUS does not guarantee delivery, but a pipe keeps its order: the next pong shows that the event arrived.
            print(f"carried after {ping(bus) * 1000:.3f} ms", flush=True)
        else:
            while True:
                receive(bus)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", metavar="URL")
    parser.add_argument("topic", metavar="TOPIC")
    parser.add_argument("--say", metavar="TEXT", help="publish TEXT once and exit")
    parser.add_argument("--listen", action="store_true", help="listen at URL rather than dial it")
    try:
        main(parser.parse_args())
    except KeyboardInterrupt:
        pass
