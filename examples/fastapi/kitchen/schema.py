from yugen import Document, Index


class Order(Document, table="orders"):
    dish: str
    seat: int
    done: bool = False

    by_done = Index("done")
