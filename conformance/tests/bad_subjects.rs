//! A subject that never returns, ends its process, or takes all memory gets a verdict, and the other checks are judged
//! all the same. This program is the subject too: where the variable `CHRONIK_BAD` is set, it is a store that behaves so.

#![allow(clippy::print_stdout, reason = "the output of a test")]

use chronik_conformance::log_store::{self, Backend, Scale};
use chronik_conformance::reference::{MemOptions, MemStore};
use chronik_conformance::runner::Args;
use chronik_core::log_store::{SegmentPolicy, StoreHealth};
use chronik_core::{Env, FileSystem, GroupId, GroupLog, LogError, LogStore, Ticket, Watch};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The variable that says how the store behaves.
const BAD: &str = "CHRONIK_BAD";
/// A store that behaves well.
const WELL: &str = "well";
/// The only check that opens this group.
const GROUP: GroupId = GroupId(7);
const ITS_CLAUSE: &str = "LS-BAS-01";
const LIMIT_SECONDS: &str = "4";
const MEMORY_MIB: &str = "256";

/// The variable with the path of the file that says that the store crashed before.
const MARKER: &str = "CHRONIK_BAD_MARKER";
/// The variables by which a run tells the processes that it starts what to do.
const NEWS: &str = "CHRONIK_CONFORMANCE_NEWS";
const CHECKS: &str = "CHRONIK_CONFORMANCE_CHECKS";
const PARENT: &str = "CHRONIK_CONFORMANCE_PARENT";
/// A store whose processes find no file to tell something in.
const SPEECHLESS: &str = "loses its file";
const THREE: [&str; 3] = ["LS-BAS-01", "LS-BAS-03", "LS-BAS-07"];

struct Bad;

impl Drop for Bad {
    /// The last that a process with checks does.
    fn drop(&mut self) {
        let how = std::env::var(BAD).unwrap_or_default();
        match how.as_str() {
            "aborts at its end" if std::env::var_os(NEWS).is_some() => std::process::abort(),
            "stays at its end" if std::env::var_os(NEWS).is_some() => stay(),
            _ => {}
        }
    }
}

#[derive(Debug)]
struct BadStore(MemStore);

fn stay() -> ! {
    loop {
        std::thread::park_timeout(Duration::from_secs(60));
    }
}

