"""The official Python client counts over a connection that is cut again and again.

A process of its own: while it waits for an answer, this client lets no other thread run.
"""

import json
import sys

from convex import ConvexClient

url, bumps = sys.argv[1], int(sys.argv[2])
counter = {"team": "rust", "name": "0"}
client = ConvexClient(url)
subscription = client.subscribe("counters:count", counter)

counts = [client.mutation("counters:bump", counter) for _ in range(bumps)]
seen = [next(subscription)]
while seen[-1] != counts[-1]:
    seen.append(next(subscription))
sys.stdout.write(json.dumps({"counts": counts, "seen": seen}) + "\n")
