//! `node.json`: who a data directory is.
//!
//! Written as a temporary file, synced, renamed, and the directory synced, so that a crash leaves the old file or the
//! new one. Format: `docs/format/node.md`.

use super::record::{Ballot, ClusterRecord, Engine, NodeRecord, Restoring};
use async_lock::Mutex;
use chronik_core::env::DiskLane;
use chronik_core::fs::{FileSystem, FsError, FsErrorKind, OpenMode};
use chronik_core::{Env, NodeId};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file's name in the data directory.
pub const NODE_FILE: &str = "node.json";
const TEMPORARY: &str = "node.json.new";
/// A record is a few hundred bytes; what is longer is not one.
const MAX_BYTES: u64 = 1 << 20;

/// Why a data directory is not usable by this node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file cannot be read or written.
    Disk(FsError),
    /// It is not what its format says.
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The directory belongs to another node.
    WrongNode {
        /// The file.
        path: PathBuf,
        /// The directory's.
        stored: NodeId,
        /// The configuration's.
        configured: NodeId,
    },
    /// A restore into the directory did not come to its end.
    HalfRestored {
        /// The directory.
        dir: PathBuf,
        /// The bucket.
        from: String,
    },
    /// The directory, or a peer, belongs to another cluster.
    WrongCluster {
        /// Where the cluster's id was found.
        place: String,
        /// The id found.
        found: String,
        /// The configuration's.
        configured: String,
    },
    /// The groups of the directory's cluster, or of a peer's, run on another consensus engine.
    WrongEngine {
        /// Where the cluster was found.
        place: String,
        /// Its engine.
        found: Engine,
        /// The configuration's.
        configured: Engine,
    },
}

/// Whose the configuration says that a directory is.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The node.
    pub node: NodeId,
    /// The cluster's id, where one is configured.
    pub cluster_id: Option<&'a str>,
    /// What decides in the groups.
    pub engine: Engine,
}

/// The identity of an open data directory. Changes are durable before their calls return.
#[derive(Debug)]
pub struct NodeFile {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    env: Env,
    node: NodeId,
    record: Mutex<NodeRecord>,
}

