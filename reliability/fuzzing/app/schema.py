"""What is stored."""

from yugen import Document, Index


class Note(Document, table="notes"):
    """A note."""

    topic: str
    text: str
    number: float = 0

    by_topic = Index("topic", "number")
