//! What the commands that measure share: subjects to load, texts to read, bars.
//! Knows files and the runtime; must not know figures.

use crate::args::{Computing, Texts};
use crate::fetch::{Located, Take, locate};
use crate::screen::Screen;
use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use llama_pajamas::evaluator::text::{Pass, Text};
use llama_pajamas::evaluator::{Progress, Vocabulary};
use llama_pajamas::measured::Circumstances;
use llama_pajamas::{CancelToken, LoadedModel, PlanRequest, Runtime, RuntimeSettings, families, quantizer};
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A bundle or a single file, opened to be measured; a checkpoint is converted into a temporary file first.
pub(crate) struct Subject {
    pub(crate) runtime: Runtime,
    /// Where it lies; of a checkpoint, where its conversion does.
    pub(crate) path: PathBuf,
    /// Whether it is loaded with its projector.
    images: bool,
    _located: Located,
    _converted: Option<tempfile::TempDir>,
}

impl Subject {
    /// Opens what `word` names.
    pub(crate) fn open(
        word: &str,
        computing: &Computing,
        cancel: &CancelToken,
        screen: &Screen,
    ) -> Result<Self> {
        Self::open_with(word, computing, RuntimeSettings::default(), cancel, screen)
    }

    /// The same, to be loaded with its projector: that of a bundle, or of a single file the given one.
    pub(crate) fn open_seeing(
        word: &str,
        computing: &Computing,
        projector: Option<PathBuf>,
        cancel: &CancelToken,
        screen: &Screen,
    ) -> Result<Self> {
        let settings = RuntimeSettings { projector, ..RuntimeSettings::default() };
        Ok(Self { images: true, ..Self::open_with(word, computing, settings, cancel, screen)? })
    }

    fn open_with(
        word: &str,
        computing: &Computing,
        settings: RuntimeSettings,
        cancel: &CancelToken,
        screen: &Screen,
    ) -> Result<Self> {
        let located = locate(word, &computing.network, Take::Model, screen)?;
        let is_checkpoint = located.path.join("config.json").is_file();
        let converted = is_checkpoint.then(|| convert(&located.path, cancel, screen)).transpose()?;
        let path = match &converted {
            Some(folder) => folder.path().join(CONVERTED),
            None => located.path.clone(),
        };
        let runtime = Runtime::open(&path, settings)?;
        Ok(Self { runtime, path, images: false, _located: located, _converted: converted })
    }

    /// The ids of its variants that are here.
    pub(crate) fn present(&self) -> Vec<String> {
        let present =
            self.runtime.candidates().filter(|candidate| candidate.present && candidate.blocked.is_none());
        present.map(|candidate| candidate.id.clone()).collect()
    }

    /// The ids of those variants that `--variant` names, in the bundle's order; of all that are here where it names none.
    pub(crate) fn asked(&self, names: &[String]) -> Result<Vec<String>> {
        let present = self.present();
        if names.is_empty() {
            return Ok(present);
        }
        let called = |name: &String, id: &String| {
            self.runtime.candidates().any(|candidate| candidate.id == *id && candidate.is_called(name))
        };
        if let Some(unknown) = names.iter().find(|name| !present.iter().any(|id| called(name, id))) {
            bail!("--variant: `{unknown}` is none of {}", present.join(", "));
        }
        Ok(present.into_iter().filter(|id| names.iter().any(|name| called(name, id))).collect())
    }

    /// The variant with the most bits per weight.
    pub(crate) fn finest(&self) -> Result<String> {
        let present =
            self.runtime.candidates().filter(|candidate| candidate.present && candidate.blocked.is_none());
        let finest = present.max_by_key(|candidate| candidate.weights_bytes);
        Ok(finest.context("no variant is here")?.id.clone())
    }

    /// The precision of a variant, as reports name it.
    pub(crate) fn precision(&self, id: &str) -> String {
        let candidate = self.runtime.candidates().find(|candidate| candidate.id == id);
        candidate.map_or_else(|| id.to_string(), |candidate| candidate.precision.clone())
    }

    /// Loads a variant as it is planned for a context of `n_ctx` tokens.
    pub(crate) fn load(
        &self,
        id: &str,
        n_ctx: usize,
        computing: &Computing,
        cancel: &CancelToken,
    ) -> Result<LoadedModel> {
        let request = PlanRequest {
            variant: Some(id.into()),
            context_tokens: Some(n_ctx as u64),
            n_threads: computing.threads,
            gpu_layers: computing.gpu_layers,
            images: self.images,
            ..PlanRequest::default()
        };
        let (_, model) = self.runtime.plan_and_load(&request, &mut |_| {}, cancel)?;
        Ok(model)
    }

    /// The file of a variant.
    pub(crate) fn file(&self, id: &str) -> Result<PathBuf> {
        match self.runtime.bundle() {
            Some(bundle) => bundle.files(id)?.into_iter().next().context("a variant has a file"),
            None => Ok(self.path.clone()),
        }
    }
}

