//! The loop that gives work to connections and hears from them.
//!
//! Owns threads, the cadence of progress and state saves, stall detection, and checking complete files. Must not judge
//! failures: that is the file's state.

use std::collections::HashMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::attempt::{self, Failure, News, Order};
use super::partial::{Gate, Partial};
use super::problem::Problem;
use super::state::{Active, FileState, Stage};
use super::{Downloader, Job};
use crate::disk;
use crate::error::{Error, IoContext, Result};
use crate::verify::{Meter, Progress};

/// Longest wait for news.
const TICK: Duration = Duration::from_millis(20);
/// How often progress is reported.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// How often the state is saved for a later run.
const SAVE_EVERY: Duration = Duration::from_secs(2);

/// A check of a complete file under way.
struct Check {
    file: usize,
    thread: JoinHandle<Result<Option<Problem>>>,
}

struct Coordinator<'a> {
    downloader: &'a Downloader,
    files: Vec<FileState<'a>>,
    checks: Vec<Check>,
    /// Ends checks under way.
    cancelled: Arc<AtomicBool>,
    sender: Sender<News>,
    receiver: Receiver<News>,
    next_id: u64,
}

pub(super) fn fetch(
    downloader: &Downloader,
    jobs: &[Job],
    partials: &Path,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<()> {
    fs::create_dir_all(partials).at("create directory", partials)?;
    let mut files = Vec::new();
    let mut keys: HashMap<String, usize> = HashMap::new();
    for job in jobs {
        // Two files with the same content are fetched apart.
        let key = Partial::key(job);
        let count = keys.entry(key.clone()).or_default();
        *count += 1;
        let key = if *count == 1 { key } else { format!("{key}-{count}") };
        let (partial, resumed) = Partial::open(partials, &key, job)?;
        files.push(FileState::new(job, partial, resumed.done, resumed.etag));
    }
    let (sender, receiver) = mpsc::channel();
    let mut coordinator = Coordinator {
        downloader,
        files,
        checks: Vec::new(),
        cancelled: Arc::default(),
        sender,
        receiver,
        next_id: 0,
    };
    let missing = coordinator.files.iter().map(|file| file.job.bytes - file.done_bytes());
    let result = disk::ensure_space(partials, missing.fold(0, u64::saturating_add))
        .and_then(|()| coordinator.run(progress));
    coordinator.end();
    result
}

impl Coordinator<'_> {
    fn run(&mut self, progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>) -> Result<()> {
        let total_bytes = self.files.iter().fold(0u64, |sum, file| sum.saturating_add(file.job.bytes));
        let mut meter = Meter::new(self.done_bytes(), total_bytes);
        let (mut last_progress, mut last_save) = (None::<Instant>, Instant::now());
        loop {
            let is_done = self.files.iter().all(|file| file.stage == Stage::Done);
            if is_done || last_progress.is_none_or(|last| last.elapsed() >= PROGRESS_EVERY) {
                last_progress = Some(Instant::now());
                meter.done_bytes = self.done_bytes();
                if progress(meter.progress(self.current_name())).is_break() {
                    return Err(Error::Cancelled);
                }
            }
            if is_done {
                return Ok(());
            }
            if last_save.elapsed() >= SAVE_EVERY {
                last_save = Instant::now();
                self.files.iter().filter(|file| !file.active.is_empty()).try_for_each(FileState::save)?;
            }
            self.start_connections();
            self.hear()?;
            self.abandon_stalled()?;
            self.check_complete()?;
        }
    }

    /// Opens connections up to the limit.
    fn start_connections(&mut self) {
        let limit = self.downloader.options.max_connections.max(1);
        let mut n_active: usize = self.files.iter().map(|file| file.active.len()).sum();
        let now = Instant::now();
        for file in &mut self.files {
            while n_active < limit {
                let Some(range) = file.next_part(&self.downloader.options, now) else { break };
                n_active += 1;
                self.next_id += 1;
                let gate = Arc::new(Gate::new(Arc::clone(&file.partial)));
                let order = Order {
                    id: self.next_id,
                    url: file.job.url.clone(),
                    headers: file.job.headers.clone(),
                    range: range.clone(),
                    total: file.job.bytes,
                    etag: file.etag().map(str::to_owned),
                    gate: Arc::clone(&gate),
                };
                let (transport, sender) = (Arc::clone(&self.downloader.transport), self.sender.clone());
                thread::spawn(move || attempt::run(&*transport, &order, &sender));
                let (position, end) = (range.start, range.end);
                file.active.push(Active {
                    id: self.next_id,
                    position,
                    end,
                    started: now,
                    last_byte: now,
                    gate,
                });
            }
        }
    }

    /// Waits a moment for news and takes in all there are.
    fn hear(&mut self) -> Result<()> {
        let mut news = self.receiver.recv_timeout(TICK).ok();
        while let Some(message) = news {
            self.take(message)?;
            news = self.receiver.try_recv().ok();
        }
        Ok(())
    }

    fn take(&mut self, news: News) -> Result<()> {
        let id = match &news {
            News::Answered { id, .. } | News::Received { id, .. } | News::Ended { id, .. } => *id,
        };
        // News of abandoned connections is of no interest.
        let Some(file) = self.files.iter_mut().find(|file| file.active.iter().any(|a| a.id == id)) else {
            return Ok(());
        };
        match news {
            News::Answered { etag, is_whole, .. } => file.answered(id, etag, is_whole),
            News::Received { bytes, .. } => file.received(id, bytes, Instant::now()),
            News::Ended { result, .. } => {
                let started = file.active.iter().find(|a| a.id == id).map(|a| a.started);
                file.close(|active| active.id == id);
                if let (Err(failure), Some(started)) = (result, started) {
                    file.failed(failure, started, &self.downloader.options)?;
                }
            }
        }
        Ok(())
    }

    fn abandon_stalled(&mut self) -> Result<()> {
        let limit = self.downloader.options.stall_timeout;
        for file in &mut self.files {
            let stalled = |active: &Active| active.last_byte.elapsed() >= limit;
            let Some(started) =
                file.active.iter().find(|active| stalled(active)).map(|active| active.started)
            else {
                continue;
            };
            file.close(stalled);
            let problem = Problem::Stalled { after: limit };
            file.failed(Failure::Problem(problem), started, &self.downloader.options)?;
        }
        Ok(())
    }

    /// Starts checks of files that are complete and takes in those that ended.
    fn check_complete(&mut self) -> Result<()> {
        for (index, file) in self.files.iter_mut().enumerate() {
            if file.stage == Stage::Fetching && file.is_complete() {
                file.close(|_| true);
                file.stage = Stage::Checking;
                let (partial, job) = (Arc::clone(&file.partial), file.job.clone());
                let cancelled = Arc::clone(&self.cancelled);
                let thread = thread::spawn(move || check_and_publish(&partial, &job, &cancelled));
                self.checks.push(Check { file: index, thread });
            }
        }
        while let Some(ended) = self.checks.iter().position(|check| check.thread.is_finished()) {
            let check = self.checks.swap_remove(ended);
            let file = &mut self.files[check.file];
            match check.thread.join().expect("checking a file does not panic")? {
                None => file.stage = Stage::Done,
                Some(problem) => file.wrong_digest(problem)?,
            }
        }
        Ok(())
    }

    /// Leaves no thread that could still write, and the state for a later run.
    fn end(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        for file in &mut self.files {
            file.close(|_| true);
        }
        for check in self.checks.drain(..) {
            if let Ok(Ok(None)) = check.thread.join() {
                self.files[check.file].stage = Stage::Done;
            }
        }
        for file in self.files.iter().filter(|file| file.stage != Stage::Done) {
            if file.done.bytes() == 0 {
                file.partial.discard();
            } else if let Err(error) = file.save() {
                tracing::warn!(%error, "cannot save the state of a download");
            }
        }
    }

    fn done_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.done_bytes()))
    }

    fn current_name(&self) -> &str {
        let current = self.files.iter().find(|file| file.stage != Stage::Done).or(self.files.last());
        current.map_or("", |file| &file.job.name)
    }
}

/// Checks the content and publishes it; the problem when it is not what it should be.
fn check_and_publish(partial: &Partial, job: &Job, cancelled: &AtomicBool) -> Result<Option<Problem>> {
    let got = fs::metadata(partial.path()).at("read the size of", partial.path())?.len();
    if got != job.bytes {
        return Ok(Some(Problem::WrongLength { expected: job.bytes, got }));
    }
    if let Some(expected) = &job.digest {
        let mut step = |_| match cancelled.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let got = expected.of_same_kind(partial.path(), job.bytes, &mut step)?;
        if got != *expected {
            let (expected, got) = (expected.to_string(), got.to_string());
            return Ok(Some(Problem::WrongDigest { expected, got }));
        }
    }
    partial.publish(&job.target)?;
    Ok(None)
}
