from yugen import Document


class Task(Document, table="tasks"):
    text: str
    done: bool = False
