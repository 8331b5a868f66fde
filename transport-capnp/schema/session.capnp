# What two nodes of a cluster say to each other. src/generated/ holds the Rust of it; .ci/run checks that it is current.
#
# Each node dials its peers for its own sending direction, one TCP connection a lane. On each connection the dialler
# sends one Hello and the acceptor one Welcome, both as plain framed messages; only after an acceptance does RPC begin,
# with Inbox as the acceptor's bootstrap capability and Answers as the dialler's.
#
# Fields, methods and enumerants are only ever added, with the next number.

@0x9ac94a12cccfcdec;

enum Lane {
  control @0;
  replication @1;
  bulk @2;
}

struct Hello {
  # The protocol version. An acceptor of another one refuses.
  version @0 :UInt32;
  clusterId @1 :Text;
  # Who dials, and whom it means to reach.
  node @2 :UInt64;
  to @3 :UInt64;
  # Drawn at random when the dialling transport starts.
  incarnation @4 :UInt64;
  # Counts the dialler's sessions with this peer within one incarnation.
  session @5 :UInt64;
  lane @6 :Lane;
  # The largest answer that the dialler takes.
  maxMessageBytes @7 :UInt64;
}

struct Welcome {
  version @0 :UInt32;
  clusterId @1 :Text;
  node @2 :UInt64;
  # Why the dialler is refused; empty if it is not.
  refused @3 :Text;
  # The largest message that the acceptor takes.
  maxMessageBytes @4 :UInt64;
}

struct Message {
  # 0 for a one-way message.
  call @0 :UInt64;
  body @1 :Data;
  # CRC-32C of the eight bytes of `call`, little-endian, and the body. 0 and not checked under TLS, which does the same.
  checksum @2 :UInt32;
}

struct Answer {
  call @0 :UInt64;
  union {
    body @1 :Data;
    # The handler gave no answer; the text says what is known.
    none @2 :Text;
  }
  # As that of a message; over no body where there is none.
  checksum @3 :UInt32;
}

interface Inbox {
  # Returns once the receiver has taken every message of the batch. Batches are numbered from 1 without a gap.
  deliver @0 (number :UInt64, messages :List(Message)) -> ();
  # Returns at once.
  ping @1 () -> ();
  # The dialler closes; the end of the connection that follows is no failure.
  goodbye @2 () -> ();
}

interface Answers {
  # In the order in which the handlers answered.
  answer @0 (answers :List(Answer)) -> ();
}
