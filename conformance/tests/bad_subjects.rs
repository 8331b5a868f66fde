//! A subject that never returns, ends its process, or takes all memory gets a verdict, and the other checks are judged
//! all the same. This program is the subject too: where the variable `CHRONIK_BAD` is set, it is a store that behaves so.

#![allow(clippy::print_stdout, reason = "the output of a test")]

use chronik_conformance::log_store::{self, Backend, Scale};
use chronik_conformance::reference::{MemOptions, MemStore};
use chronik_conformance::runner::Args;
use chronik_core::log_store::{SegmentPolicy, StoreHealth};
use chronik_core::{Env, FileSystem, GroupId, GroupLog, LogError, LogStore, Ticket, Watch};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

/// The variable that says how the store behaves.
const BAD: &str = "CHRONIK_BAD";
/// A store that behaves well.
const WELL: &str = "well";
/// The only check that opens this group.
const GROUP: GroupId = GroupId(7);
const ITS_CLAUSE: &str = "LS-BAS-01";
const LIMIT_SECONDS: &str = "4";
const MEMORY_MIB: &str = "256";

struct Bad;

#[derive(Debug)]
struct BadStore(MemStore);

fn behave_badly(how: &str) {
    match how {
        "hangs" => loop {
            std::thread::park_timeout(Duration::from_secs(60));
        },
        "spins" => while std::env::var_os(BAD).is_some() {},
        "aborts" => std::process::abort(),
        "leaves" => std::process::exit(0),
        "overflows its stack" => drop(deeper(1, 1)),
        "takes all memory" => {
            let mut taken: Vec<Vec<u8>> = Vec::new();
            loop {
                taken.push(vec![1; 8 << 20]);
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
        WELL => {}
        _ => panic!("it panics"),
    }
}

/// Calls itself for ever, with something to remember.
fn deeper(depth: u64, seen: u64) -> u64 {
    let here = std::hint::black_box([depth; 64]);
    if depth == 0 {
        return seen;
    }
    deeper(depth + 1, seen ^ here[depth as usize % 64]) + here[3]
}

impl LogStore for BadStore {
    fn open_group(&self, group: GroupId, policy: SegmentPolicy) -> Result<GroupLog, LogError> {
        if group == GROUP {
            behave_badly(&std::env::var(BAD).unwrap_or_default());
        }
        self.0.open_group(group, policy)
    }

    fn remove_group(&self, group: GroupId) -> Result<Ticket, LogError> {
        self.0.remove_group(group)
    }

    fn groups(&self) -> Vec<GroupId> {
        self.0.groups()
    }

    fn health(&self) -> Watch<StoreHealth> {
        self.0.health()
    }

    fn close(&self) -> Result<(), LogError> {
        self.0.close()
    }
}

impl Backend for Bad {
    fn name(&self) -> &str {
        "bad"
    }

    fn open(
        &self,
        fs: Arc<dyn FileSystem>,
        dir: &Path,
        env: Env,
        _: Scale,
    ) -> Result<Arc<dyn LogStore>, LogError> {
        let store = MemStore::open(&*fs, dir, env, MemOptions::default())?;
        Ok(Arc::new(BadStore(store)))
    }

    fn max_payload_bytes(&self, _: Scale) -> u64 {
        MemOptions::default().max_payload_bytes
    }
}

/// How a store can behave, and what the verdict says of it.
const WAYS: &[(&str, &str)] = &[
    ("panics", "panicked: it panics"),
    ("hangs", "the check did not end within 4 s"),
    ("spins", "the check did not end within 4 s"),
    ("aborts", "the process of the check ended: by signal 6"),
    ("leaves", "the process of the check ended: with exit status: 0"),
    (
        "overflows its stack",
        "the process of the check ended: by signal 6",
    ),
    (
        "takes all memory",
        "the process of the check took more than 256 MiB of memory",
    ),
];

/// Judges a store that behaves so; returns what is wrong with the verdict.
fn judge(how: &str, says: &str) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let run = Command::new(program)
        .args([
            "LS-BAS-01",
            "LS-BAS-03",
            "LS-BAS-07",
            "--limit",
            LIMIT_SECONDS,
            "--memory",
            MEMORY_MIB,
        ])
        .env(BAD, how)
        .env_remove("CHRONIK_REPORT_DIR")
        .output()
        .map_err(|error| error.to_string())?;
    let out = String::from_utf8_lossy(&run.stdout);
    let errors: Vec<&str> = out.lines().filter(|line| line.contains(" ... ERROR")).collect();
    let right = run.status.code() == Some(1)
        && out.lines().last() == Some("2 passed, 1 failed, 0 skipped")
        && matches!(errors.as_slice(), [one] if one.contains(ITS_CLAUSE))
        && out.contains(&format!("  {says}"))
        && out.contains("--seed 0x0000000000000001");
    if right {
        Ok(())
    } else {
        Err(format!("{:?}\n{out}", run.status))
    }
}

/// Runs this program as the conformance run of a good store; returns how it ended and what it printed.
fn run_well(arguments: &[&str]) -> Result<(Option<i32>, String), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let run = Command::new(program)
        .args(arguments)
        .env(BAD, WELL)
        .env_remove("CHRONIK_REPORT_DIR")
        .output()
        .map_err(|error| error.to_string())?;
    Ok((
        run.status.code(),
        String::from_utf8_lossy(&run.stdout).into_owned(),
    ))
}

