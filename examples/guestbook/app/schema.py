from yugen import Document


class Entry(Document, table="entries"):
    name: str
    text: str
