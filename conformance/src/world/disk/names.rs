//! Directories: names that reads see, names that survive, and changes that may.

use super::choose::Chooser;
use super::content::Content;
use super::{PAGE_BYTES, Unit, locked};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A file, whatever its names.
#[derive(Debug)]
pub(super) struct FileNode {
    pub(super) content: Mutex<Content>,
    pub(super) locked: AtomicBool,
    used_bytes: Arc<AtomicU64>,
}

impl FileNode {
    pub(super) fn new(content: Content, used_bytes: &Arc<AtomicU64>) -> Arc<Self> {
        used_bytes.fetch_add(content.page_count() as u64 * PAGE_BYTES, Ordering::SeqCst);
        Arc::new(Self {
            content: Mutex::new(content),
            locked: AtomicBool::new(false),
            used_bytes: Arc::clone(used_bytes),
        })
    }
}

impl Drop for FileNode {
    fn drop(&mut self) {
        // Space returns when the last name and the last handle are gone.
        let pages = locked(&self.content).page_count() as u64;
        self.used_bytes.fetch_sub(pages * PAGE_BYTES, Ordering::SeqCst);
    }
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Node {
    File(Arc<FileNode>),
    Dir(Arc<DirNode>),
}

/// A directory.
#[derive(Debug, Default)]
pub(super) struct DirNode {
    pub(super) names: Mutex<Names>,
}

/// A change of names that no sync covered yet. Those of one rename share `done`: a rename is atomic.
#[derive(Clone, Debug)]
struct Change {
    name: String,
    to: Option<Node>,
    group: Arc<AtomicBool>,
}

/// The names of one directory.
#[derive(Debug, Default)]
pub(super) struct Names {
    cache: BTreeMap<String, Node>,
    medium: BTreeMap<String, Node>,
    pending: Vec<Change>,
}

impl Names {
    pub(super) fn get(&self, name: &str) -> Option<Node> {
        self.cache.get(name).cloned()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.cache.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cache.is_empty()
    }

    /// Points `name` somewhere else, or nowhere. Changes with the same `group` survive together.
    pub(super) fn set(&mut self, name: &str, to: Option<Node>, group: &Arc<AtomicBool>) {
        match &to {
            Some(node) => self.cache.insert(name.to_owned(), node.clone()),
            None => self.cache.remove(name),
        };
        self.pending.push(Change {
            name: name.to_owned(),
            to,
            group: Arc::clone(group),
        });
    }

    /// Makes all changes durable; but for those that take a name away, where a mutant `keeps_old` ones.
    pub(super) fn sync(&mut self, keeps_old: bool) {
        let changes = std::mem::take(&mut self.pending);
        for change in changes
            .into_iter()
            .filter(|change| !keeps_old || change.to.is_some())
        {
            change.group.store(true, Ordering::SeqCst);
            apply(&mut self.medium, change);
        }
    }

    /// A sync that fails: some names reach the medium, and a later sync does not bring the others.
    pub(super) fn sync_failed(&mut self, chooser: &mut dyn Chooser) {
        for change in std::mem::take(&mut self.pending) {
            if chooser.choose(2) == 1 {
                change.group.store(true, Ordering::SeqCst);
                apply(&mut self.medium, change);
            }
        }
    }
}

fn apply(names: &mut BTreeMap<String, Node>, change: Change) {
    match change.to {
        Some(node) => names.insert(change.name, node),
        None => names.remove(&change.name),
    };
}

/// Builds the tree that stands after a power cut.
pub(super) struct PowerCut<'a> {
    chooser: &'a mut dyn Chooser,
    unit: Unit,
    used_bytes: Arc<AtomicU64>,
    /// A file may stand under two names; it stays one file.
    files: HashMap<*const FileNode, Arc<FileNode>>,
    /// What was decided for the halves of a rename.
    groups: HashMap<*const AtomicBool, bool>,
}

impl<'a> PowerCut<'a> {
    pub(super) fn new(chooser: &'a mut dyn Chooser, unit: Unit, used_bytes: Arc<AtomicU64>) -> Self {
        Self {
            chooser,
            unit,
            used_bytes,
            files: HashMap::new(),
            groups: HashMap::new(),
        }
    }

    pub(super) fn dir(&mut self, dir: &DirNode) -> Arc<DirNode> {
        let names = locked(&dir.names);
        let mut survivors = names.medium.clone();
        for change in &names.pending {
            let known = change.group.load(Ordering::SeqCst);
            let key = Arc::as_ptr(&change.group);
            let chooser = &mut *self.chooser;
            if known || *self.groups.entry(key).or_insert_with(|| chooser.choose(2) == 1) {
                apply(&mut survivors, change.clone());
            }
        }
        let medium: BTreeMap<String, Node> = survivors
            .into_iter()
            .map(|(name, node)| {
                let node = match node {
                    Node::File(file) => Node::File(self.file(&file)),
                    Node::Dir(dir) => Node::Dir(self.dir(&dir)),
                };
                (name, node)
            })
            .collect();
        Arc::new(DirNode {
            names: Mutex::new(Names {
                cache: medium.clone(),
                medium,
                pending: Vec::new(),
            }),
        })
    }

    fn file(&mut self, file: &Arc<FileNode>) -> Arc<FileNode> {
        if let Some(known) = self.files.get(&Arc::as_ptr(file)) {
            return Arc::clone(known);
        }
        let bytes = locked(&file.content).survivors(self.chooser, self.unit);
        let survivor = FileNode::new(Content::from_medium(bytes), &self.used_bytes);
        self.files.insert(Arc::as_ptr(file), Arc::clone(&survivor));
        survivor
    }
}