/// Reads a directory's identity and changes nothing; nothing where there is none yet.
///
/// # Errors
/// [`IdentityError::Disk`], [`IdentityError::Malformed`].
pub fn read(fs: &dyn FileSystem, dir: &Path) -> Result<Option<NodeRecord>, IdentityError> {
    let path = dir.join(NODE_FILE);
    let file = match fs.open(&path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind == FsErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(IdentityError::Disk(error)),
    };
    let malformed = |what: String| IdentityError::Malformed {
        path: path.clone(),
        what,
    };
    let size = file.size().map_err(IdentityError::Disk)?;
    if size > MAX_BYTES {
        return Err(malformed(format!("it has {size} bytes")));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    let read = file.read_at(&mut bytes, 0).map_err(IdentityError::Disk)?;
    bytes.truncate(read);
    NodeRecord::from_bytes(&bytes).map(Some).map_err(malformed)
}

/// Reads a directory's identity and checks that it is the configured node's, of the configured cluster where one is
/// configured, and of its engine. Changes nothing.
///
/// # Errors
/// [`IdentityError`].
pub fn check(fs: &dyn FileSystem, dir: &Path, claim: Claim<'_>) -> Result<Option<NodeRecord>, IdentityError> {
    let Claim {
        node,
        cluster_id,
        engine,
    } = claim;
    let record = read(fs, dir)?;
    let Some(known) = &record else { return Ok(None) };
    if known.node != node.0 {
        return Err(IdentityError::WrongNode {
            path: dir.join(NODE_FILE),
            stored: NodeId(known.node),
            configured: node,
        });
    }
    if let Some(cluster) = &known.cluster {
        cluster.check_id(cluster_id, &dir_file(dir))?;
        cluster.check_engine(engine, &dir_file(dir))?;
    }
    Ok(record)
}

impl NodeFile {
    /// The identity of a directory that this process holds the lock of. One without an identity gets it now:
    /// `adopted` is that of a directory which an older version made, and otherwise it is drawn.
    ///
    /// # Errors
    /// As [`check`].
    pub async fn open(
        fs: Arc<dyn FileSystem>,
        dir: PathBuf,
        env: Env,
        claim: Claim<'_>,
        adopted: Option<u64>,
    ) -> Result<Arc<Self>, IdentityError> {
        let known = check(&*fs, &dir, claim)?;
        let (node, fresh) = (claim.node, known.is_none());
        if fresh && adopted.is_some() && claim.engine != Engine::default() {
            return Err(IdentityError::WrongEngine {
                place: dir.display().to_string(),
                found: Engine::default(),
                configured: claim.engine,
            });
        }
        let record = known.unwrap_or_else(|| NodeRecord::new(node, adopted.unwrap_or_else(|| draw(&env))));
        let file = Arc::new(Self {
            fs,
            dir,
            env,
            node,
            record: Mutex::new(record.clone()),
        });
        if fresh {
            file.write(&record).await?;
        }
        Ok(file)
    }

    /// The node.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The identity now.
    pub async fn record(&self) -> NodeRecord {
        self.record.lock().await.clone()
    }

    /// Notes that the directory is being restored, until [`join_cluster`](Self::join_cluster) says that it is complete.
    ///
    /// # Errors
    /// [`IdentityError::Disk`].
    pub async fn begin_restore(&self, restoring: Restoring) -> Result<(), IdentityError> {
        let mut record = self.record.lock().await;
        let mut next = record.clone();
        next.restoring = Some(restoring);
        self.write(&next).await?;
        *record = next;
        Ok(())
    }

    /// Notes the cluster that the directory belongs to from now on.
    ///
    /// # Errors
    /// [`IdentityError::WrongCluster`] where it belongs to another; [`IdentityError::Disk`].
    pub async fn join_cluster(&self, cluster: ClusterRecord) -> Result<(), IdentityError> {
        let mut record = self.record.lock().await;
        match &record.cluster {
            Some(known) => known.check_id(Some(&cluster.cluster_id), &dir_file(&self.dir)),
            None => {
                let mut next = record.clone();
                (next.cluster, next.restoring) = (Some(cluster), None);
                self.write(&next).await?;
                *record = next;
                Ok(())
            }
        }
    }

    /// Promises to accept no founding below `ballot`, and says what was accepted so far.
    ///
    /// # Errors
    /// Inside: the higher ballot that was promised already. Outside: [`IdentityError::Disk`]; nothing is promised.
    #[allow(clippy::type_complexity, reason = "a ballot and what was accepted in it")]
    pub async fn promise(
        &self,
        ballot: Ballot,
    ) -> Result<Result<Option<(Ballot, ClusterRecord)>, Ballot>, IdentityError> {
        let mut record = self.record.lock().await;
        if ballot <= record.founding.promised {
            return Ok(Err(record.founding.promised));
        }
        let mut next = record.clone();
        next.founding.promised = ballot;
        self.write(&next).await?;
        *record = next;
        Ok(Ok(record.founding.accepted.clone()))
    }

    /// Accepts a founding, unless a higher ballot was promised.
    ///
    /// # Errors
    /// As [`promise`](Self::promise).
    pub async fn accept(
        &self,
        ballot: Ballot,
        cluster: ClusterRecord,
    ) -> Result<Result<(), Ballot>, IdentityError> {
        let mut record = self.record.lock().await;
        if ballot < record.founding.promised {
            return Ok(Err(record.founding.promised));
        }
        let mut next = record.clone();
        next.founding.promised = ballot;
        next.founding.accepted = Some((ballot, cluster));
        self.write(&next).await?;
        *record = next;
        Ok(Ok(()))
    }

    async fn write(&self, record: &NodeRecord) -> Result<(), IdentityError> {
        let (fs, dir, bytes) = (Arc::clone(&self.fs), self.dir.clone(), record.to_bytes());
        let (done, wait) = async_channel::bounded(1);
        let job = move || {
            // Nobody waits any more where the process ends.
            let _ = done.try_send(replace(&*fs, &dir, &bytes));
        };
        self.env.disk.submit(DiskLane::Journal, Box::new(job));
        let ended = || {
            let what = format!("write {}: the disk threads ended", dir_file(&self.dir));
            FsError::new(FsErrorKind::Io, what)
        };
        let written = wait.recv().await.unwrap_or_else(|_| Err(ended()));
        written.map_err(IdentityError::Disk)
    }
}

fn dir_file(dir: &Path) -> String {
    dir.join(NODE_FILE).display().to_string()
}

/// Never zero, which stands for "none" in the messages of consensus engines.
fn draw(env: &Env) -> u64 {
    loop {
        let drawn = env.rng.next_u64();
        if drawn != 0 {
            return drawn;
        }
    }
}

fn replace(fs: &dyn FileSystem, dir: &Path, bytes: &[u8]) -> Result<(), FsError> {
    let (temporary, target) = (dir.join(TEMPORARY), dir.join(NODE_FILE));
    match fs.remove(&temporary) {
        Err(error) if error.kind != FsErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = fs.open(&temporary, OpenMode::CreateNew)?;
    file.write_at(&[bytes], 0)?;
    file.sync_data()?;
    drop(file);
    fs.rename(&temporary, &target)?;
    fs.sync_dir(dir)
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => error.fmt(f),
            Self::Malformed { path, what } => write!(
                f,
                "{} is damaged: {what}; restore it, or start with an empty directory as a new replica",
                path.display()
            ),
            Self::WrongNode {
                path,
                stored,
                configured,
            } => write!(
                f,
                "the data directory (node.data_dir) belongs to node {stored}, as {} says, and node.id is {configured}: \
                 give node.id = {stored} (--node-id {stored}), or another node.data_dir (--data-dir)",
                path.display()
            ),
            Self::HalfRestored { dir, from } => write!(
                f,
                "a restore into {} was interrupted: run chronik-server restore --from {from} again with the same \
                 node.data_dir (--data-dir), which begins anew there",
                dir.display()
            ),
            Self::WrongCluster {
                place,
                found,
                configured,
            } => write!(
                f,
                "{place} belongs to cluster '{found}', and node.cluster_id says '{configured}': correct \
                 node.cluster_id, node.data_dir or cluster.peers"
            ),
            Self::WrongEngine {
                place,
                found,
                configured,
            } => write!(
                f,
                "the groups of {place} run on consensus.backend = \"{}\", and this node's is \"{}\": a cluster stays \
                 with the one that it was founded with, and nodes of the two do not mix; correct consensus.backend, or \
                 give another node.data_dir and other cluster.peers",
                found.name(),
                configured.name()
            ),
        }
    }
}

