//! A connection to a leader, over which several requests are under way.

use crate::judge::wire::{Connection, FRAME_BYTES_MAX};
use crate::judge::{Failure, ensure};
use async_std::net::TcpStream;
use bytes::Bytes;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use std::io;

/// The connection. Sending and receiving do not wait for each other.
#[derive(Debug)]
pub(super) struct Link {
    stream: TcpStream,
    peer: String,
}

impl Link {
    /// Connects to `HOST:PORT`; blocks meanwhile.
    ///
    /// # Errors
    /// Says why nobody is reached.
    pub(super) fn open(address: &str) -> Result<Self, Failure> {
        Ok(Self {
            stream: Connection::open(address)?.into_stream().into(),
            peer: address.to_owned(),
        })
    }

    /// Sends a whole request. Cancelled, it may have sent a part of it, and the connection is of no more use.
    ///
    /// # Errors
    /// The connection ended.
    pub(super) async fn send(&self, request: &[u8]) -> Result<(), Failure> {
        let sent = (&self.stream).write_all(request).await;
        sent.map_err(|error| Failure(format!("sending to {}: {error}", self.peer)))
    }

    /// The next answer. Cancelled, it may have read a part of it, and the connection is of no more use.
    ///
    /// # Errors
    /// The connection ended, or announces what is no answer.
    pub(super) async fn receive(&self) -> Result<Bytes, Failure> {
        let failed = |error: io::Error| Failure(format!("reading from {}: {error}", self.peer));
        let mut length = [0; 4];
        (&self.stream).read_exact(&mut length).await.map_err(failed)?;
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        ensure!(
            (4..=FRAME_BYTES_MAX).contains(&length),
            "an answer of {length} bytes is announced"
        );
        let mut answer = vec![0; length];
        (&self.stream).read_exact(&mut answer).await.map_err(failed)?;
        Ok(answer.into())
    }
}
