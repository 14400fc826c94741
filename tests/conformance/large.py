"""Results of many megabytes for the official Python client, which come in one Transition.

A process of its own: while it waits for an answer, this client lets no other thread run.
"""

import json
import sys
from typing import Any

from convex import ConvexClient

client: Any = ConvexClient(sys.argv[1])
channel = {"channel": "python"}

long = [client.subscribe("odd:long", {**channel, "letter": letter, "mebibytes": 9}) for letter in "abc"]
first = [next(each)[:2] for each in long]
try:
    too_large = next(client.subscribe("odd:long", {**channel, "letter": "d", "mebibytes": 15.5}))[:2]
except Exception as error:
    too_large = str(error)
client.mutation("odd:bump", channel)
lengths = [next(len(result) for result in each if result.startswith("1")) for each in long]
sys.stdout.write(json.dumps({"first": first, "too large": too_large, "lengths": lengths}) + "\n")
