from yugen import Document, Id, Index
from yugen.auth import User as AuthUser


class User(AuthUser, table="users"):
    """Whoever has an account; add fields of your own."""


class Note(Document, table="notes"):
    owner: Id[User]
    text: str

    by_owner = Index("owner")
