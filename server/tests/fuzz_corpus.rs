//! The checks of the fuzz targets, on every file of their corpora and on mutations of them.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/checks/decode_request.rs"]
mod decode_request;
#[path = "../../fuzz/checks/decode_response.rs"]
mod decode_response;
#[path = "../../fuzz/checks/differential.rs"]
mod differential;
#[path = "../../fuzz/checks/primitives.rs"]
mod primitives;
#[path = "../../fuzz/checks/recovery.rs"]
mod recovery;

/// Mutations of each file.
const MUTATIONS: usize = 1_000;
/// Of a store, which takes milliseconds to open.
const MUTATED_STORES: usize = 200;

/// Runs the check of a target on its corpus. The seed of the mutations is printed, and taken from `CHRONIK_TEST_SEED` if
/// that is set.
fn run(target: &str, mutations: usize, check: fn(&[u8])) {
    let seed = std::env::var("CHRONIK_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("CHRONIK_TEST_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("the corpus is there")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "the corpus of {target} is empty");
    for path in paths {
        let input = fs::read(&path).expect("a file of the corpus");
        eprintln!("{}", path.display());
        check(&input);
        for _ in 0..mutations {
            check(&mutated(&input, &mut rng));
        }
    }
}

/// The input with a few changes of the kinds that break decoders.
fn mutated(input: &[u8], rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..rng.usize(1..5) {
        let at = rng.usize(..=bytes.len());
        match rng.u8(..5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.u8(..)),
            2 => bytes.extend_from_within(at..),
            _ => {
                let extreme = *rng.choice(&[0, 1, 2, 0x7f, 0x80, 0xff]).expect("not empty");
                let value = if rng.bool() { extreme } else { rng.u8(..) };
                bytes.get_mut(at).into_iter().for_each(|byte| *byte = value);
            }
        }
    }
    bytes
}

#[test]
fn decode_request_holds_on_its_corpus() {
    run("decode_request", MUTATIONS, decode_request::check);
}

#[test]
fn decode_response_holds_on_its_corpus() {
    run("decode_response", MUTATIONS, decode_response::check);
}

#[test]
fn differential_holds_on_the_corpus_of_requests() {
    run("decode_request", MUTATIONS, differential::check);
}

#[test]
fn primitives_holds_on_its_corpus() {
    run("primitives", MUTATIONS, primitives::check);
}

#[test]
fn recovery_holds_on_its_corpus() {
    run("recovery", MUTATED_STORES, recovery::check);
}
