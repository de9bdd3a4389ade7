//! Logits of a reference model over a text, kept compactly: they are computed once and compared with any number of
//! candidates, one model in memory at a time.
//!
//! Of every distribution the store keeps the likeliest tokens with their log-probabilities, the mass of all others, and a
//! sample of those others drawn by probability, from which [`crate::divergence`] estimates their part without bias.
//! Owns the layout of the store and the pass that fills it. Must not know candidates.
//!
//! Layout, little-endian: the magic `LPREFLOG`, a u32 length, a JSON [`Header`] of so many bytes; then for each window
//! of each pass its tokens (i32) and a [`Record`] for each position scored: four f32 (log-probability of the next token,
//! mass outside the top, the greatest log-probability, step between codes), the ids (u16, or u32 for vocabularies over
//! 65,536 tokens) and the u16 codes of the top in falling order, then those of the sample. Where the header has routers, a
//! window's records are followed by the experts (u16) that each of them chose for every position scored.

mod record;

pub use record::{Record, Summary};

use crate::divergence::Computing;
use crate::progress::{Meter, Watch};
use crate::routing::chosen::{Chosen, routers};
use crate::routing::{Choices, Router};
use crate::seed::Seeded;
use crate::text::Pass;
use crate::{Error, Result};
use engine::{CancelToken, Model, Token};
use record::Layout;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"LPREFLOG";
/// Of a store without experts, and of one with.
const FORMATS: [u32; 2] = [1, 2];
/// Far above what any header takes.
const MAX_HEADER_BYTES: u32 = 4 << 20;
/// Most experts of a layer, and layers with experts, that a store may claim.
const MAX_EXPERTS: usize = 1 << 16;
const MAX_LAYERS: usize = 1 << 12;
/// Longest window that a store may claim.
const MAX_CONTEXT: usize = 1 << 24;

/// How much of each distribution is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// Likeliest tokens kept exactly. Default 256.
    pub n_top: usize,
    /// Tokens drawn from the others by probability. Default 64.
    pub n_tail: usize,
    /// Seed of the draw. Default 0.
    pub seed: u64,
    /// Whether the experts that tokens are sent to are kept too, where the model has any. Default false.
    #[serde(default)]
    pub routers: bool,
}

impl Default for Keep {
    fn default() -> Self {
        Self { n_top: 256, n_tail: 64, seed: 0, routers: false }
    }
}

/// What a store holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the layout: 1, with experts 2.
    pub format: u32,
    /// The reference: name or precision, as reports state it.
    pub reference: String,
    /// Anything that tells the reference file apart from others, e.g. its digest; empty where nothing was given.
    pub identity: String,
    /// Tokens of the vocabulary.
    pub n_vocab: usize,
    /// How much is kept.
    pub keep: Keep,
    /// The passes, in order.
    pub passes: Vec<PassHeader>,
    /// The routers whose choice is kept, in order of layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routers: Vec<Router>,
}

/// One pass of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassHeader {
    /// Name of the text.
    pub text: String,
    /// Tokens of a window.
    pub n_ctx: usize,
    /// Its windows.
    pub n_windows: usize,
}

impl Header {
    /// Positions that are scored in all passes.
    pub fn n_scored(&self) -> u64 {
        self.passes.iter().map(|pass| (pass.n_windows * Pass::n_scored(pass.n_ctx)) as u64).sum()
    }

    /// Tokens that a model reads for all passes.
    pub fn n_read(&self) -> u64 {
        self.passes.iter().map(|pass| (pass.n_windows * pass.n_ctx) as u64).sum()
    }

    /// Bytes of the store, header aside.
    pub fn body_bytes(&self) -> u64 {
        let record_bytes = Layout::of(self).record_bytes() as u64;
        self.n_scored() * (record_bytes + self.choice_bytes() as u64) + self.n_read() * 4
    }

    /// Bytes of the experts chosen for one position.
    fn choice_bytes(&self) -> usize {
        2 * self.routers.iter().map(|router| router.n_used).sum::<usize>()
    }

