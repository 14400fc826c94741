"""The bugs: each an exact text of the product, and what it is replaced by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MODEL: Final = "tests/test_consistency.py"
"""A model of an app, and clients over connections that are cut, in one process."""

LISTS: Final = "tests/runtime/test_serializability.py"
"""Concurrent transactions over every store, judged by the checkers."""

HISTORY: Final = "tests/reliability/test_history.py"
"""Real clients of a real server, judged by the checkers."""


@dataclass(frozen=True, slots=True)
class Bug:
    """One bug.

    Attributes:
        name: a word for it.
        what: what would then be so.
        file: where it is, below the root of the repository.
        old: the text of the product; it occurs there once.
        new: what stands there instead.
        held: what it is held against besides the simulation: files of tests, or other machines with their options.
    """

    name: str
    what: str
    file: str
    old: str
    new: str
    held: tuple[str, ...]


BUGS: Final = (
    Bug(
        "lost-invalidation",
        "One commit in seven does not end the answers it changes.",
        "yugen/runtime/queries.py",
        "            if touch is not None or not result.guarded:\n",
        "            if (touch is not None or not result.guarded) and written.ts % 7:\n",
        (MODEL,),
    ),
    Bug(
        "commit-during-run",
        "What is committed while a query runs does not end its answer.",
        "yugen/runtime/queries.py",
        "ending = self._window.first_overlap(outcome.reads, ts, outcome.guarded)",
        "ending = None",
        (MODEL,),
    ),
    Bug(
        "interval-short",
        "A range that was read up to a limit does not hold the last row that was found.",
        "yugen/runtime/transaction.py",
        'end = self._start = rows[-1].key + b"\\x00"\n',
        'self._start = rows[-1].key + b"\\x00"\n                end = rows[-1].key\n',
        (MODEL, LISTS),
    ),
    Bug(
        "empty-range",
        "A range in which nothing was found does not count as read.",
        "yugen/runtime/transaction.py",
        "        self._reads.add(start, end)\n        self._transaction.budget",
        "        if rows:\n            self._reads.add(start, end)\n        self._transaction.budget",
        (MODEL, LISTS),
    ),
    Bug(
        "missing-document",
        "That a document is not there does not count as read.",
        "yugen/runtime/transaction.py",
        "        if key not in self._seen:\n            self.reads.add(*point(key))\n"
        "        self.budget.reads_range()\n",
        "        if key not in self._seen and await self._stored(key):\n            self.reads.add(*point(key))\n"
        "        self.budget.reads_range()\n",
        ("tests/runtime/test_transaction.py",),
    ),
    Bug(
        "early-response",
        "A mutation is answered before its commit.",
        "yugen/runtime/mutations.py",
        "            self._committer.propose(proposal, settled)\n",
        "            settled(run.ts + 1)\n            self._committer.propose(proposal, lambda _: None)\n",
        (MODEL, HISTORY),
    ),
    Bug(
        "no-record",
        "That a request was carried out is not recorded.",
        "yugen/runtime/mutations.py",
        "        if call.request is not None and not failed:\n            assert",
        "        if call.request is not None and not failed and call.repeated:\n            assert",
        (MODEL, HISTORY),
    ),
    Bug(
        "resent-runs-again",
        "A request that is sent again over another connection is taken for another one.",
        "yugen/server/connection.py",
        "Request(connect.session_id, work.request_id) if connect",
        'Request(f"{connect.session_id} {connect.connection_count}", work.request_id) if connect',
        (MODEL, HISTORY),
    ),
    Bug(
        "request-of-another",
        "A request number that was used before is answered whatever the call is.",
        "yugen/runtime/mutations.py",
        "if record.digest != call.digest:",
        "if not record.digest:",
        ("tests/runtime/test_runtime.py", "tests/server/test_identities.py"),
    ),
    Bug(
        "recent-forgotten",
        "A store that is opened again does not look at the tail of its requests.",
        "yugen/storage/sqlite_requests.py",
        "    SELECT max(coalesce((SELECT max(request) FROM recent_requests WHERE session = ?1), -1),\n",
        "    SELECT max(-1,\n",
        ("tests/storage/test_store.py", MODEL, HISTORY),
    ),
    Bug(
        "timestamps-stand",
        "Two commits in one nanosecond have one timestamp.",
        "yugen/runtime/commit.py",
        "newest = max(newest + 1, self._clock())",
        "newest = max(newest, self._clock() // 10**9 * 10**9)",
        (MODEL, "tests/runtime/test_commit.py"),
    ),
    Bug(
        "points-only",
        "Ranges that were read are not held against what others wrote.",
        "yugen/runtime/commit.py",
        "            if written.touches(reads, guarded):\n",
        '            if written.touches([each for each in reads if each[1] == each[0] + b"\\0"], ()):\n',
        (LISTS,),
    ),
    Bug(
        "batch-unseen",
        "A transaction is not held against the others of its batch.",
        "yugen/runtime/commit.py",
        "        if line is None or not self._lines <= {line}:\n",
        "        if False:\n",
        (LISTS, MODEL),
    ),
    Bug(
        "failure-acknowledged",
        "A commit that the store refused is told to its owner as done.",
        "yugen/runtime/commit.py",
        "                _revoke(waiting.proposal)\n                waiting.settle(error)\n            return\n",
        "                _revoke(waiting.proposal)\n                waiting.settle(self._newest)\n            return\n",
        ("tests/runtime/test_commit.py",),
    ),
    Bug(
        "newest-snapshot",
        "A reader who asks for a timestamp gets what is newest.",
        "yugen/storage/sqlite_view.py",
        "        if ts == self.newest:\n            return None\n",
        "        if ts <= self.newest:\n            return None\n",
        ("tests/storage/test_store.py", MODEL),
    ),
    Bug(
        "undone-too-little",
        "Whoever asks for an earlier moment sees what the one before them saw of the first commit after it.",
        "yugen/storage/sqlite_undo.py",
        "while self._changes and self._changes[0][0] <= ts:",
        "while self._changes and self._changes[0][0] < ts:",
        ("tests/storage/test_sqlite_undo.py",),
    ),
    Bug(
        "stretch-skipped",
        "Of many commits that are looked at together, only what is read without a guard counts.",
        "yugen/runtime/writes.py",
        "return overlap(reads, keys) is not None or any(overlap((interval,), keys) for interval, _ in guarded)",
        "return overlap(reads, keys) is not None",
        ("tests/runtime/test_writes.py",),
    ),
    Bug(
        "deletes-not-laid",
        "What a transaction has deleted is still in the ranges it reads.",
        "yugen/storage/overlay.py",
        "kept = [row for row in page if documents + internal_of(row.key) not in self._documents]",
        "kept = [\n                row\n                for row in page\n"
        "                if not (laid := self._documents.get(documents + internal_of(row.key))) or laid.value is None\n"
        "            ]",
        ("tests/storage/test_overlay.py", MODEL),
    ),
    Bug(
        "trim-too-far",
        "More of the log is deleted than the horizon says.",
        "yugen/storage/sqlite_log.py",
        "FROM log WHERE ts <= (SELECT ts FROM horizon) ORDER BY",
        "FROM log WHERE ts <= (SELECT max(ts) FROM log) ORDER BY",
        ("tests/storage/test_store.py",),
    ),
    Bug(
        "no-sync",
        "A commit does not wait for the disk.",
        "yugen/storage/sqlite_writer.py",
        '.pragma("synchronous", "full")',
        '.pragma("synchronous", "off")',
        ("disk images --images 100",),
    ),
    Bug(
        "log-trusted",
        "A start takes the log for written that is read, also after a sync that failed.",
        "yugen/storage/sqlite_writer.py",
        "            sqlite_wal.write_again(connection, self._path)\n",
        "",
        ("disk syncs --images 200",),
    ),
    Bug(
        "deaf-when-forgone",
        "Who has no room for an answer does not hear of its end.",
        "yugen/runtime/queries.py",
        "                self._index.add(slot, slot.result.intervals)\n        lives",
        "                pass\n        lives",
        ("tests/runtime/test_queries.py", "tests/server/test_subscriptions.py"),
    ),
    Bug(
        "totals-not-merged",
        "Keys that have come are not worked into the totals.",
        "yugen/storage/sqlite_totals.py",
        "for key, counted, is_there in rows if counted != is_there or _height(key) > 0}",
        "for key, counted, is_there in rows if counted > is_there or _height(key) > 0}",
        ("tests/storage/test_sqlite_totals.py", "tests/storage/test_store.py"),
    ),
    Bug(
        "removed-unguarded",
        "A condition of a reader is not asked about what a document was before.",
        "yugen/guards.py",
        "return _seen(guard, interval, before) != _seen(guard, interval, after)",
        "return _seen(guard, interval, after) is not None",
        (MODEL, "tests/test_guards.py"),
    ),
    Bug(
        "ranges-unindexed",
        "Readers of a range do not hear of writes to the key it begins with.",
        "yugen/runtime/interval_index.py",
        "        if key < node.start:\n",
        "        if key <= node.start:\n",
        ("tests/runtime/test_interval_index.py",),
    ),
    Bug(
        "cron-twice",
        "The next run of a cron is scheduled twice.",
        "yugen/system/scheduler.py",
        "        await _schedule_cron(ctx, name, time)\n        if missed:",
        "        for _ in range(2):\n            await _schedule_cron(ctx, name, time)\n        if missed:",
        ("tests/runtime/test_scheduler.py", "tests/test_scheduled.py"),
    ),
    Bug(
        "cancelled-runs",
        "A scheduled mutation does not look whether it still is to run.",
        "yugen/system/scheduler.py",
        '    if row is None or row["state"]["kind"] != "pending":\n        raise NotPending\n',
        "    if row is None:\n        raise NotPending\n",
        ("tests/runtime/test_scheduler.py",),
    ),
    Bug(
        "action-twice",
        "An action that has begun may begin again.",
        "yugen/system/scheduler.py",
        '    if row is None or row["state"]["kind"] != "pending":\n        return False\n',
        '    if row is None or row["state"]["kind"] == "success":\n        return False\n',
        ("tests/runtime/test_scheduler.py", "tests/test_crashes.py"),
    ),
    Bug(
        "two-moments",
        "Who waits for a query that runs already gets its answer, of whatever moment that is.",
        "yugen/runtime/queries.py",
        "elif (result := task.result()).is_for(caller) and result.holds_at(ts):",
        "elif (result := task.result()).is_for(caller):",
        (MODEL, "tests/runtime/test_queries.py"),
    ),
    Bug(
        "update-torn",
        "What is asked for an update later than the rest is of the newest timestamp, and not of the update's.",
        "yugen/server/subscriptions.py",
        "self._of._queries[query.query_id].ask(self.update.ts,",
        "self._of._queries[query.query_id].ask(self._of._runtime.ts,",
        ("tests/server/test_subscriptions.py",),
    ),
    Bug(
        "journal-ignored",
        "A page does not keep the end that it had.",
        "yugen/server/subscriptions.py",
        "if answer.journal == key.journal:",
        "if answer is not None:",
        ("tests/server/test_connection.py", "tests/test_model.py"),
    ),
    Bug(
        "token-swap",
        "Results of one user are left to the next.",
        "yugen/sync/session.py",
        "            self._caller = caller\n            self._stale = dict.fromkeys(self._queries)\n",
        "            self._caller = caller\n",
        ("tests/sync/test_session.py", "tests/server/test_connection.py"),
    ),
    Bug(
        "result-left-out",
        "A result is sent once, and not when it has changed.",
        "yugen/sync/session.py",
        "            if answer != before:\n",
        "            if before is None:\n",
        (MODEL,),
    ),
    Bug(
        "chunk-order",
        "The parts of a large Transition come in another order.",
        "yugen/sync/messages.py",
        "        for number, part in enumerate(parts)\n    ]\n",
        "        for number, part in reversed([*enumerate(parts)])\n    ]\n",
        ("tests/sync/test_messages.py", "tests/sync/test_session.py"),
    ),
    Bug(
        "lagging-node",
        "A node answers from what it knows, and does not ask whether others have acknowledged more.",
        "yugen/server/connection.py",
        "        if self._acknowledged > self._runtime.ts:\n",
        "        if False:\n",
        ("tests/server/test_nodes.py", "tests/test_nodes.py"),
    ),
    Bug(
        "bell-unrung",
        "Other nodes do not hear of a commit.",
        "yugen/storage/sqlite_nodes.py",
        "            self._board.ring(but=self._node)\n",
        "            pass\n",
        ("tests/storage/test_sqlite_nodes.py", "tests/runtime/test_nodes.py"),
    ),
)
