//! What normal use shows: speeds by setting, kept in memory and written now and then.
//! Must not know where speeds come from; asks the clock only when to write.

use super::audits::Audits;
use super::speeds::Speeds;
use super::{Recall, Store, now_unix_s};
use crate::Usage;
use planner::{Choice, MemoryAudit};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tuner::{Cache, Conditions, Key, Tuned};

/// Between two writes.
const EVERY: Duration = Duration::from_secs(60);
/// Fewer tokens say nothing of a speed.
const LEAST_WRITTEN: usize = 16;
const LEAST_READ: usize = 32;

/// Empty until a tuning folder is given.
#[derive(Default)]
pub(crate) struct Learning(Mutex<Option<Kept>>);

struct Kept {
    store: Store,
    key: Key,
    recall: Recall,
    /// What is new since the file was read or written.
    news: Cache,
    /// For plans; `None` where the speeds tell of no one backend.
    speeds: Option<Speeds>,
    audits: Audits,
    /// What the model took, until an answer shows that it is of use.
    audit: Option<(Choice, MemoryAudit)>,
    dirty: bool,
    written: Instant,
}

impl Learning {
    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(
        &self,
        store: Store,
        key: Key,
        recall: Recall,
        speeds: Option<Speeds>,
        audits: Audits,
    ) {
        let (cache, _) = store.read();
        let (news, written) = (cache, Instant::now());
        *self.kept() =
            Some(Kept { store, key, recall, news, speeds, audits, audit: None, dirty: false, written });
    }

    pub(super) fn recall(&self) -> Option<Recall> {
        self.kept().as_ref().map(|kept| kept.recall.clone())
    }

    /// Keeps what tuning found, and writes it.
    pub(super) fn remember(&self, conditions: Conditions, tuned: Tuned) {
        if let Some(kept) = self.kept().as_mut() {
            kept.news.remember(&kept.key, conditions, tuned);
            kept.dirty = true;
            kept.write_or_warn();
        }
    }

    /// Keeps the speeds of an answer.
    pub(crate) fn observe(&self, conditions: Conditions, threads: (u32, u32), usage: &Usage) {
        let mut kept = self.kept();
        let Some(kept) = kept.as_mut() else { return };
        if let Err(error) = kept.write_audit() {
            tracing::warn!(%error, "nothing is remembered of this model's memory");
        }
        let decode = (usage.completion_tokens > LEAST_WRITTEN).then(|| usage.decode_tokens_per_s());
        let read = usage.prompt_tokens.saturating_sub(usage.reused_tokens);
        let prompt = (read >= LEAST_READ).then(|| usage.prompt_tokens_per_s());
        if decode.is_none() && prompt.is_none() {
            return;
        }
        if let Some(speeds) = &mut kept.speeds {
            speeds.observe(usage);
        }
        kept.news.observe(&kept.key, conditions, threads, decode, prompt, now_unix_s());
        kept.dirty = true;
        if kept.written.elapsed() >= EVERY {
            kept.write_or_warn();
        }
    }

    /// Takes in what a load took. It is written with the first answer: what fails before leaves nothing behind.
    pub(crate) fn audited(&self, choice: &Choice, audit: &MemoryAudit) {
        if let Some(kept) = self.kept().as_mut() {
            kept.audit = Some((choice.clone(), audit.clone()));
        }
    }

    pub(super) fn save(&self) -> bundle::Result<()> {
        self.kept().as_mut().map_or(Ok(()), |kept| {
            kept.write_audit()?;
            kept.write()
        })
    }
}

impl Kept {
    fn write_audit(&mut self) -> bundle::Result<()> {
        self.audit.take().map_or(Ok(()), |(choice, audit)| self.audits.keep(&choice, &audit))
    }

    fn write(&mut self) -> bundle::Result<()> {
        if self.dirty {
            self.written = Instant::now();
            self.store.write(self.news.clone())?;
            self.speeds.as_mut().map_or(Ok(()), Speeds::write)?;
            self.dirty = false;
        }
        Ok(())
    }

    /// What cannot be kept is measured again another time.
    fn write_or_warn(&mut self) {
        if let Err(error) = self.write() {
            tracing::warn!(%error, "nothing is remembered of this model");
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.write_or_warn();
    }
}
