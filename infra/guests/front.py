#!/usr/bin/env python3
"""A service in Python that asks another one on behalf of its requests: claims `GET /py-front/{name}`, and answers what
`GET /py/{name}` answers. Needs guest.py beside it, and pynng.

    front.py URL --upstream URL [--listen]     such as front.py tcp://127.0.0.1:5555 --upstream tcp://127.0.0.1:5600
    hello.py tcp://127.0.0.1:5600              the service that it asks dials the second URL
"""
import os, time

import pynng

from guest import REPLY, arguments, serve, unpack


def pass_on(upstream, request):
    correlation = os.urandom(16)
    # The decisions of the edge go with the request, so they hold two hops down. A BUS socket sends
    # to all of its pipes, so only one service at a time may dial this one.
    upstream.send(request.onward("GET", request.path.replace("/py-front/", "/py/", 1), correlation))
    end = time.monotonic() + (request.message.ttl / 1e6 or 1)
    while (left := end - time.monotonic()) > 0:
        upstream.recv_timeout = max(1, int(left * 1000))
        try:
            message = unpack(upstream.recv())
        except pynng.Timeout:
            break
        except ValueError:
            continue
        if (message.kind, message.correlation) == (REPLY, correlation):
            return "application/json", message.body.decode()
    return "application/json", '{"error": "no reply"}'


if __name__ == "__main__":
    parser = arguments()
    parser.add_argument("--upstream", metavar="URL", required=True, help="where the service that is asked dials")
    args = parser.parse_args()
    upstream = pynng.Bus0(send_buffer_size=8192, recv_buffer_size=8192)
    upstream.listen(args.upstream)
    # This service reads no toggle. It announces the toggle of the service behind it, so that the
    # requests carry the decision.
    serve(args, "py-front", "GET /py-front/{name}", lambda request: pass_on(upstream, request), ["shout"])
