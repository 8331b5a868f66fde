//! What every bucket promises, judged on each of them: memory, a directory, and S3 over HTTP.

use crate::real::{TempDir, real_env, s3_options};
use bytes::Bytes;
use chronik_core::Env;
use chronik_storage_object::StoreErrorKind;
use chronik_storage_object::bucket::{
    Bucket, Condition, FileBucket, MemoryBucket, Part, RetryPolicy, Retrying, S3Bucket, Version, Want,
};
use chronik_storage_object::{StoreError, TierMetrics};
use futures_lite::future::block_on;
use std::sync::Arc;

const ALL: Want = Want::All { max_bytes: 100 << 20 };

fn kind<T>(answer: Result<T, StoreError>) -> Option<StoreErrorKind> {
    answer.err().map(|error| error.kind)
}

fn body(text: &str) -> Vec<Bytes> {
    let (front, back) = text.split_at(text.len() / 2);
    vec![Bytes::from(front.to_owned()), Bytes::from(back.to_owned())]
}

fn put(bucket: &dyn Bucket, key: &str, text: &str, condition: Condition) -> Result<Version, StoreError> {
    block_on(bucket.put(key, body(text), condition))
}

fn reads_and_writes(bucket: &dyn Bucket) {
    assert_eq!(
        kind(block_on(bucket.get("a/none", ALL))),
        Some(StoreErrorKind::NotFound)
    );
    assert_eq!(
        kind(block_on(bucket.get("a/none", Want::Meta))),
        Some(StoreErrorKind::NotFound)
    );
    put(bucket, "a/x", "0123456789", Condition::Always).unwrap();
    let found = block_on(bucket.get("a/x", ALL)).unwrap();
    assert_eq!((&found.data[..], found.meta.size_bytes), (&b"0123456789"[..], 10));
    assert_eq!(&*found.meta.key, "a/x");
    assert_eq!(
        &block_on(bucket.get("a/x", Want::Range(3..7))).unwrap().data[..],
        b"3456"
    );
    let meta = block_on(bucket.get("a/x", Want::Meta)).unwrap();
    assert!(meta.data.is_empty() && meta.meta.size_bytes == 10 && meta.version == found.version);
    assert!(
        block_on(bucket.get("a/x", Want::Range(8..12))).is_err(),
        "no short answers"
    );
    assert_eq!(
        kind(block_on(bucket.get("a/x", Want::All { max_bytes: 9 }))),
        Some(StoreErrorKind::Invalid)
    );
    block_on(bucket.delete("a/x")).unwrap();
    block_on(bucket.delete("a/x")).unwrap();
    assert_eq!(
        kind(block_on(bucket.get("a/x", ALL))),
        Some(StoreErrorKind::NotFound)
    );
}

fn conditions(bucket: &dyn Bucket) {
    let first = put(bucket, "c/head", "one", Condition::Absent).unwrap();
    assert_eq!(
        kind(put(bucket, "c/head", "two", Condition::Absent)),
        Some(StoreErrorKind::Conflict)
    );
    let second = put(bucket, "c/head", "two", Condition::Unchanged(first.clone())).unwrap();
    assert_ne!(first, second);
    let stale = put(bucket, "c/head", "three", Condition::Unchanged(first.clone()));
    assert_eq!(kind(stale), Some(StoreErrorKind::Conflict));
    assert_eq!(&block_on(bucket.get("c/head", ALL)).unwrap().data[..], b"two");
    let missing = put(bucket, "c/none", "x", Condition::Unchanged(first));
    assert_eq!(kind(missing), Some(StoreErrorKind::Conflict));
}

fn lists(bucket: &dyn Bucket) {
    for key in ["l/a/2", "l/a/1", "l/ab", "l/b/1", "m/1"] {
        put(bucket, key, key, Condition::Always).unwrap();
    }
    let list = |folder: &str, after: Option<&str>| -> Vec<String> {
        let page = block_on(bucket.list(folder, after)).unwrap();
        assert!(!page.more);
        page.objects.iter().map(|object| object.key.to_string()).collect()
    };
    assert_eq!(list("l", None), ["l/a/1", "l/a/2", "l/ab", "l/b/1"]);
    assert_eq!(list("l/a", None), ["l/a/1", "l/a/2"]);
    assert_eq!(list("l", Some("l/a/2")), ["l/ab", "l/b/1"]);
    assert_eq!(list("l", Some("l/a/z")), ["l/ab", "l/b/1"]);
    assert!(list("none", None).is_empty());
    assert!(list("", None).len() >= 5);
}