impl std::error::Error for IdentityError {}

#[cfg(test)]
mod tests {
    use super::super::record::Founder;
    use super::*;
    use chronik_conformance::world::disk::{DropAll, Unit};
    use chronik_conformance::world::{Seed, SimDisk, SimEnv};

    const DIR: &str = "data";

    fn world() -> (SimEnv, SimDisk) {
        println!("seed 7");
        let disk = SimDisk::new(Seed(7).child("disk"));
        disk.create_dir_all(Path::new(DIR)).expect("a directory");
        disk.sync_dir(Path::new("")).expect("it stays");
        (SimEnv::new(Seed(7)), disk)
    }

    fn open(
        sim: &SimEnv,
        disk: &SimDisk,
        node: u64,
        cluster: Option<&str>,
    ) -> Result<Arc<NodeFile>, IdentityError> {
        let opening = NodeFile::open(
            Arc::new(disk.clone()),
            DIR.into(),
            sim.env(),
            Claim {
                node: NodeId(node),
                cluster_id: cluster,
                engine: Engine::default(),
            },
            None,
        );
        sim.block_on(opening).expect("an answer")
    }

    fn cluster(id: &str) -> ClusterRecord {
        ClusterRecord {
            cluster_id: id.to_owned(),
            engine: Engine::default(),
            founders: vec![Founder {
                node: 1,
                incarnation: 5,
            }],
        }
    }

    #[test]
    fn an_incarnation_is_drawn_once_a_directory_and_survives_a_power_cut() {
        let (sim, disk) = world();
        let file = open(&sim, &disk, 1, None).expect("opens");
        let first = sim.block_on(file.record()).unwrap();
        assert_ne!(first.incarnation, 0);
        let disk = disk.crash(&mut DropAll, Unit::Page);
        let again = open(&sim, &disk, 1, None).expect("opens again");
        assert_eq!(sim.block_on(again.record()).unwrap(), first);
    }

