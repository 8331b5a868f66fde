#!/usr/bin/env python3
"""Shows that the checks notice defects of the product: builds the mutants of mutants.toml and judges each.

    run.py --check         every mutant can be made of the sources as they are (seconds; a part of .ci/run)
    run.py                 builds and runs all of them, and writes docs/conformance/mutants.md
    run.py NAME...         the named ones only; their rows of the page are renewed, the others stay as they are

All mutants are built at once, into a copy of the sources under target/mutants, each behind a switch that the copy alone has:
what is shipped contains none of this. The switch is the variable CHRONIK_PRODUCT_MUTANT. Without it the copy must pass.

A mutant may name the product's own test that guards against it (`guard`): it looks where no check sees anything.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Builds have a folder of their own: cargo would take what it built of the copy for what it built of the sources.
WORK = ROOT / "target/mutants"
PAGE = ROOT / "docs/conformance/mutants.md"
# What judges a mutant.
JUDGES = {
    "cluster": "server/tests/simulation.rs",
    "store": "storage-mmap/tests/conformance.rs",
    "partitions": "server/tests/partitions/main.rs",
}
CRATES = ["conformance", "consensus", "core", "server", "storage-mmap", "storage-object", "transport-capnp"]
# How many runs, always the same ones, look for a mutant of the partitions.
PARTITION_RUNS = 40
# A mutant that makes a check hang is noticed too.
LIMIT_S = 900

SWITCH = """
/// Switches of the mutants; of the copy alone.
pub(crate) mod product_mutant {
    pub(crate) fn on(name: &str) -> bool {
        static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
        CHOSEN.get_or_init(|| std::env::var("CHRONIK_PRODUCT_MUTANT").ok()).as_deref() == Some(name)
    }
}
"""

MANIFEST = """
[package]
name = "chronik-mutants"
version = "0.0.0"
edition.workspace = true
publish = false

[[bin]]
name = "chronik-mutants-cluster"
path = "../cluster.rs"

[[bin]]
name = "chronik-mutants-store"
path = "../store.rs"

[[bin]]
name = "chronik-mutants-partitions"
path = "../server/tests/partitions/main.rs"

