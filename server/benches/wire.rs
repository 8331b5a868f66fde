//! The wire codec on the hot paths: Produce and Fetch requests in, Fetch and Metadata responses out.
//!
//! Records are never touched, so their bytes are not counted: the figures are requests, or elements, per second.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use chronik_server::kafka::api::{
    FetchRequest, FetchResponse, MetadataResponse, ProduceRequest, Request, Response, decode_request, fetch,
    metadata, produce,
};
use chronik_server::kafka::wire::Uuid;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// A request frame without its length.
fn frame(request: Request, api_version: i16) -> BytesMut {
    let encoded = request.encode(api_version, 1, Some("bench".into()));
    BytesMut::from(&encoded.expect("the version is served").into_bytes()[4..])
}

fn decode(c: &mut Criterion, name: &str, elements: usize, frame: &BytesMut) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(elements as u64));
    group.bench_function(name, |b| {
        b.iter_batched(
            || frame.clone(),
            |frame| decode_request(black_box(frame)).expect("a request"),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn produce_decode(c: &mut Criterion) {
    for (partitions, records_len) in [(1, 1024), (1, 1 << 20), (100, 1024)] {
        let partition_data = (0..partitions).map(|index| produce::PartitionProduceData {
            index,
            records: Some(BytesMut::zeroed(records_len)),
        });
        let topic = produce::TopicProduceData {
            name: "a-topic-of-some-length".into(),
            partition_data: partition_data.collect(),
            ..Default::default()
        };
        let request = ProduceRequest {
            acks: -1,
            topic_data: vec![topic],
            ..Default::default()
        };
        let name = format!("produce/{partitions}x{records_len}");
        decode(c, &name, partitions as usize, &frame(request.into(), 10));
    }
}

fn fetch_decode(c: &mut Criterion) {
    for (topics, partitions) in [(1, 1), (10, 100)] {
        let topic = |id| fetch::FetchTopic {
            topic_id: Uuid::from_u128(id),
            partitions: vec![fetch::FetchPartition::default(); partitions],
            ..Default::default()
        };
        let request = FetchRequest {
            topics: (1..=topics).map(topic).collect(),
            ..Default::default()
        };
        let name = format!("fetch/{topics}x{partitions}");
        decode(c, &name, topics as usize * partitions, &frame(request.into(), 16));
    }
}

fn encode(c: &mut Criterion, name: &str, elements: usize, response: &Response, api_version: i16) {
    let mut group = c.benchmark_group("encode");
    group.throughput(Throughput::Elements(elements as u64));
    group.bench_function(name, |b| {
        b.iter(|| {
            black_box(response)
                .encode(api_version, 1)
                .expect("the version is served")
        });
    });
    group.finish();
}

fn fetch_encode(c: &mut Criterion) {
    let log = Bytes::from(vec![7; 1 << 20]);
    for (partitions, records_len) in [(1, 0), (1, 1 << 20), (100, 256), (100, 64 << 10), (1000, 1024)] {
        let partition = |index| fetch::PartitionData {
            partition_index: index,
            records: Some(log.slice(..records_len).into()),
            ..Default::default()
        };
        let topic = fetch::FetchableTopicResponse {
            topic_id: Uuid::from_u128(1),
            partitions: (0..partitions).map(partition).collect(),
            ..Default::default()
        };
        let response = FetchResponse {
            responses: vec![topic],
            ..Default::default()
        };
        let name = format!("fetch/{partitions}x{records_len}");
        encode(c, &name, partitions as usize, &response.into(), 16);
    }
}

fn metadata_encode(c: &mut Criterion) {
    let partition = |index| metadata::MetadataResponsePartition {
        partition_index: index,
        replica_nodes: vec![1],
        isr_nodes: vec![1],
        ..Default::default()
    };
    let topic = metadata::MetadataResponseTopic {
        name: Some("a-topic-of-some-length".into()),
        topic_id: Uuid::from_u128(1),
        partitions: (0..1000).map(partition).collect(),
        ..Default::default()
    };
    let response = MetadataResponse {
        topics: vec![topic],
        ..Default::default()
    };
    encode(c, "metadata/1000", 1000, &response.into(), 12);
}

criterion_group!(
    benches,
    produce_decode,
    fetch_decode,
    fetch_encode,
    metadata_encode
);
criterion_main!(benches);
