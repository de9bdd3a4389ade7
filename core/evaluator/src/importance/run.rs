//! A collection that can be interrupted between windows and goes on as if it had not been.
//! Owns the context that reads; must not know files.

use super::balance::{Balance, Balanced, draw};
use super::collector::{Collector, Wanted};
use super::partial::Place;
use super::{Coverage, Partial, Sums};
use crate::divergence::Computing;
use crate::progress::{Meter, Watch};
use crate::text::Pass;
use crate::{Error, Result};
use engine::{CancelToken, Context, Form, Logits, Model, Piece, Token};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often what is collected is handed out to be kept.
const KEEP_EVERY: Duration = Duration::from_secs(20);

/// Which part of a collection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The texts as they are.
    Plain,
    /// Documents with pictures or sound.
    Documents,
    /// Further text for experts that saw too little.
    Balancing,
}

impl Stage {
    /// Its name on a bar.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "importance",
            Self::Documents => "importance, with pictures",
            Self::Balancing => "drawing for experts",
        }
    }
}

/// A collection in progress.
pub struct Run {
    context: Box<dyn Context>,
    collector: Collector,
    rows: usize,
    n_ctx: usize,
    output: bool,
    pub(super) place: Place,
}

/// Takes what is collected so far, to be kept.
pub(crate) type Keep<'a> = dyn FnMut(&Partial) -> Result<()> + 'a;

impl Run {
    /// Opens a collection over windows of `n_ctx` tokens, with the weight of the output where `output` says so.
    /// `identity` is whatever tells it from others: model, texts, settings; a `partial` of another is refused.
    ///
    /// # Errors
    /// A model that is no decoder, an engine that shows nothing, a partial of something else.
    pub fn open(
        model: &Arc<dyn Model>,
        n_ctx: usize,
        output: bool,
        computing: &Computing,
        identity: &str,
        partial: Option<Partial>,
    ) -> Result<Self> {
        if model.form() != Form::Decoder {
            return Err(Error::request("model", "a decoder", format!("{:?}", model.form())));
        }
        let Partial { place, sums } = partial.unwrap_or_else(|| Partial {
            place: Place { identity: identity.into(), ..Place::default() },
            sums: Sums::default(),
        });
        if place.identity != identity {
            return Err(Error::request(
                "partial importance matrix",
                "one of this model and these texts",
                "another",
            ));
        }
        let (settings, rows) = computing.settings(model.n_vocab(), n_ctx)?;
        let collector = Collector::new(sums, Wanted::All { output });
        let context = Arc::clone(model).new_watched_context(&settings, Box::new(collector.clone()))?;
        Ok(Self { context, collector, rows, n_ctx, output, place })
    }

    /// Reads the windows of `passes` that are not read yet. Stops between windows only: [`Error::Cancelled`] after
    /// `keep` has what was collected.
    ///
    /// # Errors
    /// What the engine or `keep` reports, [`Error::Cancelled`].
    pub fn read(&mut self, passes: &[Pass], keep: &mut Keep<'_>, watch: &mut Watch<'_>) -> Result<()> {
        self.collector.want(Wanted::All { output: self.output });
        let windows: Vec<&[Token]> =
            passes.iter().flat_map(|pass| &pass.windows).map(Vec::as_slice).collect();
        let mut meter = Meter::new(watch, Stage::Plain.name(), (windows.len() * self.n_ctx) as u64);
        let mut kept = Instant::now();
        meter.skip((self.place.n_windows.min(windows.len()) * self.n_ctx) as u64);
        for window in windows.iter().skip(self.place.n_windows) {
            self.read_window(window)?;
            self.place.n_windows += 1;
            self.after_window(&mut meter, &mut kept, keep)?;
        }
        Ok(())
    }

