from yugen import Document, Id, Index


class Channel(Document, table="channels"):
    name: str
    topic: str = ""

    by_name = Index("name", unique=True)


class Person(Document, table="people"):
    name: str
    color: int  # a hue, 0 to 359

    by_name = Index("name", unique=True)


class Message(Document, table="messages"):
    channel: Id[Channel]
    author: Id[Person]
    body: str

    by_channel = Index("channel")
