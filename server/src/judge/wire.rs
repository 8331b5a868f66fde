//! A connection to a broker, and the versions that the judge speaks.

use super::{Failure, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// A broker that takes longer for an answer than this counts as silent.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The largest answer that is read.
pub(crate) const FRAME_BYTES_MAX: usize = 64 << 20;

/// An API in the version that the judge speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Api {
    pub(super) key: i16,
    pub(super) version: i16,
    name: &'static str,
}

const fn api(key: i16, version: i16, name: &'static str) -> Api {
    Api { key, version, name }
}

pub(crate) const PRODUCE: Api = api(0, 8, "Produce");
pub(super) const FETCH: Api = api(1, 11, "Fetch");
pub(super) const LIST_OFFSETS: Api = api(2, 5, "ListOffsets");
/// The first version that finds the maximum timestamp (KIP-734).
pub(super) const LIST_OFFSETS_MAX: Api = api(2, 7, "ListOffsets");
pub(crate) const METADATA: Api = api(3, 9, "Metadata");
pub(super) const OFFSET_COMMIT: Api = api(8, 8, "OffsetCommit");
pub(super) const OFFSET_FETCH: Api = api(9, 7, "OffsetFetch");
pub(super) const FIND_COORDINATOR: Api = api(10, 3, "FindCoordinator");
pub(super) const JOIN_GROUP: Api = api(11, 7, "JoinGroup");
pub(super) const HEARTBEAT: Api = api(12, 4, "Heartbeat");
pub(super) const LEAVE_GROUP: Api = api(13, 4, "LeaveGroup");
pub(super) const SYNC_GROUP: Api = api(14, 5, "SyncGroup");
pub(super) const API_VERSIONS_0: Api = api(18, 0, "ApiVersions");
pub(super) const API_VERSIONS: Api = api(18, 3, "ApiVersions");
pub(super) const CREATE_TOPICS: Api = api(19, 5, "CreateTopics");
pub(super) const DELETE_TOPICS: Api = api(20, 4, "DeleteTopics");
pub(super) const DELETE_RECORDS: Api = api(21, 1, "DeleteRecords");
pub(super) const INIT_PRODUCER_ID: Api = api(22, 3, "InitProducerId");

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} version {}", self.name, self.version)
    }
}

/// A string of the protocol.
pub(super) fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

/// A request with its length, ready to be sent.
pub(crate) fn frame<R: Request>(api: Api, correlation: i32, request: &R) -> Result<Bytes, Failure> {
    let header = RequestHeader::default()
        .with_request_api_key(api.key)
        .with_request_api_version(api.version)
        .with_correlation_id(correlation)
        .with_client_id(Some(text("chronik-judge")));
    let mut out = BytesMut::new();
    out.put_i32(0);
    let encoded = header
        .encode(&mut out, R::header_version(api.version))
        .and_then(|()| request.encode(&mut out, api.version));
    encoded.map_err(|error| Failure(format!("{api} cannot be encoded: {error}")))?;
    let length = i32::try_from(out.len().saturating_sub(4)).unwrap_or(i32::MAX);
    if let Some(place) = out.get_mut(..4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(out.freeze())
}

/// A connection.
pub(crate) struct Connection {
    stream: TcpStream,
    peer: String,
    next: i32,
}

impl Connection {
    pub(crate) fn open(address: &str) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure(format!("{address} cannot be reached: {error}"));
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for found in address.to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&found, Duration::from_secs(10)) {
                Ok(stream) => return Self::of(stream, address).map_err(failed),
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    fn of(stream: TcpStream, address: &str) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            peer: address.to_owned(),
            next: 1,
        })
    }

    /// The bare connection.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Sends a request and returns the number that its answer must carry.
    pub(super) fn send<R: Request>(&mut self, api: Api, request: &R) -> Result<i32, Failure> {
        let correlation = self.next;
        self.next += 1;
        self.send_bytes(&frame(api, correlation, request)?)?;
        Ok(correlation)
    }

    pub(super) fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let sent = self.stream.write_all(bytes);
        sent.map_err(|error| Failure(format!("sending to {}: {error}", self.peer)))
    }

    /// The next answer, which must be the one to `correlation`.
    pub(super) fn receive<R: Request>(&mut self, api: Api, correlation: i32) -> Result<R::Response, Failure> {
        let Some(frame) = self.next_frame()? else {
            return Err(Failure(format!(
                "{api}: the connection ends in place of an answer"
            )));
        };
        answer::<R>(api, correlation, frame)
    }

    pub(crate) fn call<R: Request>(&mut self, api: Api, request: &R) -> Result<R::Response, Failure> {
        let correlation = self.send(api, request)?;
        self.receive::<R>(api, correlation)
    }

    /// The next frame; `None` where the broker closed the connection.
    pub(super) fn next_frame(&mut self) -> Result<Option<Bytes>, Failure> {
        let mut length = [0; 4];
        if !self.fill(&mut length)? {
            return Ok(None);
        }
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        ensure!(
            (4..=FRAME_BYTES_MAX).contains(&length),
            "an answer of {length} bytes is announced"
        );
        let mut frame = vec![0; length];
        ensure!(self.fill(&mut frame)?, "the connection ends within an answer");
        Ok(Some(frame.into()))
    }

    /// False where the connection ends instead.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<bool, Failure> {
        match self.stream.read_exact(buffer) {
            Ok(()) => Ok(true),
            Err(error) if is_end(&error) => Ok(false),
            Err(error) if is_silence(&error) => Err(Failure(format!(
                "{} is silent for {} s",
                self.peer,
                PATIENCE.as_secs()
            ))),
            Err(error) => Err(Failure(format!("reading from {}: {error}", self.peer))),
        }
    }

    /// Whether nothing arrives for this long.
    pub(super) fn is_quiet_for(&self, time: Duration) -> Result<bool, Failure> {
        let failed = |error: io::Error| Failure(format!("reading from {}: {error}", self.peer));
        self.stream.set_read_timeout(Some(time)).map_err(failed)?;
        let peeked = self.stream.peek(&mut [0; 1]);
        self.stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        match peeked {
            Err(error) if is_silence(&error) => Ok(true),
            Err(error) if !is_end(&error) => Err(failed(error)),
            _ => Ok(false),
        }
    }

    /// Whether the broker ends the connection without an answer.
    pub(super) fn is_ended(&mut self) -> Result<bool, Failure> {
        Ok(self.next_frame()?.is_none())
    }
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe
    )
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Reads an answer, which must have the right number and no bytes too many.
pub(crate) fn answer<R: Request>(
    api: Api,
    correlation: i32,
    mut frame: Bytes,
) -> Result<R::Response, Failure> {
    let failed = |error: &dyn fmt::Display| Failure(format!("{api}: the answer cannot be read: {error}"));
    let header = ResponseHeader::decode(&mut frame, R::Response::header_version(api.version));
    let header = header.map_err(|error| failed(&error))?;
    let got = header.correlation_id;
    ensure!(
        got == correlation,
        "{api}: the answer to request {correlation} is due, and that to {got} comes"
    );
    let response = R::Response::decode(&mut frame, api.version).map_err(|error| failed(&error))?;
    let left = frame.remaining();
    ensure!(left == 0, "{api}: the answer has {left} bytes too many");
    Ok(response)
}
