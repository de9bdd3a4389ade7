//! Speech to text with Whisper's graphs, as `export` writes them: sound in, segments with times out.
//!
//! Owns [`Transcriber`] and the order of the work: windows of sound, a prefix of tokens that says what is wanted, greedy tokens,
//! segments. Knows graphs by their ports and Whisper's `generation_config.json`; must not open sound files or load libraries.

mod decode;
mod error;
mod generation;
mod rules;
mod segments;

pub use error::Error;

use crate::CancelToken;
use decode::{Decoder, Heard};
use generation::Generation;
use onnx::media::{Mel, Spectrogram};
use onnx::{Library, Options};
use rules::Rules;
use segments::{Cut, cut};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use tokenizers::Tokenizer;

/// Which graphs, and how they compute.
#[derive(Debug, Clone, Default)]
pub struct TranscriberSettings {
    /// What stands behind the graphs' names: empty, `_fp16`, ….
    pub ending: String,
    /// The encoder's graph, where it is another than `onnx/encoder_model`.
    pub encoder: Option<PathBuf>,
    /// The decoder's graph, where it is another than `onnx/decoder_with_past_model`.
    pub decoder: Option<PathBuf>,
    /// Threads and providers.
    pub options: Options,
}

/// What is wanted of a sound.
#[derive(Debug, Clone, Default)]
pub struct TranscribeSettings {
    /// Code of the language that is spoken, e.g. `en`; detected in the first window where none is given. Models that know one
    /// language take none.
    pub language: Option<String>,
    /// To English, instead of to what is spoken.
    pub translate: bool,
    /// Segments with their own times, instead of one for each window. Sounds longer than a window are always told so, since
    /// windows begin where segments end.
    pub timestamps: bool,
    /// Most tokens of a window, prefix included; never more than the model has places for.
    pub max_tokens: Option<usize>,
}

/// What was said in a part of the sound.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Segment {
    /// Seconds from the sound's beginning.
    pub start: f64,
    /// Seconds from the sound's beginning.
    pub end: f64,
    /// The text.
    pub text: String,
    /// Its tokens, marks of time among them.
    pub tokens: Vec<i64>,
}

/// What was said.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Transcript {
    /// Code of the language, of a model that knows several.
    pub language: Option<String>,
    /// All of the text.
    pub text: String,
    /// By time.
    pub segments: Vec<Segment>,
    /// Seconds of sound.
    pub seconds: f64,
}

/// Whisper's graphs, ready to compute.
#[derive(Debug)]
pub struct Transcriber {
    mel: Mel,
    generation: Generation,
    tokenizer: Tokenizer,
    decoder: Decoder,
}

