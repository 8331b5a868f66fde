//! Request and response headers.

use super::KafkaString;
use super::error::WireError;
use super::reader::Reader;
use super::writer::Writer;

/// The header of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestHeader {
    /// Which request follows.
    pub api_key: i16,
    /// The version of the request, and of the response that is expected.
    pub api_version: i16,
    /// Chosen by the client, returned with the response.
    pub correlation_id: i32,
    /// The name that the client gives itself.
    pub client_id: Option<KafkaString>,
}

impl RequestHeader {
    /// Reads a header of `version` 0 (no client id), 1, or 2 (with tagged fields).
    pub fn read(r: &mut Reader, version: i16) -> Result<Self, WireError> {
        let mut header = Self::read_start(r).map_err(|e| e.in_field("RequestHeader"))?;
        header
            .read_end(r, version)
            .map_err(|e| e.in_field("RequestHeader"))?;
        Ok(header)
    }

    /// Reads the part that all versions have: key, version and correlation id.
    pub fn read_start(r: &mut Reader) -> Result<Self, WireError> {
        let (api_key, api_version, correlation_id) = (r.i16()?, r.i16()?, r.i32()?);
        Ok(Self {
            api_key,
            api_version,
            correlation_id,
            client_id: None,
        })
    }

    /// Reads what follows [`RequestHeader::read_start`] in a header of `version`.
    pub fn read_end(&mut self, r: &mut Reader, version: i16) -> Result<(), WireError> {
        if version >= 1 {
            // The client id keeps its 16-bit length also in the flexible header (KIP-482).
            self.client_id = r.nullable_str(false)?;
        }
        if version >= 2 {
            r.tagged_fields(|_, _| Ok(false))?;
        }
        Ok(())
    }

    /// Writes a header of `version`.
    pub fn write(&self, w: &mut Writer, version: i16) -> Result<(), WireError> {
        w.i16(self.api_key);
        w.i16(self.api_version);
        w.i32(self.correlation_id);
        if version >= 1 {
            w.nullable_str(self.client_id.as_deref(), false)?;
        }
        if version >= 2 {
            w.uvarint(0);
        }
        Ok(())
    }
}

/// The header of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseHeader {
    /// The correlation id of the request.
    pub correlation_id: i32,
}

impl ResponseHeader {
    /// Reads a header of `version` 0, or 1 (with tagged fields).
    pub fn read(r: &mut Reader, version: i16) -> Result<Self, WireError> {
        let correlation_id = r.i32()?;
        if version >= 1 {
            r.tagged_fields(|_, _| Ok(false))?;
        }
        Ok(Self { correlation_id })
    }

    /// Writes a header of `version`.
    pub fn write(self, w: &mut Writer, version: i16) {
        w.i32(self.correlation_id);
        if version >= 1 {
            w.uvarint(0);
        }
    }
}
