from typing import Literal

from yugen import Document, Id


class Picture(Document, table="pictures"):
    file: Id[Literal["_storage"]]
    title: str
