//! S3, and what speaks its protocol, through the crate `object_store`.
//!
//! Requests run on one thread of their own ([`island`]), which alone knows the runtime that the HTTP client needs.
//! The crate's retries are off: they take a conditional write that was won for one that was lost.

mod classify;
mod credentials;
mod http;
mod island;
mod options;

pub use options::{Credentials, S3Options};

use super::{
    Answer, Bucket, Condition, Object, ObjectMeta as Meta, Page, Part, Pieces, StoreError, StoreErrorKind,
    Version, Want,
};
use bytes::{Bytes, BytesMut};
use classify::{classify, invalid, is_mute};
use futures_lite::StreamExt;
use futures_lite::stream::Boxed as BoxStream;
use island::Island;
use object_store::aws::AmazonS3;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion,
};
use std::ops::Range;
use std::sync::Arc;

/// The most memory that is set aside for bytes that are announced and did not come yet.
const RESERVE_BYTES: u64 = 16 << 20;
/// Objects of one page of a list: S3's own limit.
const PAGE: usize = 1000;

/// A bucket of an S3 store, or a folder in one.
#[derive(Clone, Debug)]
pub struct S3Bucket {
    store: Arc<AmazonS3>,
    island: Arc<Island>,
    prefix: Arc<str>,
    name: Arc<str>,
}

impl S3Bucket {
    /// Prepares a client; nothing is sent yet.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] for settings that cannot work; the text names the setting.
    pub fn open(options: &S3Options) -> Result<Self, StoreError> {
        let store = options.client()?;
        let island = Island::start().map_err(|error| invalid(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            store: Arc::new(store),
            island: Arc::new(island),
            prefix: options.prefix.trim_matches('/').into(),
            name: options.describe().into(),
        })
    }

    fn path(&self, key: &str) -> Path {
        match (self.prefix.is_empty(), key.is_empty()) {
            (true, _) => Path::from(key),
            (false, true) => Path::from(&*self.prefix),
            (false, false) => Path::from(format!("{}/{key}", self.prefix)),
        }
    }

    /// Runs a request on the island, and says what a failure means.
    fn run<T: Send + 'static>(
        &self,
        call: &'static str,
        key: &str,
        request: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Answer<T> {
        let key = key.to_owned();
        let name = Arc::clone(&self.name);
        self.island.run(async move {
            request.await.map_err(|failure| match failure {
                Failure::Client(error) => classify(call, &key, &name, &error),
                Failure::Store(error) => error,
            })
        })
    }

    fn meta(&self, found: &ObjectMeta) -> Meta {
        let key = found.location.as_ref();
        let inside = key.strip_prefix(&*self.prefix).unwrap_or(key);
        Meta {
            key: inside.trim_start_matches('/').into(),
            size_bytes: found.size,
            modified_ms: found.last_modified.timestamp_millis(),
        }
    }

    async fn read(self, key: String, want: Want) -> Result<Object, Failure> {
        let mut data = Bytes::new();
        let (meta, version) = self
            .read_pieces(key, want, usize::MAX, |_, piece| data = piece)
            .await?;
        Ok(Object { meta, version, data })
    }

    async fn read_pieces(
        self,
        key: String,
        want: Want,
        piece_bytes: usize,
        hand_over: impl FnMut(usize, Bytes),
    ) -> Result<(Meta, Version), Failure> {
        let mut options = GetOptions::default();
        match &want {
            Want::Meta => options.head = true,
            Want::All { .. } => {}
            Want::Range(range) => options.range = Some(GetRange::Bounded(range.clone())),
        }
        let path = self.path(&key);
        let answer = match self.store.get_opts(&path, options).await {
            // The answer to a HEAD has no text that says why: a GET has.
            Err(error) if want == Want::Meta && is_mute(&error) => {
                let options = GetOptions {
                    range: Some(GetRange::Bounded(0..1)),
                    ..GetOptions::default()
                };
                self.store.get_opts(&path, options).await?
            }
            answer => answer?,
        };
        let meta = self.meta(&answer.meta);
        let version = Version(answer.meta.e_tag.clone().unwrap_or_default().into());
        let expected = match &want {
            Want::Meta => 0,
            Want::All { max_bytes } if answer.meta.size > *max_bytes => {
                let what = format!(
                    "get {key}: {} bytes where at most {max_bytes} are expected",
                    meta.size_bytes
                );
                return Err(Failure::Store(invalid(what)));
            }
            Want::All { .. } => answer.meta.size,
            Want::Range(range) => range.end.saturating_sub(range.start),
        };
        let bytes = match want {
            Want::Meta => 0,
            _ => gather(answer.into_stream(), expected, piece_bytes, hand_over).await?,
        };
        if bytes != expected {
            let what = format!("get {key}: {bytes} bytes where {expected} were asked for");
            return Err(Failure::Store(StoreError::new(StoreErrorKind::Unavailable, what)));
        }
        Ok((meta, version))
    }

