"""`python httpx_sse_reader.py URL`: writes the data of every message, one per line."""

from __future__ import annotations

import sys
import time

import httpx
from httpx_sse import connect_sse


def read(url: str) -> None:
    """Read to the end of the run, reconnecting as often as needed."""
    cursor, retry_s = "", 1.0
    with httpx.Client(timeout=120, trust_env=False) as client:
        while True:
            headers = {"Last-Event-ID": cursor} if cursor else {}
            try:
                with connect_sse(client, "GET", url, headers=headers) as source:
                    # It raises on any response that is not an event stream, so check the status first.
                    if source.response.status_code == httpx.codes.NO_CONTENT:
                        return
                    for message in source.iter_sse():
                        sys.stdout.write(f"{message.data}\n")
                        cursor = message.id or cursor
                        retry_s = retry_s if message.retry is None else message.retry / 1000
            except httpx.TransportError:
                pass
            time.sleep(retry_s)


read(sys.argv[1])