[dependencies]
async-channel.workspace = true
bytes.workspace = true
chronik-conformance.workspace = true
chronik-consensus.workspace = true
chronik-core.workspace = true
chronik-server.workspace = true
chronik-storage-mmap.workspace = true
chronik-storage-object.workspace = true
futures-lite.workspace = true
serde_json.workspace = true
"""


class Refused(Exception):
    """A mutant that cannot be made of the sources."""


def find_once(text, piece, where):
    count = text.count(piece)
    if count != 1:
        raise Refused(f"{where}: {piece.strip()[:70]!r} stands there {count} times, not once")
    return text.index(piece)


def spans(mutants, read):
    """Per file, the places to edit: (start, end) -> [(mutant, new text)]."""
    files = {}
    for mutant in mutants:
        for edit in mutant["edit"]:
            where, old = f"{mutant['name']}: {edit['file']}", edit["old"]
            text = read(edit["file"])
            start = find_once(text, edit.get("at", old), where)
            if "at" in edit:
                start += find_once(edit["at"], old, where)
            place = (start, start + len(old))
            files.setdefault(edit["file"], {}).setdefault(place, []).append((mutant["name"], edit["new"]))
    for file, places in files.items():
        ends = sorted(places)
        for (_, end), (start, _) in zip(ends, ends[1:]):
            if start < end:
                raise Refused(f"{file}: two edits overlap without being the same")
    return files


def mutated(text, places):
    for start, end in sorted(places, reverse=True):
        crate = "crate::product_mutant::on"
        arms = "".join(f'if {crate}("{name}") {{ {new} }} else ' for name, new in places[(start, end)])
        text = f"{text[:start]}{{ {arms}{{ {text[start:end]} }} }}{text[end:]}"
    return text


def check_syntax(files):
    """With its mutants written into it each file must still be Rust, as rustfmt reads it."""
    for file, places in files.items():
        text = mutated((ROOT / file).read_text(), places)
        read = subprocess.run(["rustfmt", "--edition", "2024", "--emit", "stdout"], input=text, capture_output=True,
                              text=True, check=False)
        if read.returncode:
            raise Refused(f"{file}: its mutants cannot stand where they are written: {read.stderr.strip()[:300]}")


def write(path, text):
    """Leaves alone what is as it should be, so that cargo builds only what changed."""
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def build(files, judges):
    tree = WORK / "tree"
    wanted = subprocess.run(["git", "ls-files", "--", *CRATES], cwd=ROOT, capture_output=True, text=True, check=True)
    wanted = {name for name in wanted.stdout.split("\n") if name.endswith((".rs", ".toml")) and "third-party" not in name}
    for name in wanted:
        text = (ROOT / name).read_text()
        if name in files:
            text = mutated(text, files[name])
        if name.split("/")[1:] == ["src", "lib.rs"] and any(file.split("/")[0] == name.split("/")[0] for file in files):
            # Braces and values that nobody uses are how mutants are written.
            text = f"#![allow(warnings)]\n{text}{SWITCH}"
        write(tree / name, text)
    for path in tree.glob("*/**/*.rs"):
        if str(path.relative_to(tree)) not in wanted:
            path.unlink()
    manifest = (ROOT / "Cargo.toml").read_text().split("\n")
    members = json.dumps([*CRATES, "mutants"])
    manifest = [f"members = {members}" if line.startswith("members = ") else line for line in manifest]
    manifest = [line for line in manifest if not line.startswith("exclude = ")]
    manifest.insert(manifest.index("[workspace.dependencies]") + 1, 'chronik-server = { path = "server" }')
    write(tree / "Cargo.toml", "\n".join(manifest))
    write(tree / "mutants/Cargo.toml", MANIFEST)
    for judge, source in JUDGES.items():
        if judge == "partitions":
            continue  # It has modules of its own, and is built where it lies.
        write(tree / f"{judge}.rs", (ROOT / source).read_text())
    shutil.copy(ROOT / "Cargo.lock", tree / "Cargo.lock")
    env = os.environ | {"CARGO_TARGET_DIR": str(WORK / "build"), "CARGO_INCREMENTAL": "0"}
    command = ["cargo", "build", "--quiet", "--release", "--package", "chronik-mutants"]
    command += [word for judge in judges for word in ("--bin", f"chronik-mutants-{judge}")]
    subprocess.run([*command, "--manifest-path", str(tree / "Cargo.toml")], cwd=tree, env=env, check=True)


def guards_of(mutants):
    """The test programs of the guards, built: (package, target) -> program."""
    wanted = sorted({(guard["package"], guard["target"]) for mutant in mutants if (guard := mutant.get("guard"))})
    env = os.environ | {"CARGO_TARGET_DIR": str(WORK / "build"), "CARGO_INCREMENTAL": "0"}
    programs = {}
    for package, target in wanted:
        which = ["--lib"] if target == "lib" else ["--test", target]
        command = ["cargo", "test", "--quiet", "--release", "--no-run", "--message-format", "json", "--package", package]
        built = subprocess.run([*command, *which, "--manifest-path", str(WORK / "tree/Cargo.toml")], cwd=WORK / "tree",
                               env=env, stdout=subprocess.PIPE, text=True, check=True)
        found = [json.loads(line).get("executable") for line in built.stdout.split("\n") if line.startswith("{")]
        programs[package, target] = [program for program in found if program][-1]
    return programs


def play_guard(program, test, name):
    """What the product's own test says of a mutant, or of none: whether it passed, and why not."""
    env = os.environ | {"CHRONIK_PRODUCT_MUTANT": name}
    command = [program, "--exact", test, "--test-threads", "1", "--nocapture"]
    try:
        run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return False, f"the test did not end within {LIMIT_S} s"
    if " 1 passed; 0 failed" in run.stdout:
        return True, ""
    said = re.search(r"panicked at .*\n(.*)", run.stderr)
    return False, said.group(1) if said else (run.stdout + run.stderr).strip().split("\n")[-1]


def program_of(judge):
    return WORK / f"build/release/chronik-mutants-{judge}"


class Unfinished(Exception):
    """The checks did not end in time."""


