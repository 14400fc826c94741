"""What belongs to somebody."""

from yugen import Document, Index


class Note(Document, table="notes"):
    owner: str
    text: str

    by_owner = Index("owner")


class Told(Document, table="told"):
    """What the app was told of its users."""

    event: str
    user: str
