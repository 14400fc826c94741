from typing import Annotated, Literal

from pydantic import BaseModel, Field

from yugen import UNSET, Count, Document, Id, Index, Ref, Sum

Role = Literal["member", "admin"]
Status = Literal["open", "done"]
Name = Annotated[str, Field(min_length=1, max_length=40)]
Title = Annotated[str, Field(min_length=1, max_length=200)]


class Person(Document, table="people"):
    token: str  # who that is, in the words of an identity provider
    name: Name
    role: Role = "member"
    email: str | UNSET = UNSET

    by_token = Index("token", unique=True)
    by_email = Index("email", unique=True)


class Project(Document, table="projects"):
    name: Name
    owner: Id[Person] = Ref()
    public: bool = False

    by_owner = Index("owner")


class Estimate(BaseModel):
    hours: float = Field(gt=0)
    by: str | None = None


class Task(Document, table="tasks"):
    project: Id[Project] = Ref("cascade")
    assignee: Id[Person] | None = Ref("set_null")
    title: Title
    status: Status = "open"
    points: int = Field(default=1, ge=0, le=100)
    due: float | None = None
    estimate: Estimate | None = None

    by_project = Index("project", "status", "due")
    by_hours = Index("estimate.hours")
    per_project = Count("project", "status")
    points_by = Sum("points", by=("project", "status"))
