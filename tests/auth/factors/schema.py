"""What belongs to somebody."""

from yugen import Document, Index


class Task(Document, table="tasks"):
    owner: str
    title: str

    by_owner = Index("owner")
