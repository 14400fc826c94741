from yugen import Crons

from . import reminders, tasks

crons = Crons()
crons.daily("tidy up", reminders.tidy, hour=4, tz="Europe/Paris", args={"days": 30})
crons.weekly("greet the week", tasks.note, day="monday", hour=8, tz="Europe/Paris", args={"text": "A new week"})
crons.cron("greet the month", "0 8 1 * *", tasks.note, args={"text": "A new month"})