    fn check(&self) -> Result<()> {
        if self.format != FORMATS[usize::from(!self.routers.is_empty())] {
            return Err(Error::reference("format", "1, with routers 2", self.format));
        }
        for Router { n_experts, n_used, .. } in &self.routers {
            if *n_experts > MAX_EXPERTS || !(1..=*n_experts).contains(n_used) {
                let expected = format!("1 ..= {n_experts} experts of at most {MAX_EXPERTS}");
                return Err(Error::reference("routers", expected, n_used));
            }
        }
        if self.routers.len() > MAX_LAYERS {
            return Err(Error::reference("routers", format!("at most {MAX_LAYERS}"), self.routers.len()));
        }
        if self.n_vocab == 0 || i32::try_from(self.n_vocab).is_err() {
            return Err(Error::reference("n_vocab", "1 ..= 2147483647", self.n_vocab));
        }
        if self.keep.n_top == 0 || self.keep.n_top + self.keep.n_tail > 1 << 20 {
            return Err(Error::reference("n_top", "1 ..= 1048576 with n_tail", self.keep.n_top));
        }
        for pass in &self.passes {
            if !(4..=MAX_CONTEXT).contains(&pass.n_ctx) {
                return Err(Error::reference("n_ctx", format!("4 ..= {MAX_CONTEXT}"), pass.n_ctx));
            }
        }
        Ok(())
    }
}

/// Reads `passes` with the reference `model` and writes the store to `out`.
///
/// # Errors
/// Windows that the engine refuses, logits that are no distribution, [`Error::Cancelled`], what `out` reports.
#[expect(clippy::too_many_arguments, reason = "each is handed in by another hand")]
pub fn collect<W: Write>(
    model: &Arc<dyn Model>,
    (reference, identity): (&str, &str),
    passes: &[Pass],
    keep: Keep,
    computing: &Computing,
    out: W,
    cancel: &CancelToken,
    watch: &mut Watch<'_>,
) -> Result<Header> {
    let header_of = |pass: &Pass| PassHeader {
        text: pass.text.clone(),
        n_ctx: pass.n_ctx,
        n_windows: pass.windows.len(),
    };
    let routers = if keep.routers { routers(model, computing)? } else { Vec::new() };
    let header = Header {
        format: FORMATS[usize::from(!routers.is_empty())],
        reference: reference.into(),
        identity: identity.into(),
        n_vocab: model.n_vocab(),
        keep,
        passes: passes.iter().map(header_of).collect(),
        routers,
    };
    let chosen = (!header.routers.is_empty()).then(Chosen::default);
    header.check()?;
    let mut writer = Writer::new(out, &header)?;
    let mut meter = Meter::new(watch, "reference", header.n_read());
    for (number, pass) in passes.iter().enumerate() {
        let mut reader = computing.open(model, pass.n_ctx, chosen.as_ref())?;
        for (window, tokens) in pass.windows.iter().enumerate() {
            writer.tokens(tokens)?;
            reader.read(tokens, cancel, &mut |position, row| {
                let mut seeded = Seeded::of(&[keep.seed, number as u64, window as u64, position as u64]);
                let record = Record::of(row, tokens[position + 1], keep, &mut seeded);
                let record = record.map_err(|problem| Error::Logits { window, position, problem })?;
                writer.record(&record)
            })?;
            if let Some(chosen) = &chosen {
                writer.choices(&header, pass.n_ctx, &chosen.take())?;
            }
            meter.add(pass.n_ctx as u64)?;
        }
    }
    writer.finish()?;
    Ok(header)
}

struct Writer<W: Write> {
    out: W,
    layout: Layout,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    fn new(out: W, header: &Header) -> Result<Self> {
        let text = serde_json::to_vec(header).map_err(|error| Error::reference("header", "JSON", error))?;
        let length = u32::try_from(text.len()).ok().filter(|length| *length <= MAX_HEADER_BYTES);
        let length = length.ok_or_else(|| {
            Error::reference("header", format!("at most {MAX_HEADER_BYTES} bytes"), text.len())
        })?;
        let mut writer = Self { out, layout: Layout::of(header), buffer: Vec::new() };
        writer.put(MAGIC)?;
        writer.put(&length.to_le_bytes())?;
        writer.put(&text)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|source| Error::Io { doing: "writing reference logits", source })
    }

    fn tokens(&mut self, tokens: &[Token]) -> Result<()> {
        let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        self.put(&bytes)
    }

    fn record(&mut self, record: &Record) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        self.layout.encode(record, &mut buffer);
        self.put(&buffer)?;
        self.buffer = buffer;
        Ok(())
    }

    fn choices(&mut self, header: &Header, n_ctx: usize, choices: &Choices) -> Result<()> {
        let expected = Pass::n_scored(n_ctx) * header.choice_bytes();
        let bytes: Vec<u8> = choices.iter().flatten().flat_map(|expert| expert.to_le_bytes()).collect();
        if bytes.len() != expected {
            return Err(Error::reference("experts", format!("{expected} bytes of a window"), bytes.len()));
        }
        self.put(&bytes)
    }

    fn finish(mut self) -> Result<()> {
        self.out.flush().map_err(|source| Error::Io { doing: "writing reference logits", source })
    }
}

