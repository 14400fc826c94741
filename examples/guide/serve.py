from yugen import Yugen

app = Yugen("board", limits={"transaction_seconds": 2, "documents_read": 64_000}).asgi()
