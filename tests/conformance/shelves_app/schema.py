from yugen import Document, Index


class Book(Document, table="books"):
    shelf: str
    position: float
    title: str

    by_position = Index("shelf", "position")
