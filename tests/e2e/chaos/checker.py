"""Finds anomalies in a history. Each has a name, and each name has a hand-made history that shows it (test_checker.py).

lost                 an acknowledged record is in no replica's log, or not in the longest
moved                an acknowledged record lies at another offset than the one acknowledged
duplicate            a record of an idempotent producer lies at two offsets, and its client did not write it again in a new
                     epoch
refused              a batch was refused as out of order, though the log has what it follows
reordered            records of one idempotent producer lie in another order than they were sent in
inconsistent-offset  two records were seen at one offset: by acknowledgement, poll, or in a log
divergent            two replicas hold different records at one offset, or one has a hole
ghost                a record that was refused for good was seen
phantom              a record was seen that nobody sent
poll-skip            a consumer was led past a record
nonmonotonic-poll    a consumer was led back
unread               an acknowledged record was below the end of what a consumer, or a group, read from the start, and was
                     not read
"""

from bisect import bisect_left
from collections import defaultdict

from .history import FAILED, IN_FLIGHT, OK


class Checker:
    """Checks one history; `anomalies` is a list of (name, text), `again` tells of the records that their clients wrote again."""

    def __init__(self, history):
        self.history = history
        self.sends = {send.value: send for send in history.sends}
        self.anomalies, self.again = [], []
        self.began = {(epoch.producer, epoch.producer_id, epoch.epoch): epoch for epoch in history.epochs}
        self.longest = {partition: max(nodes.values(), key=end_of, default=[])
                        for partition, nodes in history.logs.items()}

    def found(self, name, text):
        self.anomalies.append((name, text))

    def run(self):
        self.check_values_are_unique()
        self.check_acknowledged()
        self.check_producers()
        self.check_refusals()
        self.check_offsets()
        self.check_replicas()
        self.check_origin()
        for key, polls in self.polls_by(lambda poll: poll.consumer).items():
            self.check_polls(key, polls)
        for key, polls in self.polls_by(lambda poll: poll.group or poll.consumer).items():
            self.check_unread(key, polls)
        return self.anomalies

    def check_values_are_unique(self):
        if len(self.sends) != len(self.history.sends):
            raise ValueError("two sends carry the same value: the run can not be judged")

    def check_acknowledged(self):
        places = defaultdict(set)
        for partition, log in self.longest.items():
            for offset, value in log:
                places[value].add((partition, offset))
        for send in self.history.sends:
            if send.outcome != OK:
                continue
            at = places.get(send.value)
            if not at:
                self.found("lost", f"{send.value}, acknowledged at {send.partition}:{send.offset}")
            elif send.offset >= 0 and (send.partition, send.offset) not in at:
                self.found("moved", f"{send.value}, acknowledged at {send.partition}:{send.offset}, lies at {sorted(at)}")

    def check_producers(self):
        order = {value: number for number, value in enumerate(self.sends)}
        for partition, log in self.longest.items():
            last, seen = {}, {}
            for offset, value in log:
                send = self.sends.get(value)
                if send is None or not send.idempotent:
                    continue
                if value in seen:
                    self.check_repeat(send, partition, seen[value], offset)
                    seen[value] = offset
                    continue
                seen[value] = offset
                before = last.get(send.producer)
                if before is not None and order[before] > order[value]:
                    self.found("reordered", f"{value} at {partition}:{offset} after {before}, which was sent later")
                last[send.producer] = value

    def check_repeat(self, send, partition, one, other):
        """A client that begins a new epoch numbers anew what it has in flight and sends it again, and no broker can tell that
        from a new record: what was stored before its answer got lost is there twice. librdkafka does so where it believes
        that nothing was stored (librdkafka 4953), and says it. Whatever does not look like that is a duplicate."""
        writings = self.history.writings.get(partition, {})
        first, second = writings.get(one), writings.get(other)
        text = f"{send.value} at {partition}:{one} ({told(first)}) and {partition}:{other} ({told(second)})"
        epoch = second and self.began.get((send.producer, second.producer_id, second.epoch))
        in_flight = first and second and first.after < IN_FLIGHT and second.before < IN_FLIGHT
        is_later = first and second and first.producer_id == second.producer_id and first.epoch < second.epoch
        if epoch and in_flight and is_later and send.offset != one:
            self.again.append(f"{text}, as the client said: {epoch.why}")
        else:
            self.found("duplicate", text)

    def check_refusals(self):
        """A new epoch is the client's own doing only where the broker was right to refuse the old one."""
        for epoch in self.history.epochs:
            old = (epoch.producer_id, epoch.epoch - 1)
            for partition, sequence in epoch.refused:
                if self.history.ends.get(partition, {}).get(old, -1) >= sequence - 1:
                    self.found("refused", f"sequence {sequence} of producer {old[0]} epoch {old[1]} in {partition}: {epoch.why}")

    def check_offsets(self):
        values = {}

        def see(partition, offset, value, where):
            known = values.setdefault((partition, offset), (value, where))
            if known[0] != value:
                self.found("inconsistent-offset",
                           f"{partition}:{offset} is {known[0]} ({known[1]}) and {value} ({where})")

        for send in self.history.sends:
            if send.outcome == OK and send.offset >= 0:
                see(send.partition, send.offset, send.value, "acknowledged")
        for poll in self.history.polls:
            for offset, value in poll.records:
                see(poll.partition, offset, value, f"polled by {poll.consumer}")
        for partition, log in self.longest.items():
            for offset, value in log:
                see(partition, offset, value, "log")

    def check_replicas(self):
        for partition, nodes in self.history.logs.items():
            whole = dict(self.longest[partition])
            for node, log in nodes.items():
                for (before, _), (offset, _) in zip(log, log[1:]):
                    if offset != before + 1:
                        self.found("divergent", f"{partition} on {node} has nothing between {before} and {offset}")
                for offset, value in log:
                    if whole.get(offset, value) != value:
                        self.found("divergent", f"{partition}:{offset} is {value} on {node}, elsewhere {whole[offset]}")

    def check_origin(self):
        seen = set()
        for poll in self.history.polls:
            seen.update(value for _, value in poll.records)
        for nodes in self.history.logs.values():
            for log in nodes.values():
                seen.update(value for _, value in log)
        for value in sorted(seen):
            send = self.sends.get(value)
            if send is None:
                self.found("phantom", f"{value} was never sent")
            elif send.outcome == FAILED:
                self.found("ghost", f"{value} was refused and is there")

    def polls_by(self, reader):
        polls = defaultdict(list)
        for poll in self.history.polls:
            polls[reader(poll), poll.partition].append(poll)
        return polls

    def check_polls(self, key, polls):
        consumer, partition = key
        offsets = [offset for offset, _ in self.longest.get(partition, [])]
        last = None
        for poll in polls:
            if poll.fresh:
                last = None
            for offset, _ in poll.records:
                if last is not None and offset <= last:
                    self.found("nonmonotonic-poll", f"{consumer} got {partition}:{offset} after {last}")
                elif last is not None:
                    between = offsets[bisect_left(offsets, last + 1):bisect_left(offsets, offset)]
                    if between:
                        self.found("poll-skip", f"{consumer} was led from {partition}:{last} to {offset} past {between[:3]}")
                last = offset

    def check_unread(self, key, polls):
        """A reader that began at the start of the log has read every record below the end of what it read. The members
        of a group read together, and where one of them stopped for good, another went on."""
        reader, partition = key
        start = next(iter(self.longest.get(partition, [])), (None, None))[0]
        if start is None or start not in {offset for poll in polls for offset, _ in poll.records}:
            return
        read = {value for poll in polls for _, value in poll.records}
        end = max(offset for poll in polls for offset, _ in poll.records)
        for send in self.history.sends:
            below = send.outcome == OK and send.partition == partition and 0 <= send.offset <= end
            if below and send.value not in read:
                self.found("unread", f"{reader} read {partition} up to {end} and not {send.value} at {send.offset}")


def told(writing):
    """How a record was written, in words."""
    if writing is None:
        return "unknown how"
    return f"producer {writing.producer_id} epoch {writing.epoch} sequence {writing.sequence}"


def end_of(log):
    """Where a log ends."""
    return log[-1][0] if log else -1


def check(history):
    """The anomalies of a history, as (name, text)."""
    return Checker(history).run()