class NoReport(Unfinished):
    """They ended and left no report, which no mutant can make them do: nobody knows what they would have said."""


def play(judge, name, *filters):
    """Runs the checks; returns the failed ones as the report has them."""
    report = WORK / f"{name or judge}.json"
    report.unlink(missing_ok=True)
    env = os.environ | {"CHRONIK_PRODUCT_MUTANT": name}
    for variable in ("CHRONIK_SEED", "CHRONIK_SWARM", "CHRONIK_REPORT_DIR"):
        env.pop(variable, None)
    with open(WORK / f"{name or judge}.log", "w") as log:
        command = [program_of(judge), *filters, "--test-threads", "1", "--json", str(report)]
        try:
            subprocess.run(command, env=env, stdout=log, stderr=log, timeout=LIMIT_S, check=False)
        except subprocess.TimeoutExpired:
            raise Unfinished(f"the checks did not end within {LIMIT_S} s") from None
    if not report.exists():
        raise NoReport("the checks ended without a report")
    return [check for check in json.loads(report.read_text())["checks"] if check["status"] not in ("passed", "skipped")]


def survey(name, runs):
    """Runs a swarm; returns how many runs failed, and by which clauses."""
    env = os.environ | {"CHRONIK_PRODUCT_MUTANT": name, "CHRONIK_SWARM": str(runs)}
    program = program_of("cluster")
    run = subprocess.run([program], env=env, capture_output=True, text=True, timeout=4 * LIMIT_S, check=False)
    lines = [line.split() for line in run.stdout.split("\n") if line.startswith("CHRONIK_SEED=")]
    broken = sorted({words[1].rstrip(":") for words in lines if len(words) > 1})
    return len({words[0] for words in lines}), broken


