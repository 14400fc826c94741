from yugen import Yugen
from yugen.runtime.limits import RunLimits

app = Yugen("board", run_limits=RunLimits(transaction_seconds=2)).asgi()
