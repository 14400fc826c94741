from yugen import Document, Id, Index
from yugen.auth import User as Base


class User(Base, table="users"):
    pass


class Task(Document, table="tasks"):
    owner: Id[User]
    title: str

    by_owner = Index("owner")
