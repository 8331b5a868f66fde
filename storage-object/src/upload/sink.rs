//! Where the bytes of an object go while it is encoded.

use super::{Body, Pace};
use crate::bucket::{Bucket, Part, StoreErrorKind, Want, body_bytes};
use crate::error::TierError;
use std::sync::Arc;

/// Takes the bytes of an object in order.
pub(super) trait Sink {
    /// Takes what is in `out`, which is empty then.
    fn take(&mut self, out: &mut Body) -> impl Future<Output = Result<(), TierError>> + std::marker::Send;
}

/// Keeps an object's pieces as long as there are not too many bytes.
pub(super) struct Keep {
    body: Option<Body>,
    bytes: u64,
    bytes_max: u64,
}

impl Keep {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            body: Some(Vec::new()),
            bytes: 0,
            bytes_max,
        }
    }

    /// The whole object, unless it was too large.
    pub(super) fn into_body(self) -> Option<Body> {
        self.body
    }
}

impl Sink for Keep {
    async fn take(&mut self, out: &mut Body) -> Result<(), TierError> {
        self.bytes += body_bytes(out);
        if self.bytes > self.bytes_max {
            self.body = None;
        }
        match &mut self.body {
            Some(body) => body.append(out),
            None => out.clear(),
        }
        Ok(())
    }
}

/// Sends an object in parts.
pub(super) struct Send<'a> {
    bucket: &'a dyn Bucket,
    pace: &'a Pace,
    key: &'a str,
    upload: Arc<str>,
    part_bytes: u64,
    body: Body,
    position: u64,
    tags: Vec<Arc<str>>,
}

impl<'a> Send<'a> {
    pub(super) async fn begin(
        bucket: &'a dyn Bucket,
        pace: &'a Pace,
        key: &'a str,
        part_bytes: u64,
    ) -> Result<Self, TierError> {
        Ok(Self {
            bucket,
            pace,
            key,
            upload: bucket.part(key, Part::Begin).await?,
            part_bytes,
            body: Vec::new(),
            position: 0,
            tags: Vec::new(),
        })
    }

    async fn flush(&mut self) -> Result<(), TierError> {
        let body = std::mem::take(&mut self.body);
        let bytes = body_bytes(&body);
        self.pace.wait(bytes).await;
        let part = Part::Store {
            upload: Arc::clone(&self.upload),
            number: self.tags.len() as u32,
            position: self.position,
            body,
        };
        self.tags.push(self.bucket.part(self.key, part).await?);
        self.position += bytes;
        Ok(())
    }

    /// Makes the object, whose length is known.
    pub(super) async fn complete(&mut self, object_bytes: u64) -> Result<(), TierError> {
        if !self.body.is_empty() {
            self.flush().await?;
        }
        let part = Part::Complete {
            upload: Arc::clone(&self.upload),
            tags: std::mem::take(&mut self.tags),
        };
        match self.bucket.part(self.key, part).await {
            Ok(_) => Ok(()),
            // An answer may have been lost: the name says what is in the object, so that its length is proof enough.
            Err(error) if error.kind == StoreErrorKind::NotFound || error.is_transient() => {
                let found = self.bucket.get(self.key, Want::Meta).await;
                match found {
                    Ok(found) if found.meta.size_bytes == object_bytes => Ok(()),
                    _ => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Drops the parts. Where that fails, the store's own rule for old parts has to do it.
    pub(super) async fn abort(self) {
        let part = Part::Abort { upload: self.upload };
        if let Err(error) = self.bucket.part(self.key, part).await {
            log::warn!("event=parts_left key={} error=\"{error}\"", self.key);
        }
    }
}

impl Sink for Send<'_> {
    async fn take(&mut self, out: &mut Body) -> Result<(), TierError> {
        self.body.append(out);
        match body_bytes(&self.body) >= self.part_bytes {
            true => self.flush().await,
            false => Ok(()),
        }
    }
}
