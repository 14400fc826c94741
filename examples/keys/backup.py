"""Prints the tasks of whoever has made the key, and again when they change: TASKS_KEY=yk_... python backup.py."""

import os

from yugen_client import Client

client = Client(os.environ.get("YUGEN_URL", "http://127.0.0.1:3210"), auth=os.environ["TASKS_KEY"])
for tasks in client.subscribe("tasks:list"):
    print([task["title"] for task in tasks], flush=True)
