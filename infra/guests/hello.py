#!/usr/bin/env python3
"""A service in Python: claims `GET /py/{name}` and answers JSON. Needs guest.py beside it, and pynng.

    hello.py URL [--listen]      such as hello.py tcp://127.0.0.1:5555
"""
import json, os

from guest import arguments, serve


def greet(request):
    name = request.path.rpartition("/")[2]
    if request.toggle("shout"):
        name = name.upper() + (request.variant("shout") or "")
    if not request.is_shadow:
        print(f"greeted {name}", flush=True)  # A copy must have no effect outside.
    return "application/json", json.dumps({"hello": name, "pid": os.getpid()})


if __name__ == "__main__":
    serve(arguments().parse_args(), "py-hello", "GET /py/{name}", greet, toggles=["shout"])
