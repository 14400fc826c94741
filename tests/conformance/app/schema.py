from yugen import Document, Index


class Message(Document, table="messages"):
    channel: str
    body: str

    by_channel = Index("channel")
