#!/usr/bin/env python3
"""A service in Python: claims `GET /py/{name}` and answers JSON. Needs guest.py beside it, and pynng.

    hello.py URL [--listen]      such as hello.py tcp://127.0.0.1:5555
"""
import json, os

from guest import serve


def greet(path):
    name = path.rpartition("/")[2]
    return "application/json", json.dumps({"hello": name, "pid": os.getpid()})


if __name__ == "__main__":
    serve("py-hello", "GET /py/{name}", greet)