fn parts(bucket: &dyn Bucket) {
    // S3 wants parts of 5 MiB or more, but for the last one.
    let large = Bytes::from(vec![7; 5 << 20]);
    let upload = block_on(bucket.part("u/x", Part::Begin)).unwrap();
    let store = |number, position, body: Vec<Bytes>| {
        let part = Part::Store {
            upload: Arc::clone(&upload),
            number,
            position,
            body,
        };
        block_on(bucket.part("u/x", part)).unwrap()
    };
    let second = store(1, 5 << 20, vec![Bytes::from_static(b"end")]);
    store(0, 0, vec![Bytes::from(vec![1; 5 << 20])]);
    let first = store(0, 0, vec![large.clone()]);
    assert_eq!(
        kind(block_on(bucket.get("u/x", ALL))),
        Some(StoreErrorKind::NotFound)
    );
    let tags = vec![first, second];
    block_on(bucket.part("u/x", Part::Complete { upload, tags })).unwrap();
    let found = block_on(bucket.get("u/x", ALL)).unwrap().data;
    assert_eq!(found.len(), (5 << 20) + 3);
    assert!(found.starts_with(&large) && found.ends_with(b"end"));
    let upload = block_on(bucket.part("u/y", Part::Begin)).unwrap();
    block_on(bucket.part("u/y", Part::Abort { upload })).unwrap();
    assert_eq!(
        kind(block_on(bucket.get("u/y", ALL))),
        Some(StoreErrorKind::NotFound)
    );
}

/// Of many writers with the same condition one wins, every time.
fn races(bucket: &Arc<dyn Bucket>) {
    for round in 0..10 {
        let key = format!("r/{round}");
        let absent = race(bucket, &key, &Condition::Absent);
        let version = block_on(bucket.get(&key, ALL)).unwrap().version;
        let unchanged = race(bucket, &key, &Condition::Unchanged(version));
        assert_eq!((absent, unchanged), (1, 1), "one winner a round");
    }
}

fn race(bucket: &Arc<dyn Bucket>, key: &str, condition: &Condition) -> usize {
    let writers: Vec<_> = (0..6)
        .map(|writer| {
            let (bucket, key, condition) = (Arc::clone(bucket), key.to_owned(), condition.clone());
            let text = format!("{condition:?} writer {writer}");
            std::thread::spawn(move || put(&*bucket, &key, &text, condition).is_ok())
        })
        .collect();
    writers
        .into_iter()
        .filter(|_| true)
        .map(|writer| writer.join().unwrap())
        .filter(|won| *won)
        .count()
}

fn retrying(bucket: Arc<dyn Bucket>, env: Env) -> Arc<dyn Bucket> {
    let metrics = Arc::new(TierMetrics::default());
    Arc::new(Retrying::new(bucket, env, RetryPolicy::default(), metrics))
}

fn judge(bucket: Arc<dyn Bucket>, env: Env) {
    let bucket = retrying(bucket, env);
    reads_and_writes(&*bucket);
    conditions(&*bucket);
    lists(&*bucket);
    parts(&*bucket);
    races(&bucket);
}

#[test]
fn a_bucket_in_memory_keeps_the_contract() {
    let env = real_env();
    judge(Arc::new(MemoryBucket::new(Arc::clone(&env.clock))), env);
}

#[test]
fn a_bucket_in_a_directory_keeps_the_contract() {
    let (dir, env) = (TempDir::new(), real_env());
    judge(Arc::new(FileBucket::new(dir.path(), env.clone())), env.clone());
    let again = FileBucket::new(dir.path(), env);
    assert_eq!(
        &block_on(again.get("c/head", ALL)).unwrap().data[..],
        b"two",
        "it survives"
    );
    for key in ["../x", "/x", "a//b", "a/../b", ".lock", "a b"] {
        assert_eq!(
            kind(put(&again, key, "x", Condition::Always)),
            Some(StoreErrorKind::Invalid),
            "{key}"
        );
    }
}

/// Against the server that the environment names (`tests/s3/run.sh` starts one).
#[test]
fn an_s3_bucket_keeps_the_contract() {
    let Some(options) = s3_options("contract") else {
        return;
    };
    judge(Arc::new(S3Bucket::open(&options).unwrap()), real_env());
}

#[test]
fn wrong_s3_settings_are_named() {
    let Some(mut options) = s3_options("wrong") else {
        return;
    };
    "chronik-no-such-bucket".clone_into(&mut options.bucket);
    let bucket = S3Bucket::open(&options).unwrap();
    let error = put(&bucket, "x", "x", Condition::Always).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Invalid, "{error}");
    assert!(error.detail.contains("create the bucket"), "{error}");
    options.endpoint = Some("http://127.0.0.1:9".to_owned());
    let bucket = S3Bucket::open(&options).unwrap();
    let error = put(&bucket, "x", "x", Condition::Always).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
}