    #[test]
    fn a_directory_of_another_node_or_cluster_is_refused_with_the_settings_that_mend_it() {
        let (sim, disk) = world();
        let file = open(&sim, &disk, 1, None).expect("opens");
        sim.block_on(file.join_cluster(cluster("alpha")))
            .unwrap()
            .expect("noted");
        let error = open(&sim, &disk, 2, None).expect_err("another node").to_string();
        assert!(
            error.contains("node.id") && error.contains("node.data_dir"),
            "{error}"
        );
        let error = open(&sim, &disk, 1, Some("beta"))
            .expect_err("another cluster")
            .to_string();
        assert!(
            error.contains("alpha") && error.contains("node.cluster_id"),
            "{error}"
        );
        assert!(sim.block_on(file.join_cluster(cluster("beta"))).unwrap().is_err());
        assert!(open(&sim, &disk, 1, Some("alpha")).is_ok());
    }

    #[test]
    fn half_of_a_restored_directory_is_refused_until_it_is_complete() {
        let (sim, disk) = world();
        let file = open(&sim, &disk, 1, None).expect("opens");
        let restoring = Restoring {
            from: "s3://bucket/folder".to_owned(),
            cluster_id: "beta".to_owned(),
        };
        sim.block_on(file.begin_restore(restoring.clone()))
            .unwrap()
            .expect("noted");
        let disk = disk.crash(&mut DropAll, Unit::Page);
        let file = open(&sim, &disk, 1, None).expect("opens for the restore");
        let record = sim.block_on(file.record()).unwrap();
        assert_eq!(record.restoring, Some(restoring));
        let refused = record
            .check_whole(Path::new(DIR))
            .expect_err("refused")
            .to_string();
        for part in ["restore --from s3://bucket/folder", "node.data_dir", DIR] {
            assert!(refused.contains(part), "{refused}");
        }
        sim.block_on(file.join_cluster(cluster("beta")))
            .unwrap()
            .expect("complete");
        let disk = disk.crash(&mut DropAll, Unit::Page);
        let record = read(&disk, Path::new(DIR)).expect("readable").expect("there");
        assert_eq!(record.check_whole(Path::new(DIR)), Ok(()));
    }

    #[test]
    fn a_directory_of_another_engine_is_refused_and_keeps_its_own() {
        let (sim, disk) = world();
        let file = open(&sim, &disk, 1, None).expect("opens");
        sim.block_on(file.join_cluster(cluster("alpha")))
            .unwrap()
            .expect("noted");
        let claim = Claim {
            node: NodeId(1),
            cluster_id: None,
            engine: Engine::AsyncRaft,
        };
        let error = check(&disk, Path::new(DIR), claim)
            .expect_err("another engine")
            .to_string();
        for part in ["consensus.backend", "\"raft-rs\"", "\"async-raft\"", "node.json"] {
            assert!(error.contains(part), "{error}");
        }
        // The log of an older version, which has no identity yet, is of no other engine either.
        let (sim, disk) = world();
        let opening = NodeFile::open(Arc::new(disk), DIR.into(), sim.env(), claim, Some(1));
        let refused = sim.block_on(opening).expect("an answer");
        assert!(matches!(refused, Err(IdentityError::WrongEngine { .. })));
    }

    #[test]
    fn a_promise_and_what_was_accepted_survive_a_power_cut() {
        let (sim, disk) = world();
        let file = open(&sim, &disk, 1, None).expect("opens");
        let (low, high) = (Ballot { round: 1, node: 9 }, Ballot { round: 2, node: 1 });
        assert_eq!(sim.block_on(file.promise(high)).unwrap().unwrap(), Ok(None));
        assert_eq!(
            sim.block_on(file.accept(high, cluster("a"))).unwrap().unwrap(),
            Ok(())
        );
        let disk = disk.crash(&mut DropAll, Unit::Page);
        let file = open(&sim, &disk, 1, None).expect("opens again");
        assert_eq!(sim.block_on(file.promise(low)).unwrap().unwrap(), Err(high));
        assert_eq!(
            sim.block_on(file.accept(low, cluster("b"))).unwrap().unwrap(),
            Err(high)
        );
        let next = Ballot { round: 3, node: 2 };
        let accepted = Some((high, cluster("a")));
        assert_eq!(sim.block_on(file.promise(next)).unwrap().unwrap(), Ok(accepted));
    }

    #[test]
    fn what_is_not_a_record_is_named_and_never_replaced() {
        let (sim, disk) = world();
        for text in ["", "{", "{\"format\":9}", "{\"format\":1,\"node\":1}"] {
            replace(&disk, Path::new(DIR), text.as_bytes()).expect("written");
            let error = open(&sim, &disk, 1, None).expect_err(text).to_string();
            assert!(error.contains("node.json"), "{error}");
        }
    }
}