/// One window of a store.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Number of its pass in the header.
    pub pass: usize,
    /// Number of the window in the pass.
    pub number: usize,
    /// Its tokens.
    pub tokens: Vec<Token>,
    /// One for each scored position, in order.
    pub records: Vec<Record>,
    /// The experts chosen, where the header has routers.
    pub experts: Choices,
}

/// Reads a store window by window.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    header: Header,
    layout: Layout,
    next: (usize, usize),
}

impl<R: Read> Reader<R> {
    /// Opens a store.
    ///
    /// # Errors
    /// What is no store, or of a layout that is not known.
    pub fn open(mut input: R) -> Result<Self> {
        let mut start = [0; 12];
        fill(&mut input, &mut start, "magic")?;
        let (magic, length) = start.split_at(8);
        if magic != MAGIC {
            return Err(Error::reference("magic", "LPREFLOG", String::from_utf8_lossy(magic).escape_debug()));
        }
        let length = u32::from_le_bytes(length.try_into().expect("four bytes are left"));
        if length > MAX_HEADER_BYTES {
            return Err(Error::reference("header", format!("at most {MAX_HEADER_BYTES} bytes"), length));
        }
        let mut text = Vec::new();
        let taken = input.by_ref().take(length.into()).read_to_end(&mut text);
        taken.map_err(|source| Error::Io { doing: "reading reference logits", source })?;
        let header: Header =
            serde_json::from_slice(&text).map_err(|error| Error::reference("header", "JSON", error))?;
        header.check()?;
        let layout = Layout::of(&header);
        Ok(Self { input, header, layout, next: (0, 0) })
    }

    /// What the store holds.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next window; `None` at the end.
    ///
    /// # Errors
    /// A store that is cut short or damaged.
    pub fn window(&mut self) -> Result<Option<Window>> {
        let (mut pass, mut number) = self.next;
        while self.header.passes.get(pass).is_some_and(|header| number >= header.n_windows) {
            (pass, number) = (pass + 1, 0);
        }
        let Some(header) = self.header.passes.get(pass) else { return Ok(None) };
        let n_vocab = self.header.n_vocab;
        let mut tokens = Vec::new();
        for _ in 0..header.n_ctx {
            let mut bytes = [0; 4];
            fill(&mut self.input, &mut bytes, "tokens")?;
            let token = Token::from_le_bytes(bytes);
            if !usize::try_from(token).is_ok_and(|id| id < n_vocab) {
                return Err(Error::reference("tokens", format!("0 .. {n_vocab}"), token));
            }
            tokens.push(token);
        }
        let mut records = Vec::new();
        let mut bytes = vec![0; self.layout.record_bytes()];
        for _ in 0..Pass::n_scored(header.n_ctx) {
            fill(&mut self.input, &mut bytes, "records")?;
            records.push(self.layout.decode(&bytes)?);
        }
        let mut experts = Vec::new();
        for router in &self.header.routers {
            let mut chosen = Vec::new();
            for _ in 0..Pass::n_scored(header.n_ctx) * router.n_used {
                let mut bytes = [0; 2];
                fill(&mut self.input, &mut bytes, "experts")?;
                let expert = u16::from_le_bytes(bytes);
                if usize::from(expert) >= router.n_experts {
                    return Err(Error::reference("experts", format!("0 .. {}", router.n_experts), expert));
                }
                chosen.push(expert);
            }
            experts.push(chosen);
        }
        self.next = (pass, number + 1);
        Ok(Some(Window { pass, number, tokens, records, experts }))
    }
}

fn fill(input: &mut impl Read, bytes: &mut [u8], field: &'static str) -> Result<()> {
    input.read_exact(bytes).map_err(|source| match source.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::reference(field, "more bytes", "the end"),
        _ => Error::Io { doing: "reading reference logits", source },
    })
}

#[cfg(test)]
mod tests;
