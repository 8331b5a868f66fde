"""Classic consumer group members over the raw client: join, sync, heartbeat, commit, leave."""

import struct

from .raw import RawClient

JOIN, SYNC, BEAT, LEAVE, COMMIT, FETCH = 7, 5, 4, 5, 9, 8


def subscription(mark):
    """A consumer's metadata: version 0, no topics, user data."""
    return struct.pack(">hii", 0, 0, len(mark)) + mark


PROTOCOLS = [{"Name": "range", "Metadata": subscription(b"range")}, {"Name": "roundrobin", "Metadata": subscription(b"rr")}]


class Member(RawClient):
    """One member on its own connection."""

    def __init__(self, broker, group, instance=None, session_ms=10000, rebalance_ms=10000):
        super().__init__(broker.port, timeout=40)
        self.group, self.instance = group, instance
        self.session_ms, self.rebalance_ms = session_ms, rebalance_ms
        self.id, self.generation, self.leader = "", -1, None

    def join_values(self, protocols=PROTOCOLS, protocol_type="consumer"):
        return {"GroupId": self.group, "SessionTimeoutMs": self.session_ms, "RebalanceTimeoutMs": self.rebalance_ms,
                "MemberId": self.id, "GroupInstanceId": self.instance, "ProtocolType": protocol_type,
                "Protocols": protocols}

    def send_join(self, **more):
        return self.send("JoinGroup", JOIN, self.join_values(**more))

    def receive_join(self, correlation):
        answer = self.receive("JoinGroup", JOIN, correlation)
        if answer["ErrorCode"] == 0:
            self.id, self.generation, self.leader = answer["MemberId"], answer["GenerationId"], answer["Leader"]
        return answer

    def ask_for_id(self):
        """The first join of a dynamic member: it only hands out the member id."""
        answer = self.receive("JoinGroup", JOIN, self.send_join())
        assert answer["ErrorCode"] == 79 and answer["MemberId"], answer
        self.id = answer["MemberId"]

    def join(self, **more):
        if not self.id and self.instance is None:
            self.ask_for_id()
        return self.receive_join(self.send_join(**more))

    def sync_values(self, assignments):
        return {"GroupId": self.group, "GenerationId": self.generation, "MemberId": self.id,
                "GroupInstanceId": self.instance, "ProtocolType": "consumer", "ProtocolName": "range",
                "Assignments": [{"MemberId": m, "Assignment": a} for m, a in assignments.items()]}

    def sync(self, **assignments):
        return self.call("SyncGroup", SYNC, **self.sync_values(assignments))

    def sync_all(self, assignments):
        return self.call("SyncGroup", SYNC, **self.sync_values(assignments))

    def heartbeat(self):
        return self.call("Heartbeat", BEAT, GroupId=self.group, GenerationId=self.generation, MemberId=self.id,
                         GroupInstanceId=self.instance)["ErrorCode"]

    def leave(self):
        answer = self.call("LeaveGroup", LEAVE, GroupId=self.group, Members=[
            {"MemberId": self.id, "GroupInstanceId": self.instance}])
        return answer["ErrorCode"] or answer["Members"][0]["ErrorCode"]

    def commit(self, topic, offset, partition=0, metadata="", epoch=-1, generation=None):
        answer = self.call("OffsetCommit", COMMIT, GroupId=self.group, MemberId=self.id, GroupInstanceId=self.instance,
                           GenerationIdOrMemberEpoch=self.generation if generation is None else generation,
                           Topics=[{"Name": topic, "Partitions": [
                               {"PartitionIndex": partition, "CommittedOffset": offset, "CommittedMetadata": metadata,
                                "CommittedLeaderEpoch": epoch}]}])
        return answer["Topics"][0]["Partitions"][0]["ErrorCode"]

    def committed(self, topic, partition=0):
        """(offset, metadata, leader epoch) as OffsetFetch tells them."""
        answer = self.call("OffsetFetch", FETCH, Groups=[
            {"GroupId": self.group, "Topics": [{"Name": topic, "PartitionIndexes": [partition]}]}])["Groups"][0]
        assert answer["ErrorCode"] == 0, answer
        found = answer["Topics"][0]["Partitions"][0]
        assert found["ErrorCode"] == 0, found
        return found["CommittedOffset"], found["Metadata"], found["CommittedLeaderEpoch"]

    def describe(self):
        return self.call("DescribeGroups", 5, Groups=[self.group])["Groups"][0]
