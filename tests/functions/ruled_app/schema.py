"""Notes of teams, which their members see, and some of which everybody does."""

from yugen import Count, Document, Id, Index, Ref


class Team(Document, table="teams"):
    name: str


class Member(Document, table="members"):
    team: Id[Team]
    who: str
    role: str = "member"

    by_who = Index("who")
    by_team = Index("team", "who")


class Note(Document, table="notes"):
    team: Id[Team]
    text: str
    rank: float = 0
    public: bool = False

    by_team = Index("team")
    by_rank = Count("rank")


class Comment(Document, table="comments"):
    note: Id[Note] = Ref(on_delete="cascade")
    text: str


class Pin(Document, table="pins"):
    note: Id[Note] = Ref(on_delete="restrict")
    team: Id[Team]


class Secret(Document, table="secrets"):
    text: str
