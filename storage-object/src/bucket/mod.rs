//! What the tier needs of an object store, and the stores that there are.
//!
//! [`Bucket`] is the seam: [`MemoryBucket`] for tests, [`FileBucket`] for a directory, [`S3Bucket`] for S3 and what
//! speaks its protocol. [`Retrying`] wraps any of them: it alone repeats requests, and settles unknown outcomes.

mod error;
mod file;
mod memory;
mod reply;
mod retry;
mod s3;

pub use error::{StoreError, StoreErrorKind};
pub use file::FileBucket;
pub use memory::MemoryBucket;
pub(crate) use reply::reply;
pub use retry::{RetryPolicy, Retrying};
pub use s3::{Credentials, S3Bucket, S3Options};

use bytes::Bytes;
use chronik_core::BoxFuture;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

/// The answer to a request.
pub type Answer<T> = BoxFuture<'static, Result<T, StoreError>>;

/// Changes with every write of an object (S3: ETag).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(pub Arc<str>);

/// When a write may happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Whatever is there.
    Always,
    /// Only where there is no such object (If-None-Match).
    Absent,
    /// Only where the object is still this one (If-Match).
    Unchanged(Version),
}

/// What of an object is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// Its numbers alone.
    Meta,
    /// Everything, which is refused where it is more than this many bytes.
    All {
        /// The most bytes.
        max_bytes: u64,
    },
    /// These bytes; all of them must be there.
    Range(Range<u64>),
}

/// The numbers of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its key, relative to the bucket's prefix.
    pub key: Arc<str>,
    /// Its length.
    pub size_bytes: u64,
    /// When it was written, by the store's clock, in milliseconds since the epoch.
    pub modified_ms: i64,
}

/// An object, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The numbers of the whole.
    pub meta: ObjectMeta,
    /// Its version.
    pub version: Version,
    /// What was wanted.
    pub data: Bytes,
}

/// Objects of a list, sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The objects.
    pub objects: Vec<ObjectMeta>,
    /// Whether there are more behind the last one.
    pub more: bool,
}

/// A step of an upload in parts.
#[derive(Clone, Debug)]
pub enum Part {
    /// Starts an upload; the answer is its id.
    Begin,
    /// Stores one part; the answer is its tag. Parts may be stored in any order, and again.
    Store {
        /// The upload's id.
        upload: Arc<str>,
        /// The part's number, from 0.
        number: u32,
        /// Where the part starts in the object.
        position: u64,
        /// The bytes.
        body: Vec<Bytes>,
    },
    /// Makes the object of the parts with these tags, in order; the answer is empty.
    Complete {
        /// The upload's id.
        upload: Arc<str>,
        /// The tags of all parts.
        tags: Vec<Arc<str>>,
    },
    /// Drops the upload and its parts; the answer is empty.
    Abort {
        /// The upload's id.
        upload: Arc<str>,
    },
}

/// Where the pieces of a range go, each with its number. The channel has no bound but what was asked for.
pub type Pieces = async_channel::Sender<(usize, Bytes)>;

/// A store of objects under one prefix. Requests are not repeated here; [`Retrying`] does that. Keys are names of letters,
/// digits, `-`, `_` and `.`, joined by slashes.
///
/// # Guarantees
/// - An object is read whole or not at all: a reader sees the bytes of one write.
/// - What a put answered with `Ok` survives, and later gets see it or what was written after it.
/// - Of puts with a condition that the same state allows, one at most happens.
///
/// A list may be older than gets. Dropping an answer leaves the store usable; the request may still happen.
pub trait Bucket: Send + Sync + Debug {
    /// Writes an object.
    ///
    /// # Errors
    /// [`StoreErrorKind::Conflict`] where the condition does not hold.
    fn put(&self, key: &str, body: Vec<Bytes>, condition: Condition) -> Answer<Version>;

    /// Reads an object.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`].
    fn get(&self, key: &str, want: Want) -> Answer<Object>;

    /// Reads these bytes of an object, all of which must be there, in pieces of `piece_bytes`; the last one may be
    /// shorter. Each is handed over as soon as it is there, and has memory of its own, so that whoever keeps one keeps
    /// nothing else. After an error, some were handed over all the same; a request that is repeated hands them over again.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`].
    fn get_pieces(&self, key: &str, range: Range<u64>, piece_bytes: usize, pieces: Pieces) -> Answer<()> {
        let whole = self.get(key, Want::Range(range));
        Box::pin(async move {
            let data = whole.await?.data;
            for (number, piece) in data.chunks(piece_bytes.max(1)).enumerate() {
                // Who asked may have gone.
                let _ = pieces.try_send((number, Bytes::copy_from_slice(piece)));
            }
            Ok(())
        })
    }

    /// The objects in `folder` (all of them, for an empty one) whose keys come after `after`, sorted by key.
    ///
    /// # Errors
    /// [`StoreError`].
    fn list(&self, folder: &str, after: Option<&str>) -> Answer<Page>;

    /// Deletes an object; it is no error if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    fn delete(&self, key: &str) -> Answer<()>;

    /// One step of writing a large object in parts.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`] for an upload that was dropped.
    fn part(&self, key: &str, part: Part) -> Answer<Arc<str>>;

    /// The place as an operator writes it, without secrets.
    fn describe(&self) -> String;
}

/// The length of a body.
pub(crate) fn body_bytes(body: &[Bytes]) -> u64 {
    body.iter().map(|part| part.len() as u64).sum()
}

/// What the keys in a folder start with.
fn inside(folder: &str) -> String {
    match folder {
        "" => String::new(),
        folder => format!("{folder}/"),
    }
}

/// Takes what is wanted out of a whole object.
fn cut(key: &str, data: &Bytes, want: &Want) -> Result<Bytes, StoreError> {
    let invalid = |what: String| StoreError::new(StoreErrorKind::Invalid, format!("get {key}: {what}"));
    match want {
        Want::Meta => Ok(Bytes::new()),
        Want::All { max_bytes } if data.len() as u64 > *max_bytes => Err(invalid(format!(
            "{} bytes where at most {max_bytes} are expected",
            data.len()
        ))),
        Want::All { .. } => Ok(data.clone()),
        Want::Range(range) => {
            let end = usize::try_from(range.end).unwrap_or(usize::MAX);
            let start = usize::try_from(range.start).unwrap_or(usize::MAX);
            if start > end || end > data.len() {
                return Err(invalid(format!("no bytes {start}..{end} of {}", data.len())));
            }
            Ok(data.slice(start..end))
        }
    }
}
