from yugen import Document, Index


class Entry(Document, table="entries"):
    owner: str
    text: str

    by_owner = Index("owner")
