//! Files below a root, so that a folder or one text replays a machine, and the list of what could not be read.
//! Knows paths and bounded reading; must not know what a file means.

use crate::host::Unknown;
use crate::replay;
use crate::{Error, Result};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Longest file that is read, in bytes: everything of interest is far shorter.
const MAX_BYTES: u64 = 1 << 20;

/// What stands at a path: bytes, or why they cannot be read.
pub(crate) type Entry = std::result::Result<Vec<u8>, String>;

/// Where detection reads. Entries of the table stand before files of the folder.
#[derive(Default)]
pub(crate) struct Root {
    folder: Option<PathBuf>,
    table: BTreeMap<String, Entry>,
    seen: Option<RefCell<BTreeMap<String, Entry>>>,
    unknown: RefCell<Vec<Unknown>>,
}

impl Root {
    /// A folder that stands for `/`.
    pub(crate) fn folder(folder: &Path) -> Self {
        Self { folder: Some(folder.into()), ..Self::default() }
    }

    /// Entries alone.
    pub(crate) fn table(table: BTreeMap<String, Entry>) -> Self {
        Self { table, ..Self::default() }
    }

    /// A folder, or a file in the form of [`replay`].
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Ok(Self::folder(path));
        }
        let io = |source| Error::Io { path: path.into(), source };
        let text = String::from_utf8_lossy(&read(path).map_err(io)?).into_owned();
        let content = |got| Error::Content { path: path.into(), expected: "a host to replay", got };
        Ok(Self::table(replay::parse(&text).map_err(content)?))
    }

    /// Whether this is the real root and no replay.
    pub(crate) fn is_this_machine(&self) -> bool {
        self.folder.as_deref() == Some(Path::new("/"))
    }

    /// Keeps a copy of everything that is read from now on.
    pub(crate) fn recording(mut self) -> Self {
        self.seen = Some(RefCell::default());
        self
    }

    /// Adds an entry that no file system has.
    #[allow(dead_code, reason = "some systems read everything from files")]
    pub(crate) fn with(mut self, path: &str, text: String) -> Self {
        self.table.insert(path.into(), Ok(text.into_bytes()));
        self
    }

    /// What was read since [`Root::recording`].
    pub(crate) fn recorded(&self) -> BTreeMap<String, Entry> {
        self.seen.as_ref().map(|seen| seen.borrow().clone()).unwrap_or_default()
    }

    /// Notes a fact that stays unknown.
    pub(crate) fn unknown(&self, fact: &str, reason: impl Into<String>) {
        self.unknown.borrow_mut().push(Unknown { fact: fact.into(), reason: reason.into() });
    }

    /// Every fact noted so far.
    pub(crate) fn take_unknown(&self) -> Vec<Unknown> {
        self.unknown.take()
    }

    /// The bytes at a path, or why there are none: the path and the system's words.
    pub(crate) fn try_bytes(&self, relative: &str) -> Entry {
        let relative = relative.trim_start_matches('/');
        let entry = match (self.table.get(relative), &self.folder) {
            (Some(entry), _) => entry.clone(),
            (None, Some(folder)) => read(&folder.join(relative)).map_err(|error| reason(&error)),
            (None, None) => Err("no such file".into()),
        };
        if let Some(seen) = &self.seen {
            seen.borrow_mut().insert(relative.into(), entry.clone());
        }
        entry.map_err(|reason| format!("/{relative}: {reason}"))
    }

    pub(crate) fn try_text(&self, relative: &str) -> std::result::Result<String, String> {
        self.try_bytes(relative).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(crate) fn bytes(&self, relative: &str) -> Option<Vec<u8>> {
        self.try_bytes(relative).ok()
    }

    pub(crate) fn text(&self, relative: &str) -> Option<String> {
        self.try_text(relative).ok()
    }

    /// A file's text without blanks and zero bytes at its ends; `None` where nothing is left.
    pub(crate) fn line(&self, relative: &str) -> Option<String> {
        let text = self.text(relative)?;
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        (!text.is_empty()).then(|| text.to_string())
    }

    pub(crate) fn number(&self, relative: &str) -> Option<u64> {
        self.text(relative)?.trim().parse().ok()
    }

    pub(crate) fn exists(&self, relative: &str) -> bool {
        let listed =
            || self.table.range(relative.to_string()..).next().is_some_and(|(path, _)| below(path, relative));
        listed() || self.folder.as_ref().is_some_and(|folder| folder.join(relative).exists())
    }

    /// Names in a folder, sorted.
    pub(crate) fn names(&self, relative: &str) -> Vec<String> {
        let mut names = BTreeSet::new();
        if let Some(folder) = &self.folder {
            let entries = std::fs::read_dir(folder.join(relative)).into_iter().flatten().flatten();
            names.extend(entries.filter_map(|entry| entry.file_name().into_string().ok()));
        }
        let prefix = format!("{relative}/");
        let listed = self.table.range(prefix.clone()..).map_while(|(path, _)| path.strip_prefix(&prefix));
        names.extend(listed.filter_map(|rest| rest.split('/').next()).map(str::to_string));
        names.into_iter().collect()
    }

    /// Numbers N of the names `<prefix>N` in a folder, ascending.
    pub(crate) fn numbered(&self, relative: &str, prefix: &str) -> Vec<u32> {
        let number = |name: &String| name.strip_prefix(prefix)?.parse().ok();
        let mut numbers: Vec<u32> = self.names(relative).iter().filter_map(number).collect();
        numbers.sort_unstable();
        numbers
    }
}

fn below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The system's words without its number, the same on every run.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}
