"""The raw limits: the same server stack doing the same input and output with nothing of Yugen in it.

Run as `python -m benchmarks.peers PORT FOLDER`.
"""

import sys
from pathlib import Path

import apsw
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

listeners: set[WebSocket] = set()
database = apsw.Connection(str(Path(sys.argv[2]) / "peer.sqlite3"))
database.pragma("journal_mode", "wal")
database.pragma("synchronous", 2)
database.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, topic TEXT, body TEXT)")
database.execute("CREATE INDEX by_topic ON notes (topic)")


async def echo(websocket: WebSocket) -> None:
    """Sends back what comes: the round trip of the transport alone."""
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        pass


async def insert(websocket: WebSocket) -> None:
    """Stores what comes in one durable insert on the event loop, then sends it back."""
    await websocket.accept()
    try:
        while True:
            text = await websocket.receive_text()
            database.execute("INSERT INTO notes (topic, body) VALUES ('a', ?)", (text,))
            await websocket.send_text(text)
    except WebSocketDisconnect:
        pass


async def broadcast(websocket: WebSocket) -> None:
    """Sends what comes to everyone who listens here."""
    await websocket.accept()
    listeners.add(websocket)
    try:
        while True:
            text = await websocket.receive_text()
            for listener in listeners:
                await listener.send_text(text)
    except WebSocketDisconnect:
        listeners.discard(websocket)


app = Starlette(
    routes=[WebSocketRoute("/echo", echo), WebSocketRoute("/insert", insert), WebSocketRoute("/broadcast", broadcast)]
)

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="error", ws="websockets-sansio", loop="uvloop")
