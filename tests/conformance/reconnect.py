"""Numbered mutations by the official Python client until the server has been killed and is back, and ten more.

A process of its own: while it waits for an answer, this client lets no other thread run.
"""

import json
import sys
from pathlib import Path

from convex import ConvexClient


def report(**event: object) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


url, restarted = sys.argv[1], Path(sys.argv[2])
client = ConvexClient(url)
subscription = client.subscribe("messages:list", {"channel": "reconnect"})
report(first=next(subscription))

number = more = 0
while more < 10:
    try:
        client.mutation("messages:send", {"channel": "reconnect", "body": str(number)})
    except Exception as error:
        # A call at the very moment at which the connection ends is lost in the client.
        if str(error) != "channel closed":
            raise
        continue
    report(acknowledged=number)
    number += 1
    more += restarted.exists()

for bodies in subscription:
    assert isinstance(bodies, list)
    if str(number - 1) in bodies:
        report(final=bodies)
        break
