"""The official Python client counts over a connection that is cut again and again.

A process of its own: while it waits for an answer, this client lets no other thread run.
"""

import json
import sys
from typing import Any

from convex import ConvexClient

url, bumps = sys.argv[1], int(sys.argv[2])
counter = {"team": "rust", "name": "0"}
client: Any = ConvexClient(url)
subscription = client.subscribe("counters:count", counter)

counts: list[float] = []
while len(counts) < bumps:
    try:
        counts.append(client.mutation("counters:bump", counter))
    except Exception as error:
        # A call at the very moment at which the connection ends is lost in the client.
        if str(error) != "channel closed":
            raise
seen = [next(subscription)]
while seen[-1] != counts[-1]:
    seen.append(next(subscription))
sys.stdout.write(json.dumps({"counts": counts, "seen": seen}) + "\n")
