import yugen.auth
from yugen import Document, Index


class User(yugen.auth.User, table="users"):
    plants_max: int = 10


class Plant(Document, table="plants"):
    owner: str
    name: str

    by_owner = Index("owner")