fn behave_badly(how: &str) {
    match how {
        "hangs" => stay(),
        "spins" => while std::env::var_os(BAD).is_some() {},
        "aborts" => std::process::abort(),
        "aborts once" => abort_once(),
        "aborts once beside another" => {
            while !crashed_before() && !OTHER_RUNS.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            abort_once();
        }
        "aborts and takes the folder away" => {
            drop(std::fs::remove_dir_all(marker()));
            std::process::abort();
        }
        "leaves a file and hangs" => {
            drop(std::fs::write(std::env::temp_dir().join("key"), "secret"));
            stay();
        }
        "leaves" => std::process::exit(0),
        "overflows its stack" => drop(deeper(1, 1)),
        "takes all memory" => {
            let mut taken: Vec<Vec<u8>> = Vec::new();
            loop {
                taken.push(vec![1; 8 << 20]);
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
        "keeps memory" => locked().push(vec![1; KEPT]),
        WELL | SPEECHLESS | "aborts at its end" | "stays at its end" => {}
        _ => panic!("it panics"),
    }
}

/// What the store does to checks that it does not behave badly to.
fn beside(how: &str) {
    match how {
        "aborts once beside another" if !crashed_before() => {
            OTHER_RUNS.store(true, Ordering::SeqCst);
            stay();
        }
        // Too much together with what another check left.
        "keeps memory" if !locked().is_empty() => {
            locked().push(vec![1; KEPT]);
            stay();
        }
        _ => {}
    }
}

fn marker() -> PathBuf {
    PathBuf::from(std::env::var_os(MARKER).unwrap_or_default())
}

/// Noted before anything else can be asked.
fn crashed_before() -> bool {
    static BEFORE: OnceLock<bool> = OnceLock::new();
    *BEFORE.get_or_init(|| marker().exists())
}

fn abort_once() {
    if !crashed_before() {
        drop(std::fs::write(marker(), ""));
        std::process::abort();
    }
}

static OTHER_RUNS: AtomicBool = AtomicBool::new(false);
static MEMORY: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
/// Bytes that are not too much alone.
const KEPT: usize = 160 << 20;

fn locked() -> MutexGuard<'static, Vec<Vec<u8>>> {
    MEMORY.lock().unwrap_or_else(PoisonError::into_inner)
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
        let how = std::env::var(BAD).unwrap_or_default();
        if group == GROUP {
            behave_badly(&how);
        } else {
            beside(&how);
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

/// How a run ended, and what it printed.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Run {
    /// The lines of checks that the store failed by more than a wrong answer.
    fn errors(&self) -> Vec<&str> {
        let lines = self.out.lines();
        lines.filter(|line| line.contains(" ... ERROR")).collect()
    }

    /// Whether it ended with these counts, with an error of `clause` alone that says this.
    fn blames(&self, clause: &str, says: &str, counts: &str) -> Result<(), String> {
        let right = self.code == Some(1)
            && self.out.lines().last() == Some(counts)
            && matches!(self.errors().as_slice(), [one] if one.contains(clause))
            && self.out.contains(&format!("  {says}"))
            && self.out.contains("--seed 0x0000000000000001");
        right.then_some(()).ok_or_else(|| format!("{self:?}"))
    }
}

/// This program as the conformance run of a store that behaves so.
fn program(how: &str) -> Result<Command, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command
        .env(BAD, how)
        .env_remove("CHRONIK_REPORT_DIR")
        .env_remove("CHRONIK_SEED");
    Ok(command)
}

fn finished(command: &mut Command) -> Result<Run, String> {
    let run = command.output().map_err(|error| error.to_string())?;
    Ok(Run {
        code: run.status.code(),
        out: String::from_utf8_lossy(&run.stdout).into_owned(),
        err: String::from_utf8_lossy(&run.stderr).into_owned(),
    })
}

/// Runs checks on a store that behaves so.
fn run_bad(how: &str, checks: &[&str], threads: &str) -> Result<Run, String> {
    let marker = path_of("marker", how);
    let limits = ["--limit", LIMIT_SECONDS, "--memory", MEMORY_MIB];
    let mut command = program(how)?;
    command
        .args(checks)
        .args(limits)
        .args(["--test-threads", threads]);
    let run = finished(command.env(MARKER, &marker));
    drop(std::fs::remove_file(marker));
    run
}

/// A file or folder of one test.
fn path_of(what: &str, how: &str) -> PathBuf {
    let name = format!("chronik-bad-{what}-{}-{how}", std::process::id());
    std::env::temp_dir().join(name.replace(' ', "-"))
}

/// Judges a store that behaves so; returns what is wrong with the verdict.
fn judge(how: &str, says: &str) -> Result<(), String> {
    let run = run_bad(how, &THREE, "2")?;
    run.blames(ITS_CLAUSE, says, "2 passed, 1 failed, 0 skipped")
}

/// Runs this program as the conformance run of a good store; returns how it ended and what it printed.
fn run_well(arguments: &[&str]) -> Result<(Option<i32>, String), String> {
    let run = finished(program(WELL)?.args(arguments))?;
    Ok((run.code, run.out))
}

/// A crash that does not come again is told all the same.
fn judge_one_crash() -> Result<(), String> {
    let (says, counts) = (
        "the process of the check ended: by signal 6",
        "2 passed, 1 failed, 0 skipped",
    );
    run_bad("aborts once", &THREE, "1")?.blames(ITS_CLAUSE, says, counts)
}

fn judge_one_crash_of_two() -> Result<(), String> {
    let run = run_bad("aborts once beside another", &THREE, "2")?;
    let says = "the process ended by signal 6 while LS-BAS-01 ";
    run.blames("LS-BAS-03", says, "2 passed, 1 failed, 0 skipped")?;
    let right = run.out.contains("; none did it alone");
    right.then_some(()).ok_or_else(|| format!("{run:?}"))
}

/// How a process ends belongs to its last check.
fn judge_ends() -> Result<(), String> {
    let counts = "2 passed, 1 failed, 0 skipped";
    let says = "the process of the check ended: by signal 6";
    run_bad("aborts at its end", &THREE, "1")?.blames("LS-BAS-07", says, counts)?;
    let says = "the process of the check ran none for 4 s, and did not end";
    run_bad("stays at its end", &THREE, "1")?.blames("LS-BAS-07", says, counts)
}

/// What several took together is the fault of none.
fn judge_kept_memory() -> Result<(), String> {
    let run = run_bad("keeps memory", &["LS-BAS-01", "LS-BAS-07"], "1")?;
    let told = [
        "note: LS-BAS-01 ",
        "LS-BAS-07 ",
        " took more than 256 MiB of memory together",
    ];
    let right = run.code == Some(0)
        && told.iter().all(|part| run.out.contains(part))
        && run.out.ends_with("2 passed, 0 failed, 0 skipped\n");
    right.then_some(()).ok_or_else(|| format!("{run:?}"))
}

/// What a process leaves in its folder for temporary files goes with it, also where it is killed.
fn judge_leavings() -> Result<(), String> {
    let folder = path_of("folder", "of leavings");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let mut command = program("leaves a file and hangs")?;
    command
        .args([ITS_CLAUSE, "--limit", LIMIT_SECONDS])
        .env("TMPDIR", &folder);
    let run = finished(&mut command)?;
    let left: Vec<_> = std::fs::read_dir(&folder)
        .map_err(|error| error.to_string())?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    drop(std::fs::remove_dir_all(&folder));
    let right = run.code == Some(1) && left.is_empty();
    right.then_some(()).ok_or_else(|| format!("{left:?} {run:?}"))
}

/// A process that cannot tell what becomes of checks runs none, and says so; who started it reports that.
fn judge_speechless() -> Result<(), String> {
    let nowhere = path_of("nowhere", "of the speechless");
    let mut command = program(WELL)?;
    command.args(THREE).env(NEWS, &nowhere).env(CHECKS, "0");
    let run = finished(&mut command)?;
    if run.code != Some(3) || !run.out.is_empty() || !run.err.contains(&*nowhere.to_string_lossy()) {
        return Err(format!("{run:?}"));
    }
    let run = run_bad(SPEECHLESS, &THREE, "1")?;
    let says = "the process of the check ended: it could not open the file";
    let right = run.code == Some(1)
        && run.out.matches(says).count() == 3
        && run.out.ends_with("0 passed, 3 failed, 0 skipped\n");
    right.then_some(()).ok_or_else(|| format!("{run:?}"))
}

/// Where no process can be started, the checks run without, or are errors where some were judged before.
fn judge_without_processes() -> Result<(), String> {
    let nowhere = path_of("nowhere", "at all");
    let run = finished(program(WELL)?.args(THREE).env("TMPDIR", &nowhere))?;
    let told = run
        .err
        .contains("the checks run without a process of their own: ");
    if run.code != Some(0) || !told || !run.out.ends_with("3 passed, 0 failed, 0 skipped\n") {
        return Err(format!("{run:?}"));
    }
    let folder = path_of("folder", "taken away");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let mut command = program("aborts and takes the folder away")?;
    let run = finished(
        command
            .args(THREE)
            .args(["--test-threads", "1"])
            .env("TMPDIR", &folder)
            .env(MARKER, &folder),
    )?;
    let right = run.code == Some(1)
        && run.errors().len() == 3
        && run
            .out
            .matches("no process could be started for the check: ")
            .count()
            == 2
        && run.out.ends_with("0 passed, 3 failed, 0 skipped\n");
    right.then_some(()).ok_or_else(|| format!("{run:?}"))
}

/// A process whose parent was killed before it looked leaves.
fn judge_an_orphan() -> Result<(), String> {
    let news = path_of("news", "of an orphan");
    std::fs::write(&news, "").map_err(|error| error.to_string())?;
    let mut command = program("hangs")?;
    command.arg(ITS_CLAUSE).env(NEWS, &news).env(CHECKS, "0");
    // That is no process.
    let child = command.env(PARENT, "0").spawn();
    let mut child = child.map_err(|error| error.to_string())?;
    let begun = Instant::now();
    let status = loop {
        let status = child.try_wait().map_err(|error| error.to_string())?;
        if status.is_some() || begun.elapsed() > Duration::from_secs(60) {
            break status;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    };
    drop((child.kill(), child.wait(), std::fs::remove_file(news)));
    let right = status.and_then(|status| status.code()) == Some(1);
    right.then_some(()).ok_or_else(|| format!("{status:?}"))
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
    for (name, test) in OTHERS {
        tests.push(((*name).to_owned(), Box::new(*test)));
    }
    tests
}

/// Judges something, and returns what is wrong.
type Judge = fn() -> Result<(), String>;

const OTHERS: &[(&str, Judge)] = &[
    ("a store that aborts once", judge_one_crash),
    (
        "a store that aborts once while two checks run",
        judge_one_crash_of_two,
    ),
    ("a store that aborts or stays at its end", judge_ends),
    ("a store that keeps memory from check to check", judge_kept_memory),
    ("no process can be started", judge_without_processes),
    ("a process whose parent is gone leaves", judge_an_orphan),
    ("a process that cannot tell anything", judge_speechless),
    ("what a killed process leaves goes with it", judge_leavings),
    ("a run is understood by nextest", judge_as_nextest),
];

fn main() -> ExitCode {
    if let Some(how) = std::env::var_os(BAD) {
        if let Some(news) = std::env::var_os(NEWS).filter(|_| how == SPEECHLESS) {
            drop(std::fs::remove_file(news));
        }
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