impl Transcriber {
    /// Opens what `export` wrote into `folder`.
    ///
    /// # Errors
    /// A file that is missing or broken, graphs that are not Whisper's, what the library refuses.
    pub fn open(library: &Library, folder: &Path, settings: &TranscriberSettings) -> Result<Self, Error> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).map_err(|error| Error::file(&path, error))
        };
        let mel = Mel::of(&read("preprocessor_config.json")?)?;
        let generation =
            Generation::of(&read("config.json")?, read("generation_config.json").ok().as_deref())?;
        let path = folder.join("tokenizer.json");
        let tokenizer = Tokenizer::from_file(&path).map_err(|error| Error::file(&path, error))?;
        let graph = |named: &Option<PathBuf>, name: &str| {
            let own = || folder.join("onnx").join(format!("{name}{}.onnx", settings.ending));
            named.clone().unwrap_or_else(own)
        };
        let encoder = graph(&settings.encoder, "encoder_model");
        let decoder = graph(&settings.decoder, "decoder_with_past_model");
        let decoder = Decoder::open(library, &encoder, &decoder, &settings.options)?;
        let (bands, frames) = decoder.takes();
        if bands != mel.n_bands() || frames != mel.window_frames() {
            return Err(Error::Config {
                field: "preprocessor_config.json: feature_size and chunk_length",
                expected: format!("{bands} bands and {frames} frames, as the encoder takes"),
                got: format!("{} and {}", mel.n_bands(), mel.window_frames()),
            });
        }
        Ok(Self { mel, generation, tokenizer, decoder })
    }

    /// Samples per second that are taken.
    pub fn rate(&self) -> u32 {
        self.mel.rate()
    }

    /// Codes of the languages that the model knows; none where it knows one alone.
    pub fn languages(&self) -> Vec<&str> {
        self.generation.languages().collect()
    }

    /// What is said in `samples`: one channel, −1 to 1, at [`Self::rate`]. `listener` is told of each segment as it comes, and may
    /// end the work with what there is.
    ///
    /// # Errors
    /// A language that the model does not know, a task that it cannot; what the library says; [`Error::Cancelled`].
    pub fn transcribe(
        &mut self,
        samples: &[f32],
        settings: &TranscribeSettings,
        cancel: &CancelToken,
        listener: &mut dyn FnMut(&Segment) -> ControlFlow<()>,
    ) -> Result<Transcript, Error> {
        self.generation.check(settings)?;
        let sound = self.mel.spectrogram(samples);
        let n_frames = samples.len().div_ceil(self.mel.hop()).min(sound.n_frames);
        let window = self.mel.window_frames();
        let timestamps = settings.timestamps || n_frames > window;
        let mut language = settings.language.clone();
        let mut segments = Vec::new();
        let mut first = 0;
        'windows: while first < n_frames {
            let n = (n_frames - first).min(window);
            let heard = self.hear(&sound, first, cancel)?;
            if language.is_none() && self.generation.is_multilingual() {
                language = Some(self.detect(&heard)?);
            }
            let prefix = self.generation.prefix(language.as_deref(), settings.translate, timestamps)?;
            let tokens = self.write(&heard, &prefix, timestamps, settings, cancel)?;
            let place = Cut { first_frame: first, n_frames: n, seconds_per_frame: self.seconds_per_frame() };
            let (made, on) = cut(&tokens, self.generation.first_time(), place);
            for (start, end, tokens) in made {
                let segment = Segment { start, end, text: self.text(&tokens)?, tokens };
                let goes_on = listener(&segment);
                segments.push(segment);
                if goes_on.is_break() {
                    break 'windows;
                }
            }
            // A window that ends where it began is behind us all the same.
            first += if on == 0 { n } else { on };
        }
        let text =
            segments.iter().map(|segment| segment.text.as_str()).collect::<String>().trim().to_string();
        let seconds = samples.len() as f64 / f64::from(self.mel.rate());
        Ok(Transcript { language, text, segments, seconds })
    }

    fn seconds_per_frame(&self) -> f64 {
        self.mel.hop() as f64 / f64::from(self.mel.rate())
    }

    fn hear(&mut self, sound: &Spectrogram, first: usize, cancel: &CancelToken) -> Result<Heard, Error> {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        self.decoder.hear(sound.part(first, self.mel.window_frames()), sound.n_bands)
    }

    /// The likeliest language.
    fn detect(&mut self, heard: &Heard) -> Result<String, Error> {
        let mut written = self.decoder.begin(heard)?;
        let logits = self.decoder.step(&mut written, heard, &[self.generation.start])?;
        self.generation.likeliest_language(&logits)
    }

    /// Tokens behind the prefix, without the one that ends them.
    fn write(
        &mut self,
        heard: &Heard,
        prefix: &[i64],
        timestamps: bool,
        settings: &TranscribeSettings,
        cancel: &CancelToken,
    ) -> Result<Vec<i64>, Error> {
        let most = self.generation.most_tokens(prefix.len(), settings.max_tokens);
        let rules = Rules::new(&self.generation, timestamps);
        let mut written = self.decoder.begin(heard)?;
        let mut tokens: Vec<i64> = Vec::new();
        let mut next = prefix.to_vec();
        while prefix.len() + tokens.len() < most {
            if cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let mut logits = self.decoder.step(&mut written, heard, &next)?;
            let token = rules.choose(&mut logits, &tokens);
            if self.generation.ends(token) {
                break;
            }
            tokens.push(token);
            next = vec![token];
        }
        Ok(tokens)
    }

    /// The text of tokens, without marks.
    fn text(&self, tokens: &[i64]) -> Result<String, Error> {
        let marks = self.generation.first_time();
        let words: Vec<u32> = tokens
            .iter()
            .filter(|token| marks.is_none_or(|first| **token < first))
            .filter_map(|token| u32::try_from(*token).ok())
            .collect();
        self.tokenizer.decode(&words, true).map_err(|error| Error::Tokenizer(error.to_string()))
    }
}
