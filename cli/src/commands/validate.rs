//! `validate`: a reference's logits against those of quantized files, by text and by position, into the manifest.
//! Knows what to load and how to show it; must not know how it is measured.

use super::drift;
use super::measure::{Following, Subject, circumstances, passes, read_texts, threads, tokenize};
use super::needle::{self, Needle};
use super::report;
use crate::args::Validate;
use crate::interrupt;
use crate::screen::Screen;
use anyhow::{Context, Result, bail};
use llama_pajamas::bundle::Sha256Digest;
use llama_pajamas::bundle::atomic::AtomicFile;
use llama_pajamas::evaluator::divergence::{self, Figures};
use llama_pajamas::evaluator::drift::distances;
use llama_pajamas::evaluator::importance::{Coverage, LayerCoverage};
use llama_pajamas::evaluator::reference::{self, Header, Keep, Reader};
use llama_pajamas::evaluator::routing::LayerRouting;
use llama_pajamas::evaluator::text::Pass;
use llama_pajamas::evaluator::{Validation, overall};
use llama_pajamas::{CancelToken, LoadedModel, measured};
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

pub(crate) fn run(args: &Validate, screen: &Screen) -> Result<()> {
    let cancel = interrupt::token();
    let quantized = Subject::open(&args.quantized, &args.computing, &cancel, screen)?;
    let (validations, header) = validate(args, &quantized, screen)?;
    let page = if args.dry_run { None } else { report::write(&quantized)? };
    if screen.json {
        return screen.print_json(&validations);
    }
    print(&validations, &header, screen);
    if let Some(page) = page {
        println!("report: {}", page.display());
    }
    Ok(())
}

/// Measures, and writes the figures into the manifest where that is wanted.
pub(crate) fn validate(
    args: &Validate,
    quantized: &Subject,
    screen: &Screen,
) -> Result<(Vec<Validation>, Header)> {
    let cancel = interrupt::token();
    let original = Original::open(args, quantized, &cancel, screen)?;
    let mut candidates = quantized.asked(&args.variant)?;
    if original.other.is_none() {
        candidates.retain(|id| *id != original.id);
    }
    let subject = original.subject(quantized);
    let model = subject.load(&original.id, longest(args), &args.computing, &cancel)?;
    let texts = read_texts(&args.texts.text)?;
    if texts.is_empty() {
        bail!("--text: expected at least one text to compare on");
    }
    let texts = tokenize(&texts, args.texts.parse_special, model.tokenizer())?;
    let passes = passes(&texts, &args.texts, model.tokenizer())?;
    let needle = Needle::of(args, &model)?;
    let mut following = Following::new(screen, &cancel);
    let store = Store::fill(args, &original, subject, &model, &passes, &cancel, &mut following)?;
    let floor = match args.floor {
        true => Some(compare(&store, &model, args, "floor", &cancel, &mut following)?.1),
        false => None,
    };
    let search = |model: &LoadedModel, label: &str, following: &mut Following<'_>| match &needle {
        Some(needle) => needle.search(model, args, label, &cancel, following),
        None => Ok(Vec::new()),
    };
    let found = search(&model, "original", &mut following)?;
    let held = drift::taken(&model, &passes, args, "original", &cancel, &mut following)?;
    drop(model);
    let mut validations = Vec::new();
    for id in candidates {
        let model = quantized.load(&id, longest(args), &args.computing, &cancel)?;
        let (mut validation, _) = compare(&store, &model, args, &id, &cancel, &mut following)?;
        validation.floor = floor.clone();
        let theirs = search(&model, &id, &mut following)?;
        validation.needles = needle.as_ref().map(|needle| needle.pair(&found, &theirs)).unwrap_or_default();
        if let Some(held) = &held {
            let theirs = drift::taken(&model, &passes, args, &id, &cancel, &mut following)?;
            let theirs = theirs.context("a variant has the original's recurrent layers")?;
            validation.drift = distances(&passes, held, &theirs)?;
        }
        validations.push(validation);
    }
    following.finish();
    if let (Some(bundle), false) = (quantized.runtime.bundle(), args.dry_run) {
        let circumstances = circumstances(&quantized.runtime);
        let quality = |one: &Validation| (one.candidate.clone(), measured::quality_of(one, &circumstances));
        measured::record(bundle.root(), &validations.iter().map(quality).collect::<Vec<_>>())?;
        keep_histograms(bundle.root(), &store.header, &validations)?;
    }
    Ok((validations, store.header))
}

