"""Values through a Python client and back: `roundtrip.py CLIENT URL AUTHOR MODE CASES RESULTS`; see `roundtrip.mjs`."""

import json
import sys
from pathlib import Path
from typing import Any

from convex import ConvexClient
from convex.http_client import ConvexHttpClient
from convex.values import convex_to_json, json_to_convex

from yugen_client import Client
from yugen_client.values import decode, encode

kind, url, author, mode, cases, results = sys.argv[1:]
connect: Any = {"python-official": ConvexClient, "python-http": ConvexHttpClient, "python-own": Client}[kind]
from_json, to_json = (decode, encode) if kind == "python-own" else (json_to_convex, convex_to_json)

client = connect(url)
came = {}
for name, encoded in json.loads(Path(cases).read_text()).items():
    place = {"author": author, "name": name}
    value: Any = from_json(encoded)
    match mode:
        case "keep":
            back = [client.mutation("values:keep", {**place, "value": value}), client.query("values:kept", place)]
        case "read":
            back = [client.query("values:kept", place)]
        case _:
            call = {"value": value}
            back = [client.query("values:wrap", call)[0], client.action("values:wrap_in_action", call)[0]]
    came[name] = [to_json(each) for each in back]
Path(results).write_text(json.dumps(came))
if kind == "python-own":
    client.close()
