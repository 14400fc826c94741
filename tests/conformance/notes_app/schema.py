from yugen import Document, Index


class Note(Document, table="notes"):
    owner: str | None
    text: str

    by_owner = Index("owner")