const CONVERTED: &str = "original.gguf";

fn convert(checkpoint: &Path, cancel: &CancelToken, screen: &Screen) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir().context("a folder for the converted original")?;
    let source = quantizer::source::Checkpoint::open(checkpoint)?;
    let path = folder.path().join(CONVERTED);
    let file = std::fs::File::create(&path).with_context(|| path.display().to_string())?;
    let bar = screen.bytes_bar(1, "converting the original");
    let mut watch = |progress: quantizer::Progress<'_>| {
        bar.set_length(progress.total_bytes);
        bar.set_position(progress.done_bytes);
        if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    // As it is stored; what is stored in fewer bits is nowhere finer than half precision.
    let output = match quantizer::source::TensorSource::precision(&source).as_str() {
        "BF16" => families::OutputType::Bf16,
        "F32" => families::OutputType::F32,
        _ => families::OutputType::F16,
    };
    quantizer::convert(&source, output, BufWriter::new(file), 0, &mut watch)?;
    bar.finish_and_clear();
    Ok(folder)
}

/// Threads of a loaded model's measurements: those asked for, else the plan's for batches.
pub(crate) fn threads(model: &LoadedModel, computing: &Computing) -> u32 {
    computing.threads.unwrap_or(model.choice().n_threads_batch).max(1)
}

/// The texts in the files that options like `--text` name, each with its name.
pub(crate) fn read_texts(words: &[String]) -> Result<Vec<(String, String)>> {
    let read = |(name, path): (String, PathBuf)| {
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok((name, text))
    };
    files(words)?.into_iter().map(read).collect()
}

fn files(words: &[String]) -> Result<Vec<(String, PathBuf)>> {
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    for word in words {
        let (name, path) = match word.split_once('=').filter(|_| !Path::new(word).exists()) {
            Some((name, path)) => (name.to_string(), PathBuf::from(path)),
            None => {
                let path = PathBuf::from(word);
                (path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), path)
            }
        };
        if name.is_empty() || files.iter().any(|(known, _)| *known == name) {
            bail!("{word}: expected a text with a name of its own, got `{name}`: write NAME=FILE");
        }
        files.push((name, path));
    }
    Ok(files)
}

/// Reads and tokenizes texts.
pub(crate) fn tokenize(
    texts: &[(String, String)],
    parse_special: bool,
    vocabulary: &dyn Vocabulary,
) -> Result<Vec<Text>> {
    let tokenized = texts.iter().map(|(name, text)| {
        let mut tokens = vocabulary.encode(text, parse_special)?;
        if let Some(first) = vocabulary.first() {
            tokens.insert(0, first);
        }
        Ok(Text { name: name.clone(), tokens })
    });
    tokenized.collect()
}

/// The passes over texts, one for each length of context; the first length must suit every text, longer ones those that
/// are long enough.
pub(crate) fn passes(texts: &[Text], wishes: &Texts, vocabulary: &dyn Vocabulary) -> Result<Vec<Pass>> {
    let mut passes = Vec::new();
    for (number, n_ctx) in wishes.contexts.iter().enumerate() {
        let before = passes.len();
        for text in texts {
            match Pass::cut(text, *n_ctx, wishes.chunks, vocabulary.first()) {
                Ok(pass) => passes.push(pass),
                Err(error) if number == 0 => return Err(error.into()),
                Err(error) => eprintln!("note: left out: {error}"),
            }
        }
        if passes.len() == before {
            bail!("--contexts {n_ctx}: no text has so many tokens");
        }
    }
    Ok(passes)
}

/// A bar that follows an evaluation and stops it when `cancel` is raised.
pub(crate) struct Following<'a> {
    screen: &'a Screen,
    cancel: &'a CancelToken,
    bar: Option<(String, ProgressBar)>,
}

impl<'a> Following<'a> {
    pub(crate) fn new(screen: &'a Screen, cancel: &'a CancelToken) -> Self {
        Self { screen, cancel, bar: None }
    }

    pub(crate) fn show(&mut self, progress: &Progress<'_>) -> ControlFlow<()> {
        if self.bar.as_ref().is_none_or(|(label, _)| label != progress.label) {
            self.finish();
            self.bar = Some((progress.label.into(), self.screen.steps_bar(progress.total, progress.label)));
        }
        if let Some((_, bar)) = &self.bar {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
        }
        if self.cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    pub(crate) fn finish(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// `text` where it applies.
pub(crate) fn named(applies: bool, text: &str) -> &str {
    if applies { text } else { "" }
}

/// What computed, and the day.
pub(crate) fn circumstances(runtime: &Runtime) -> Circumstances {
    Circumstances { device: runtime.engine_build(), date: today() }
}

fn today() -> String {
    time::OffsetDateTime::now_utc().date().to_string()
}