def judge_partitions(name):
    """What the simulated partitions make of a mutant, or of none: the scenes first, then random runs; stops at what fails."""
    base = os.environ | {"CHRONIK_PRODUCT_MUTANT": name}
    for variable in ("CHRONIK_SEED", "CHRONIK_SWARM", "CHRONIK_SCENES"):
        base.pop(variable, None)
    for chosen in ({"CHRONIK_SCENES": "1"}, {"CHRONIK_SWARM": f"{PARTITION_RUNS}@1"}):
        try:
            program, env = [program_of("partitions")], base | chosen
            run = subprocess.run(program, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        except subprocess.TimeoutExpired:
            return {"killed": True, "by": [], "saw": f"the runs did not end within {LIMIT_S} s", "seeds": "-"}
        if run.returncode != 0:
            break
    if run.returncode == 0:
        return {"killed": False, "by": [], "saw": "-", "seeds": f"0 of {PARTITION_RUNS} fail"}
    found = re.findall(r"^CHRONIK_SEED=(\S+) ([a-z-]+): (.*)", run.stdout, re.M)
    count = len({seed for seed, _, _ in found})
    scenes = re.findall(r"^scene: (.*?): ([a-z-]+): (.*)", run.stdout, re.M)
    seeds = "-" if scenes else f"{count} of {PARTITION_RUNS} fail"
    rules = list(dict.fromkeys(rule for _, rule, _ in scenes + found))
    saw = (scenes + found)[0][2] if rules else run.stdout.strip().split("\n")[-1]
    by = [f"`{rule}`" for rule in rules] or ["the count of what must happen"]
    return {"killed": True, "by": by, "saw": saw, "seeds": seeds}


def broken_by(check):
    """The clause that a failed check saw broken: that of another, where the oracle stopped the scene."""
    other = re.match(r"([A-Z]+-[A-Z]+-[0-9]+): ", check["evidence"])
    return other.group(1) if other else check["clause"]


def seeds_of(check):
    """In which run of the swarm a check met the breach; None for a check that plays a scene of its own."""
    if "CHRONIK_SEED=" not in check["evidence"]:
        return None
    marks = dict(part.rsplit(" ", 1) for part in check["marks"].split(", ") if part)
    return int(marks["seeds"])


def judge(mutant, guards):
    """What became of a mutant: by which checks it was noticed, or by which test of the product."""
    result = judge_by_checks(mutant)
    if guard := None if result["killed"] else mutant.get("guard"):
        program = guards[guard["package"], guard["target"]]
        passes, saw = play_guard(program, guard["test"], mutant["name"])
        if not passes:
            return {"killed": True, "by": [f"test `{guard['test'].split('::')[-1]}`"], "saw": saw, "seeds": "-"}
    return result


def judge_by_checks(mutant):
    """By which checks a mutant was noticed, those of its own clause first, and what they saw."""
    name, clause, judged_by = mutant["name"], mutant["clause"], mutant.get("judge", "cluster")
    if judged_by == "partitions":
        return judge_partitions(name)
    for filters in ([clause], []):
        try:
            failed = play(judged_by, name, *filters)
        except Unfinished as unfinished:
            killed = not isinstance(unfinished, NoReport)
            return {"killed": killed, "by": [], "saw": str(unfinished), "seeds": "-"}
        if failed:
            failed.sort(key=lambda check: (broken_by(check) != clause, check["clause"] != clause))
            seeds = [str(count) for count in map(seeds_of, failed) if count is not None]
            return {
                "killed": True,
                "by": [f"{broken_by(check)} `{check['name']}`" for check in failed],
                "saw": failed[0]["evidence"].split("\n")[0],
                "seeds": min(seeds, key=int, default="-"),
            }
    return {"killed": False, "by": [], "saw": "-", "seeds": "-"}


def judge_at_random(mutant, runs):
    """What random runs make of a mutant that no check noticed."""
    count, broken = survey(mutant["name"], runs)
    by = [f"{one}, random runs" for one in broken]
    return {"killed": bool(broken), "by": by, "saw": "-", "seeds": f"{count} of {runs} fail"}


HEAD = """# Defects of the product that the checks notice

Each row is a defect that was put into the product's own code: the raft-rs engine, the segment store, the partitions and
their tier; `tests/mutants/mutants.toml` has the lines. `tests/mutants/run.py` judges them and writes this page; the last
column says of which revision the row is, and the mutant is as it was there. One without a row was not judged yet.

Judges are `server/tests/simulation.rs`, whole clusters of that code under random faults, the log store suite, and
`server/tests/partitions`, whole clusters of partitions with their tier, whose rules the last table names. The checks of the
mutant's own clause look first, all others where they see nothing, then the product's own test that guards against the
defect (*test*), and more random runs where that sees nothing either. *Seeds* is how many random runs the quickest check
needed; `-` where a scene noticed the defect and no random run did. CI checks that every mutant can still be made of the
sources.
"""
COLUMNS = ["Mutant", "What it does", "Clause", "Noticed by", "Seeds", "What it saw", "Judged at"]
TABLES = [
    ("Noticed by the simulated cluster", lambda mutant: "fixed" not in mutant and "judge" not in mutant),
    ("Defects that the product once had", lambda mutant: "fixed" in mutant),
    ("Noticed by the log store suite", lambda mutant: "fixed" not in mutant and mutant.get("judge") == "store"),
    ("Noticed by the simulated partitions", lambda mutant: "fixed" not in mutant and mutant.get("judge") == "partitions"),
]
SURVIVES = "**survives**"


def row(mutant, result, revision):
    checks = result["by"][0] if result["by"] else "-"
    if len(result["by"]) > 1:
        checks += f" and {len(result['by']) - 1} more"
    saw = result["saw"].replace("|", "\\|")
    cells = [
        f"`{mutant['name']}`" + (f" (ended by {mutant['fixed']})" if "fixed" in mutant else ""),
        mutant["what"],
        mutant["clause"],
        checks if result["killed"] else SURVIVES,
        result["seeds"],
        saw if len(saw) <= 120 else saw[:117] + "...",
        revision,
    ]
    return f"| {' | '.join(cells)} |"


def rows_of(text):
    """The rows of a page, by mutant."""
    return {found.group(1): found.group(0) for found in re.finditer(r"^\| `([a-z-]+)`.*$", text, re.M)}


def reason(mutant, before):
    """Why a mutant is not noticed: what its lines say, or the page did."""
    if guard := mutant.get("guard"):
        return f"It was judged before its own test was asked, `{guard['test'].split('::')[-1]}`."
    said = re.search(rf"^- `{mutant['name']}`: (.*(?:\n  .*)*)", before, re.M)
    return mutant.get("why") or (re.sub(r"\s+", " ", said.group(1)) if said else "Not known.")


def page(mutants, results, before):
    """The page: new rows of what was judged now, and those that it had of the others."""
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    rows = rows_of(before)
    rows.update({mutant["name"]: row(mutant, result, revision.stdout.strip()) for mutant, result in results})
    text, why = HEAD, ""
    for title, belongs in TABLES:
        here = [mutant for mutant in mutants if belongs(mutant) and mutant["name"] in rows]
        if not here:
            continue
        lines = [rows[mutant["name"]] for mutant in here]
        noticed = sum(SURVIVES not in line for line in lines)
        head = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
        text += "\n".join([f"\n## {title}", *head, *lines, "", f"{noticed} of {len(lines)} are noticed.", ""])
        reasons = [f"`{mutant['name']}`: {reason(mutant, before)}" for mutant, line in zip(here, lines) if SURVIVES in line]
        why += "".join(textwrap.fill(reason, 120, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False,
                                     break_long_words=False) + "\n" for reason in reasons)
    return text + (f"\n## Why some are not noticed\n{why}" if why else "")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--random", type=int, default=200, help="random runs for what no check notices")
    chosen = parser.parse_args()
    mutants = tomllib.loads((Path(__file__).parent / "mutants.toml").read_text())["mutant"]
    names = [mutant["name"] for mutant in mutants]
    try:
        if len(set(names)) != len(names) or set(chosen.names) - set(names):
            raise Refused("two mutants have one name, or none has the one that was asked for")
        files = spans(mutants, lambda name: (ROOT / name).read_text())
        check_syntax(files)
    except Refused as refused:
        sys.exit(f"error: {refused}")
    if chosen.check:
        print(f"{len(mutants)} mutants can be made")
        return
    wanted = [mutant for mutant in mutants if not chosen.names or mutant["name"] in chosen.names]
    judges = sorted({mutant.get("judge", "cluster") for mutant in wanted})
    build(files, judges)
    for judged_by in judges:
        if judged_by == "partitions":
            if (result := judge_partitions(""))["killed"]:
                sys.exit(f"error: without a mutant the simulated partitions fail: {result}")
            continue
        try:
            if failed := play(judged_by, ""):
                sys.exit(f"error: without a mutant these fail: {[check['name'] for check in failed]}")
        except Unfinished as unfinished:
            sys.exit(f"error: without a mutant {unfinished}")
    guards = guards_of(wanted)
    for guard in {json.dumps(mutant["guard"], sort_keys=True) for mutant in wanted if "guard" in mutant}:
        guard = json.loads(guard)
        passes, saw = play_guard(guards[guard["package"], guard["target"]], guard["test"], "")
        if not passes:
            sys.exit(f"error: without a mutant {guard['test']} fails: {saw}")
    print("without a mutant all checks pass", flush=True)
    before = PAGE.read_text()
    results = []
    with ThreadPoolExecutor(chosen.jobs) as pool:
        for mutant, result in zip(wanted, pool.map(lambda mutant: judge(mutant, guards), wanted)):
            tell(mutant, result)
            results.append((mutant, result))
    # The page is there before what takes longest.
    for place, (mutant, result) in enumerate(results):
        PAGE.write_text(page(mutants, results, before))
        if chosen.random and not result["killed"] and "judge" not in mutant:
            results[place] = (mutant, judge_at_random(mutant, chosen.random))
            tell(*results[place])
    PAGE.write_text(page(mutants, results, before))
    if not all(result["killed"] or "why" in mutant for mutant, result in results):
        sys.exit(1)


def tell(mutant, result):
    verdict = "noticed" if result["killed"] else "SURVIVES"
    by = ", ".join(result["by"][:3])
    print(f"{verdict} {mutant['name']} ({mutant['clause']}): {by}; {result['saw'][:150]}; seeds {result['seeds']}", flush=True)


if __name__ == "__main__":
    main()
