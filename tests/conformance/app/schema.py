from yugen import Document, Index


class Message(Document, table="messages"):
    channel: str
    body: str

    by_channel = Index("channel")


class Counter(Document, table="counters"):
    team: str
    name: str
    count: int

    by_name = Index("team", "name", unique=True)
