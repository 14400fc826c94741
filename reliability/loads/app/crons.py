"""What happens by the clock."""

from yugen import Crons

from .usage import add_later

crons = Crons()
crons.interval("tick", add_later, seconds=5, args={"topic": "ticks", "number": 1})
