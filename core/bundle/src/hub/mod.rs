//! Checkpoints from a hub: an id becomes a directory of verified files in a cache.
//!
//! Owns the hub's addresses, the cache's layout, the offline answer and the storage cap. Must not know what the files
//! mean. Cache directory, endpoint and token are parameters.
//!
//! ```text
//! CACHE/organisation/name/refs/main                  the commit a revision stood for when it was last asked
//! CACHE/organisation/name/snapshots/COMMIT/…         verified files under their own names
//!                                         /.use      lock and time of use
//!                                         /.hub/     index.json, partial files
//! ```

mod cache;
mod id;
mod index;
mod selection;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

pub use id::{DEFAULT_REVISION, HubId};
pub use selection::CHECKPOINT_PATTERNS;

use crate::download::address::{self, encode_component};
use crate::download::{Downloader, Job, Problem};
use crate::error::{Error, Result};
use crate::path::RelativePath;
use crate::usage::UseGuard;
use crate::verify::Progress;
use cache::Cache;
use index::{Index, MAX_INDEX_BYTES};

/// The hub that an app uses unless it names another.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Where and how models are fetched.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// Directory of the cache; created when needed.
    pub cache: PathBuf,
    /// Address of the hub. Default: [`DEFAULT_ENDPOINT`].
    pub endpoint: String,
    /// Access token, sent to the endpoint and to no other host.
    pub token: Option<String>,
    /// Answer from the cache alone.
    pub is_offline: bool,
    /// Most bytes that the cache may hold; the least recently used snapshots go first.
    pub cap_bytes: Option<u64>,
    /// Files to fetch; empty for a checkpoint ([`CHECKPOINT_PATTERNS`]) or the only GGUF model.
    pub patterns: Vec<String>,
}

impl HubOptions {
    /// Defaults with this cache directory.
    pub fn new(cache: impl Into<PathBuf>) -> HubOptions {
        HubOptions {
            cache: cache.into(),
            endpoint: DEFAULT_ENDPOINT.to_owned(),
            token: None,
            is_offline: false,
            cap_bytes: None,
            patterns: Vec::new(),
        }
    }
}

/// A hub with its cache.
#[derive(Debug)]
pub struct Hub {
    options: HubOptions,
    downloader: Option<Downloader>,
}

/// A repository at a commit, on this disk, verified. Not evicted while it lives.
#[derive(Debug)]
pub struct Snapshot {
    /// What was asked for.
    pub id: HubId,
    /// The commit that the revision stands for.
    pub commit: String,
    /// Directory of the files.
    pub directory: PathBuf,
    /// The fetched files, relative to the directory.
    pub files: Vec<RelativePath>,
    /// The licence that the model's card states.
    pub licence: Option<String>,
    _use: UseGuard,
}

impl Hub {
    /// A hub; without a `downloader` it answers from the cache alone.
    pub fn new(options: HubOptions, downloader: Option<Downloader>) -> Hub {
        Hub { options, downloader }
    }

    /// The files of `id`, from the cache or fetched. A revision that is a commit needs no network once it is cached;
    /// a branch is asked for at the hub each time.
    ///
    /// # Errors
    /// [`Error::Download`], [`Error::HubIndex`], [`Error::HubFiles`], [`Error::Offline`], [`Error::StorageCap`],
    /// [`Error::DiskSpace`], [`Error::Locked`] when another process fetches the same, [`Error::Cancelled`],
    /// [`Error::Io`].
    pub fn get(
        &self,
        id: &HubId,
        progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    ) -> Result<Snapshot> {
        let cache = Cache::new(&self.options.cache, id);
        match self.downloader.as_ref().filter(|_| !self.options.is_offline) {
            None => self.cached(&cache, id),
            Some(downloader) => match id.is_pinned().then(|| self.cached(&cache, id)) {
                Some(Ok(snapshot)) => Ok(snapshot),
                _ => self.fetch(downloader, &cache, id, progress),
            },
        }
    }

    /// The answer from the cache.
    fn cached(&self, cache: &Cache, id: &HubId) -> Result<Snapshot> {
        let missing = |reason: String| Error::Offline { id: id.to_string(), reason };
        let commit = match id.is_pinned() {
            true => id.revision().to_owned(),
            false => cache
                .commit(id.revision())
                .ok_or_else(|| missing(format!("revision `{}` was never fetched", id.revision())))?,
        };
        let index = cache
            .index(&commit)
            .ok_or_else(|| missing(format!("commit {commit} was not completely fetched")))?;
        let guard = cache.hold(&commit)?;
        let files = self.select(id, &index)?;
        let directory = cache.snapshot(&commit);
        if let Some(file) = files.iter().find(|file| !is_there(&directory, file)) {
            return Err(missing(format!("file `{}` is not in the cache", file.path)));
        }
        Ok(snapshot(id, index, directory, files, guard))
    }