/// Keeps how often experts were chosen, by the original and by each variant, for the bundle's report.
fn keep_histograms(root: &Path, header: &Header, validations: &[Validation]) -> Result<()> {
    for (number, validation) in validations.iter().enumerate() {
        for routing in &validation.routing {
            let place = format!("{} in windows of {}", routing.text, routing.n_ctx);
            let coverage = |of: fn(&LayerRouting) -> &Vec<u64>| Coverage {
                layers: routing
                    .layers
                    .iter()
                    .map(|layer| LayerCoverage { layer: layer.layer, counts: of(layer).clone() })
                    .collect(),
            };
            if number == 0 {
                let name = format!("{place}: original ({})", header.reference);
                report::keep_experts(root, &name, &coverage(|layer| &layer.reference))?;
            }
            let name = format!("{place}: {}", validation.candidate);
            report::keep_experts(root, &name, &coverage(|layer| &layer.candidate))?;
        }
    }
    Ok(())
}

fn longest(args: &Validate) -> usize {
    args.texts.contexts.iter().chain(&args.needle).copied().max().unwrap_or(512)
}

/// What the candidates are held against: a variant of their own bundle, or of something else.
struct Original {
    other: Option<Subject>,
    id: String,
    name: String,
}

impl Original {
    fn open(args: &Validate, quantized: &Subject, cancel: &CancelToken, screen: &Screen) -> Result<Self> {
        let present = quantized.present();
        let own = match &args.original {
            None => Some(quantized.finest()?),
            Some(word) => present.iter().find(|id| *id == word || id.ends_with(&format!("/{word}"))).cloned(),
        };
        if let Some(id) = own {
            if present.len() < 2 {
                bail!(
                    "--original: {} has no other variant: name the model to hold it against",
                    args.quantized
                );
            }
            let name = quantized.precision(&id);
            return Ok(Self { other: None, id, name });
        }
        let word = args.original.as_deref().unwrap_or_default();
        let other = Subject::open(word, &args.computing, cancel, screen)
            .with_context(|| format!("--original {word}: no variant of {}", args.quantized))?;
        let id = other.finest()?;
        let name = other.precision(&id);
        Ok(Self { other: Some(other), id, name })
    }

    fn subject<'a>(&'a self, quantized: &'a Subject) -> &'a Subject {
        self.other.as_ref().unwrap_or(quantized)
    }
}

/// The original's logits on disk.
struct Store {
    file: File,
    header: Header,
}

impl Store {
    /// Opens the file that `--reference` names where it holds just these passes of this original; else computes them,
    /// into that file or a temporary one.
    fn fill(
        args: &Validate,
        original: &Original,
        subject: &Subject,
        model: &LoadedModel,
        passes: &[Pass],
        cancel: &CancelToken,
        following: &mut Following<'_>,
    ) -> Result<Self> {
        let identity = identity(&subject.file(&original.id)?, passes)?;
        if let Some(path) = args.reference.as_deref().filter(|path| path.exists()) {
            let file = File::open(path).with_context(|| path.display().to_string())?;
            let reader = Reader::open(BufReader::new(&file)).with_context(|| path.display().to_string())?;
            let header = reader.header().clone();
            if header.identity != identity {
                bail!(
                    "--reference {}: holds logits of {}, of another file or of other texts: name a new file, or remove it",
                    path.display(),
                    header.reference
                );
            }
            return Ok(Self { file, header });
        }
        let computing = divergence::Computing { n_threads: threads(model, &args.computing) };
        let of = (original.name.as_str(), identity.as_str());
        let mut watch = |progress: llama_pajamas::evaluator::Progress<'_>| following.show(&progress);
        let model = model.engine_model();
        let mut collect = |out: &mut dyn Write| {
            let keep = Keep { routers: true, ..Keep::default() };
            reference::collect(model, of, passes, keep, &computing, BufWriter::new(out), cancel, &mut watch)
        };
        match &args.reference {
            Some(path) => {
                let mut file = AtomicFile::create(path)?;
                let header = collect(&mut file)?;
                file.commit()?;
                let file = File::open(path).with_context(|| path.display().to_string())?;
                Ok(Self { file, header })
            }
            None => {
                let mut file = tempfile::tempfile().context("a temporary file for the original's logits")?;
                let header = collect(&mut file)?;
                Ok(Self { file, header })
            }
        }
    }

    fn reader(&self) -> Result<Reader<BufReader<&File>>> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0)).context("reading the original's logits")?;
        Ok(Reader::open(BufReader::with_capacity(1 << 20, file))?)
    }
}