    /// Reads documents in which pictures or sound stand among the text, behind `n_windows` windows of [`Run::read`]; those that
    /// were read are skipped. `document` gives the pieces of one at a time.
    ///
    /// # Errors
    /// As [`Run::read`]; a document that takes more than the context has.
    pub fn read_documents(
        &mut self,
        n_windows: usize,
        n_documents: usize,
        document: &mut dyn FnMut(usize) -> Result<Vec<Piece>>,
        keep: &mut Keep<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        self.collector.want(Wanted::All { output: self.output });
        let mut meter = Meter::new(watch, Stage::Documents.name(), (n_documents * self.n_ctx) as u64);
        let mut kept = Instant::now();
        let n_read = self.place.n_windows.saturating_sub(n_windows).min(n_documents);
        meter.skip((n_read * self.n_ctx) as u64);
        for number in n_read..n_documents {
            let pieces = document(number)?;
            let n_tokens: usize = pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Tokens(tokens) => tokens.len(),
                    Piece::Media(media) => media.n_tokens(),
                })
                .sum();
            if n_tokens > self.n_ctx {
                let expected = format!("at most {} tokens, as many as the context has", self.n_ctx);
                return Err(Error::request("document", expected, format!("{n_tokens} in number {number}")));
            }
            self.context.truncate(0)?;
            for piece in &pieces {
                match piece {
                    Piece::Tokens(tokens) => self.decode(tokens)?,
                    Piece::Media(media) => self.context.decode_media(&**media, &CancelToken::new())?,
                }
            }
            self.place.n_windows += 1;
            self.after_window(&mut meter, &mut kept, keep)?;
        }
        Ok(())
    }

    /// Reads windows of `pool` until enough experts saw enough, each time of the text that promises most for those that
    /// did not; only those are counted, so that everything else keeps the mix of the plain texts.
    ///
    /// # Errors
    /// As [`Run::read`].
    pub fn balance(
        &mut self,
        pool: &[Pass],
        balance: &Balance,
        keep: &mut Keep<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<Balanced> {
        let before = self.coverage();
        self.place.drawn.resize(pool.len(), 0);
        self.place.hits.resize(pool.len(), vec![0; before.n_experts()]);
        let mut meter =
            Meter::new(watch, Stage::Balancing.name(), (balance.most_windows * self.n_ctx) as u64);
        let mut kept = Instant::now();
        loop {
            let now = self.coverage();
            let n_drawn: usize = self.place.drawn.iter().sum();
            let reached = now.share(balance.need) >= balance.share;
            let next = draw(pool, &self.place, &now, balance.need);
            let (false, true, Some(text)) = (reached, n_drawn < balance.most_windows, next) else {
                let drawn =
                    pool.iter().zip(&self.place.drawn).map(|(pass, n)| (pass.text.clone(), *n)).collect();
                return Ok(Balanced { drawn, before, after: now, reached });
            };
            self.collector.want(self.collector.with(|sums| cold(sums, balance.need)));
            self.read_window(&pool[text].windows[self.place.drawn[text]])?;
            self.place.drawn[text] += 1;
            let counts = |coverage: Coverage| coverage.layers.into_iter().flat_map(|layer| layer.counts);
            let gained = counts(self.coverage()).zip(counts(now)).map(|(after, before)| after - before);
            self.place.hits[text].iter_mut().zip(gained).for_each(|(hits, gained)| *hits += gained);
            self.after_window(&mut meter, &mut kept, keep)?;
        }
    }

    fn after_window(&self, meter: &mut Meter<'_, '_>, kept: &mut Instant, keep: &mut Keep<'_>) -> Result<()> {
        let told = meter.add(self.n_ctx as u64);
        if told.is_err() || kept.elapsed() > KEEP_EVERY {
            keep(&self.partial())?;
            *kept = Instant::now();
        }
        told
    }

    fn read_window(&mut self, tokens: &[Token]) -> Result<()> {
        self.context.truncate(0)?;
        self.decode(tokens)
    }

    fn decode(&mut self, tokens: &[Token]) -> Result<()> {
        // Half a window would be counted twice when the collection goes on, so nothing stops within.
        let never = CancelToken::new();
        for part in tokens.chunks(self.rows) {
            self.context.decode(part, Logits::All, &never)?;
        }
        Ok(())
    }

    /// What is collected and how far it came.
    pub fn partial(&self) -> Partial {
        Partial { place: self.place.clone(), sums: self.collector.sums() }
    }

    /// What is collected.
    pub fn sums(&self) -> Sums {
        self.collector.sums()
    }

    /// Tokens that experts saw.
    pub fn coverage(&self) -> Coverage {
        self.collector.with(Coverage::of)
    }
}

/// The experts that saw fewer than `need` tokens, by stack.
fn cold(sums: &Sums, need: u64) -> Wanted {
    let wanted = |counts: &[u64]| counts.iter().map(|count| *count < need).collect();
    Wanted::Experts(sums.experts().map(|(name, counts)| (name.to_string(), wanted(counts))).collect())
}