    fn fetch(
        &self,
        downloader: &Downloader,
        cache: &Cache,
        id: &HubId,
        progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    ) -> Result<Snapshot> {
        let mut index = self.ask(downloader, id, progress)?;
        self.complete(downloader, id, &mut index, progress)?;
        let files = self.select(id, &index)?;
        let commit = index.sha.clone();
        let guard = cache.hold(&commit)?;
        let directory = cache.snapshot(&commit);
        let missing: Vec<&Wanted> = files.iter().filter(|file| !is_there(&directory, file)).collect();
        let missing = cache.link_known(&commit, missing)?;
        if let Some(cap_bytes) = self.options.cap_bytes {
            let need = missing.iter().fold(0u64, |sum, file| sum.saturating_add(file.bytes));
            cache.make_room(&directory, cap_bytes, need)?;
        }
        let jobs: Vec<Job> = missing.iter().map(|file| self.job(id, &commit, file, &directory)).collect();
        if !jobs.is_empty()
            && let Err(error) = downloader.fetch(&jobs, &cache.partials(&commit), progress)
        {
            cache.forget_empty(&commit);
            return Err(error);
        }
        cache.remember(id.revision(), &index)?;
        Ok(snapshot(id, index, directory, files, guard))
    }

    /// Asks the hub for the commit and the files of a revision.
    fn ask(
        &self,
        downloader: &Downloader,
        id: &HubId,
        progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    ) -> Result<Index> {
        let revision = encode_component(id.revision());
        let endpoint = self.options.endpoint.trim_end_matches('/');
        let url = format!("{endpoint}/api/models/{}/revision/{revision}?blobs=true", id.repository());
        let name = id.to_string();
        let mut proceed = || progress(Progress { file: &name, done_bytes: 0, total_bytes: 0, eta: None });
        let answer = downloader.document(&url, &self.headers(), MAX_INDEX_BYTES, &mut proceed)?;
        let bytes = answer.ok_or_else(|| Error::Download {
            url: address::shown(&url),
            problem: Problem::of_status(404, None),
        })?;
        Index::parse(&bytes).map_err(|reason| Error::HubIndex { url: address::shown(&url), reason })
    }

    /// Asks for size and digest of selected files where the hub's index gives none.
    fn complete(
        &self,
        downloader: &Downloader,
        id: &HubId,
        index: &mut Index,
        progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let refuse = |reason: String| Error::HubFiles { id: id.to_string(), reason };
        let chosen = selection::select(&index.siblings, &self.options.patterns).map_err(refuse)?;
        let lacking = chosen.iter().filter(|file| file.bytes().is_none() || file.digest().is_none());
        let lacking: Vec<String> = lacking.map(|file| file.path.clone()).collect();
        for path in lacking {
            RelativePath::new(path.clone())?;
            let url = self.file_url(id, &index.sha, &path);
            let mut proceed = || progress(Progress { file: &path, done_bytes: 0, total_bytes: 0, eta: None });
            let probe = downloader.probe(&url, &self.headers(), &mut proceed)?;
            let file = index.siblings.iter_mut().find(|file| file.path == path);
            if let (Some(file), Some(probe)) = (file, probe) {
                file.complete(&probe);
            }
        }
        Ok(())
    }

    fn select(&self, id: &HubId, index: &Index) -> Result<Vec<Wanted>> {
        let refuse = |reason: String| Error::HubFiles { id: id.to_string(), reason };
        let chosen = selection::select(&index.siblings, &self.options.patterns).map_err(refuse)?;
        let wanted = chosen.into_iter().map(|file| {
            let path = RelativePath::new(file.path.clone())?;
            if path.starts_with(".hub/") || path.starts_with(crate::usage::MARKER) {
                return Err(refuse(format!("file name `{path}` is reserved for the cache")));
            }
            let bytes = file.bytes().ok_or_else(|| refuse(format!("the hub gives no size for `{path}`")))?;
            Ok(Wanted { path, bytes, digest: file.digest() })
        });
        wanted.collect()
    }

    fn job(&self, id: &HubId, commit: &str, file: &Wanted, directory: &Path) -> Job {
        Job {
            url: self.file_url(id, commit, &file.path),
            headers: self.headers(),
            name: file.path.to_string(),
            target: directory.join(&file.path),
            bytes: file.bytes,
            digest: file.digest,
        }
    }

    fn file_url(&self, id: &HubId, commit: &str, path: &str) -> String {
        id.file_url(&self.options.endpoint, commit, path)
    }

    fn headers(&self) -> Vec<(String, String)> {
        let token = self.options.token.iter();
        token.map(|token| ("Authorization".to_owned(), format!("Bearer {token}"))).collect()
    }
}

/// A selected file.
#[derive(Debug, Clone)]
struct Wanted {
    path: RelativePath,
    bytes: u64,
    digest: Option<crate::download::ContentDigest>,
}

/// Whether a file is in a snapshot: under its final name there are only verified files.
fn is_there(directory: &Path, file: &Wanted) -> bool {
    directory.join(&file.path).metadata().is_ok_and(|found| found.is_file() && found.len() == file.bytes)
}

fn snapshot(id: &HubId, index: Index, directory: PathBuf, files: Vec<Wanted>, guard: UseGuard) -> Snapshot {
    Snapshot {
        id: id.clone(),
        licence: index.licence().map(str::to_owned),
        commit: index.sha,
        directory,
        files: files.into_iter().map(|file| file.path).collect(),
        _use: guard,
    }
}
