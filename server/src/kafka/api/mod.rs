//! The Kafka APIs: one file for each, with its request and its response.
//!
//! # For the broker
//! [`decode_request`] turns a frame into a header and a [`Request`]; the handler's result becomes a [`Response`], which
//! [`Response::encode`] turns into a frame of the same version:
//!
//! ```
//! # use chronik_server::kafka::api::*;
//! # use chronik_server::kafka::wire::*;
//! fn answer(frame: bytes::BytesMut) -> Option<OutFrame> {
//!     let (header, request) = match decode_request(frame) {
//!         Ok(decoded) => decoded,
//!         Err(RequestError::UnknownApiVersionsVersion { correlation_id, .. }) => {
//!             return Response::from(ApiVersionsResponse::unsupported_version()).encode(0, correlation_id).ok();
//!         }
//!         Err(_) => return None, // Log it, and close the connection.
//!     };
//!     let response: Response = match request {
//!         Request::Heartbeat(heartbeat) if heartbeat.group_id.is_empty() => {
//!             HeartbeatResponse { error_code: ErrorCode::INVALID_GROUP_ID, ..Default::default() }.into()
//!         }
//!         _ => return None,
//!     };
//!     response.encode(header.api_version, header.correlation_id).ok()
//! }
//! ```
//!
//! - Field names are those of Kafka's schemas. A structure has the fields of all versions; one that the request's version
//!   lacks has its default, and one that the response's version lacks is not sent. So fill in every field that some
//!   version sends, and look at the version only where a version changes the meaning.
//! - The records of a [`ProduceRequest`] are [`BytesMut`](bytes::BytesMut): parts of the request frame that can be stamped
//!   in place. Other byte fields are [`Bytes`](bytes::Bytes). Both keep the frame allocated: copy what is kept for long.
//!   [`KafkaString`](super::wire::KafkaString) never does.
//! - The records of a [`FetchResponse`] are [`RecordSlices`](super::wire::RecordSlices): slices of the log, sent without
//!   a copy. Leave them empty rather than null, which librdkafka refuses.
//! - [`OutFrame`](super::wire::OutFrame) is a [`Buf`](bytes::Buf) for vectored writes.
//!
//! # For a client
//! [`Request::encode`] and [`ApiResponse::decode`]; [`ApiRequest::Response`] names the response type of a request type.
//!
//! # Adding an API
//! A file with the tables of its request and response (see [`super::wire::macros`]), a `mod` and a `pub use` below, and
//! a row in `table.rs`. The differential test fails until it covers the new row.

mod key;
mod request;
mod response;
mod table;
#[cfg(test)]
mod tests;

pub mod alter_configs;
pub mod api_versions;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_topic_partitions;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod list_offsets;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod sync_group;

pub use key::ApiKey;
pub use request::{ApiRequest, Request, RequestError, decode_request};
pub use response::{ApiResponse, Response};

pub use alter_configs::{AlterConfigsRequest, AlterConfigsResponse};
pub use api_versions::{ApiVersionsRequest, ApiVersionsResponse};
pub use create_partitions::{CreatePartitionsRequest, CreatePartitionsResponse};
pub use create_topics::{CreateTopicsRequest, CreateTopicsResponse};
pub use delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
pub use delete_records::{DeleteRecordsRequest, DeleteRecordsResponse};
pub use delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
pub use describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
pub use describe_configs::{DescribeConfigsRequest, DescribeConfigsResponse};
pub use describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
pub use describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
pub use describe_topic_partitions::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
pub use fetch::{FetchRequest, FetchResponse};
pub use find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
pub use heartbeat::{HeartbeatRequest, HeartbeatResponse};
pub use incremental_alter_configs::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
pub use init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
pub use join_group::{JoinGroupRequest, JoinGroupResponse};
pub use leave_group::{LeaveGroupRequest, LeaveGroupResponse};
pub use list_groups::{ListGroupsRequest, ListGroupsResponse};
pub use list_offsets::{ListOffsetsRequest, ListOffsetsResponse};
pub use metadata::{MetadataRequest, MetadataResponse};
pub use offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
pub use offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
pub use offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
pub use offset_for_leader_epoch::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
pub use produce::{ProduceRequest, ProduceResponse};
pub use sync_group::{SyncGroupRequest, SyncGroupResponse};