/// Tells this original with these windows from all others.
fn identity(file: &Path, passes: &[Pass]) -> Result<String> {
    let mapped = llama_pajamas::bundle::mapped_file::MappedFile::open(file)?;
    let mut text = format!("{}\n", Sha256Digest::of(&mapped));
    for pass in passes {
        let tokens: Vec<u8> = pass.windows.iter().flatten().flat_map(|token| token.to_le_bytes()).collect();
        text += &format!("{} {} {}\n", pass.text, pass.n_ctx, Sha256Digest::of(&tokens));
    }
    Ok(Sha256Digest::of(text.as_bytes()).to_string())
}

/// Validation of a loaded model, and its figures alone.
fn compare(
    store: &Store,
    model: &LoadedModel,
    args: &Validate,
    label: &str,
    cancel: &CancelToken,
    following: &mut Following<'_>,
) -> Result<(Validation, Figures)> {
    let computing = divergence::Computing { n_threads: threads(model, &args.computing) };
    let mut watch = |progress: llama_pajamas::evaluator::Progress<'_>| following.show(&progress);
    let mut reader = store.reader()?;
    let compared =
        divergence::compare(model.engine_model(), &mut reader, &computing, label, cancel, &mut watch)?;
    let figures = overall(&store.header, &compared.samples).context("nothing was compared")?;
    let validation = Validation::of(&store.header, label, &compared.samples)?;
    Ok((Validation { routing: compared.routing, ..validation }, figures))
}

pub(crate) fn print(validations: &[Validation], header: &Header, screen: &Screen) {
    let Some(first) = validations.first() else { return };
    println!(
        "held against {}, {} tokens of context, the second half of each window compared",
        header.reference, first.n_ctx
    );
    let heading = format!(
        "{:24}{:>8}  {:<22}{:>9}{:>9}{:>9}{:>11}  {:<18}",
        "", "tokens", "KLD mean (95 %)", "median", "99 %", "99.9 %", "same top-1", "PPL ratio (95 %)"
    );
    println!("{}", screen.bold(&heading));
    for validation in validations {
        println!("{}  {}", row(&validation.candidate, &validation.overall), word(validation));
        let several = validation.domains.len() > 1;
        for domain in validation.domains.iter().filter(|_| several) {
            let name = format!("  {} ({})", domain.text, domain.n_ctx);
            println!("{}", screen.dim(&row(&name, &domain.figures)));
        }
        for part in &validation.positions {
            let name = format!("  from {} to {}", part.from, part.to - 1);
            println!("{}", screen.dim(&row(&name, &part.figures)));
        }
    }
    if let Some(floor) = &first.floor {
        println!("{}", row("itself (floor)", floor));
    }
    print_routing(validations, screen);
    needle::print(validations, screen);
    drift::print(validations, screen);
}

/// The choice of experts, where there are any.
fn print_routing(validations: &[Validation], screen: &Screen) {
    if validations.iter().all(|validation| validation.routing.is_empty()) {
        return;
    }
    let heading = format!(
        "\n{:32}{:<20}{:>15}{:>12}  {}",
        "experts", "same experts (95 %)", "same choices", "use, r", "least same, by layer"
    );
    println!("{}", screen.bold(&heading));
    for validation in validations {
        for routing in &validation.routing {
            let name = format!("{}, {} ({})", validation.candidate, routing.text, routing.n_ctx);
            let least = routing.layers.iter().min_by(|a, b| a.agreement.total_cmp(&b.agreement));
            let least =
                least.map(|layer| format!("{:.2} % in layer {}", 100.0 * layer.agreement, layer.layer));
            println!(
                "{name:32}{:<20}{:>13.2} %{:>12.4}  {}",
                format!("{:.2} % ± {:.2}", 100.0 * routing.agreement.mean, 100.0 * routing.agreement.reach()),
                100.0 * routing.same_set,
                routing.usage_correlation,
                least.unwrap_or_default()
            );
        }
    }
}

fn word(validation: &Validation) -> String {
    let grade = &validation.grade;
    match grade.word == grade.at_worst {
        true => grade.word.clone(),
        false => format!("{} (or {})", grade.word, grade.at_worst),
    }
}

fn row(name: &str, figures: &Figures) -> String {
    let reach = |mean: &llama_pajamas::evaluator::statistics::Mean, digits: usize| match mean.reach() {
        reach if reach.is_finite() => format!("{:.digits$} ± {reach:.digits$}", mean.mean),
        _ => format!("{:.digits$}", mean.mean),
    };
    format!(
        "{name:24}{:>8}  {:<22}{:>9.5}{:>9.5}{:>9.4}{:>9.2} %  {:<18}",
        figures.n_tokens,
        reach(&figures.kld, 6),
        figures.kld_median,
        figures.kld_p99,
        figures.kld_p999,
        100.0 * figures.same_top.mean,
        reach(&figures.ppl_ratio, 4)
    )
}