/// What cargo-nextest asks of a test program: a list, a list of what is ignored, and one test by its name.
fn judge_as_nextest() -> Result<(), String> {
    let all = log_store::index();
    let listed: String = all
        .iter()
        .map(|(clause, _, name)| format!("{clause} {name}: test\n"))
        .collect();
    let (first, last) = (all.first(), all.last());
    let (Some((clause, _, name)), Some((_, _, other))) = (first, last) else {
        return Err("there are no checks".to_owned());
    };
    let one = format!("{clause} {name}");
    let expected = [
        (vec!["--list", "--format", "terse"], 0, listed.as_str()),
        (vec!["--list", "--format", "terse", "--ignored"], 0, ""),
    ];
    for (arguments, code, out) in expected {
        let got = run_well(&arguments)?;
        if got != (Some(code), out.to_owned()) {
            return Err(format!("{arguments:?}: {got:?}"));
        }
    }
    let (code, out) = run_well(&[&one, "--nocapture", "--exact"])?;
    let ran = out.lines().filter(|line| line.starts_with("test ")).count();
    if code != Some(0) || ran != 1 || out.contains(other) || !out.ends_with("1 passed, 0 failed, 0 skipped\n")
    {
        return Err(format!("{one}: {code:?}\n{out}"));
    }
    Ok(())
}

/// Says what is wrong, where something is.
type Test = Box<dyn Fn() -> Result<(), String>>;

/// The tests of this program by name.
fn tests() -> Vec<(String, Test)> {
    let judged = |(how, says): &(&'static str, &'static str)| {
        let (how, says) = (*how, *says);
        let test: Test = Box::new(move || judge(how, says));
        (format!("a store that {how}"), test)
    };
    let mut tests: Vec<_> = WAYS.iter().map(judged).collect();
    tests.push((
        "a run is understood by nextest".to_owned(),
        Box::new(judge_as_nextest),
    ));
    tests
}

fn main() -> ExitCode {
    if std::env::var_os(BAD).is_some() {
        return log_store::main(Bad);
    }
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(wrong) => {
            println!("error: {wrong}");
            return ExitCode::from(2);
        }
    };
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in tests().iter().filter(|(name, _)| args.selects(name)) {
        if args.list {
            println!("{name}: test");
            continue;
        }
        match test() {
            Ok(()) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Err(what) => {
                failed += 1;
                println!("test {name} ... FAILED\n{what}");
            }
        }
    }
    if !args.list {
        println!("{passed} passed, {failed} failed");
    }
    ExitCode::from(u8::from(failed > 0))
}