    async fn step(self, key: String, part: Part) -> Result<Arc<str>, Failure> {
        let path = self.path(&key);
        match part {
            Part::Begin => Ok(self.store.create_multipart(&path).await?.into()),
            Part::Store {
                upload, number, body, ..
            } => {
                let id = upload.to_string();
                let payload: PutPayload = body.into_iter().collect();
                let stored = self.store.put_part(&path, &id, number as usize, payload).await?;
                Ok(stored.content_id.into())
            }
            Part::Complete { upload, tags } => {
                let parts = tags
                    .iter()
                    .map(|tag| PartId {
                        content_id: tag.to_string(),
                    })
                    .collect();
                self.store
                    .complete_multipart(&path, &upload.to_string(), parts)
                    .await?;
                Ok("".into())
            }
            Part::Abort { upload } => {
                self.store.abort_multipart(&path, &upload.to_string()).await?;
                Ok("".into())
            }
        }
    }
}

/// Cuts a body into pieces of one size as it comes, so that the memory that it is received in is used again at once. Stops
/// beyond `expected` bytes; returns how many came. A piece that is not whole is not handed over.
async fn gather(
    mut body: BoxStream<object_store::Result<Bytes>>,
    expected: u64,
    piece_bytes: usize,
    mut hand_over: impl FnMut(usize, Bytes),
) -> Result<u64, Failure> {
    let (mut number, mut left, mut bytes) = (0, expected, 0);
    // What the store says of a length is not believed beyond the reserve.
    let whole = |left: u64| left.min(piece_bytes.max(1) as u64);
    let mut piece = BytesMut::new();
    while bytes <= expected
        && let Some(mut part) = body.try_next().await?
    {
        bytes += part.len() as u64;
        while !part.is_empty() && left > 0 {
            if piece.is_empty() {
                piece.reserve(whole(left).min(RESERVE_BYTES) as usize);
            }
            let room = (whole(left) - piece.len() as u64).min(part.len() as u64);
            piece.extend_from_slice(&part.split_to(room as usize));
            if piece.len() as u64 == whole(left) {
                left -= whole(left);
                hand_over(number, std::mem::take(&mut piece).freeze());
                number += 1;
            }
        }
    }
    Ok(bytes)
}

/// Why a request failed.
enum Failure {
    Client(object_store::Error),
    Store(StoreError),
}

impl From<object_store::Error> for Failure {
    fn from(error: object_store::Error) -> Self {
        Self::Client(error)
    }
}

impl Bucket for S3Bucket {
    fn put(&self, key: &str, body: Vec<Bytes>, condition: Condition) -> Answer<Version> {
        let (store, path) = (Arc::clone(&self.store), self.path(key));
        let mode = match condition {
            Condition::Always => PutMode::Overwrite,
            Condition::Absent => PutMode::Create,
            Condition::Unchanged(ref version) => PutMode::Update(UpdateVersion {
                e_tag: Some(version.0.to_string()),
                version: None,
            }),
        };
        let put = self.run("put", key, async move {
            let payload: PutPayload = body.into_iter().collect();
            let put = store.put_opts(&path, payload, mode.into()).await?;
            Ok(Version(put.e_tag.unwrap_or_default().into()))
        });
        Box::pin(async move {
            put.await.map_err(|error| match (error.kind, condition) {
                // An object that is gone is not unchanged: S3 tells the two apart, we do not.
                (StoreErrorKind::NotFound, Condition::Unchanged(_)) => {
                    StoreError::new(StoreErrorKind::Conflict, error.detail)
                }
                _ => error,
            })
        })
    }

    fn get(&self, key: &str, want: Want) -> Answer<Object> {
        self.run("get", key, self.clone().read(key.to_owned(), want))
    }

    fn get_pieces(&self, key: &str, range: Range<u64>, piece_bytes: usize, pieces: Pieces) -> Answer<()> {
        // Who asked may have gone.
        let hand_over = move |number, piece| drop(pieces.try_send((number, piece)));
        let (this, want) = (self.clone(), Want::Range(range));
        let read = this.read_pieces(key.to_owned(), want, piece_bytes, hand_over);
        self.run("get", key, async move { read.await.map(drop) })
    }

    fn list(&self, folder: &str, after: Option<&str>) -> Answer<Page> {
        let this = self.clone();
        let inside = self.path(folder);
        let after = after.map(|after| self.path(after).to_string());
        self.run("list", folder, async move {
            let options = PaginatedListOptions {
                offset: after,
                max_keys: Some(PAGE),
                ..PaginatedListOptions::default()
            };
            let prefix = (!inside.as_ref().is_empty()).then(|| format!("{inside}/"));
            let found = this.store.list_paginated(prefix.as_deref(), options).await?;
            Ok(Page {
                objects: found.result.objects.iter().map(|meta| this.meta(meta)).collect(),
                more: found.page_token.is_some(),
            })
        })
    }

    fn delete(&self, key: &str) -> Answer<()> {
        let (store, path) = (Arc::clone(&self.store), self.path(key));
        self.run("delete", key, async move {
            match store.delete(&path).await {
                Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn part(&self, key: &str, part: Part) -> Answer<Arc<str>> {
        self.run("upload", key, self.clone().step(key.to_owned(), part))
    }

    fn describe(&self) -> String {
        self.name.to_string()
    }
}
