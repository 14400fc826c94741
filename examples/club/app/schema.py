from yugen import Document, Id, Index


class Club(Document, table="clubs"):
    name: str


class Membership(Document, table="memberships"):
    club: Id[Club]
    who: str
    role: str = "member"

    by_who = Index("who")
    by_club = Index("club", "who", unique=True)


class Post(Document, table="posts"):
    club: Id[Club]
    author: str
    text: str

    by_club = Index("club")
