//! `iq imatrix`: a model reads texts, and what flows into its weights becomes an importance matrix.
//! Owns the files: texts, the partial matrix beside the output, other tools' matrices. Must not know the sums.

use super::documents::{Document, read_documents};
use crate::args::Imatrix;
use crate::commands::measure::{Following, Subject, named, read_texts, threads, tokenize};
use crate::commands::report;
use crate::interrupt;
use crate::screen::Screen;
use anyhow::{Context, Result, bail};
use llama_pajamas::LoadedModel;
use llama_pajamas::bundle::Sha256Digest;
use llama_pajamas::bundle::atomic::AtomicFile;
use llama_pajamas::bundle::mapped_file::MappedFile;
use llama_pajamas::evaluator::divergence::Computing;
use llama_pajamas::evaluator::importance::{Balance, Balanced, Coverage, Partial, Run, merge, shrink};
use llama_pajamas::evaluator::text::{Pass, Text};
use llama_pajamas::evaluator::{Error, Progress, Vocabulary};
use llama_pajamas::formats::imatrix::{self, Imatrix as Matrix};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

pub(crate) fn run(args: &Imatrix, screen: &Screen) -> Result<()> {
    let [n_ctx] = args.texts.contexts[..] else {
        bail!("--contexts: expected one length, got {}", args.texts.contexts.len());
    };
    if !(args.coverage > 0.0 && args.coverage <= 1.0) {
        bail!("--coverage: expected a share from 0 to 1, got {}", args.coverage);
    }
    let mut matrices = Vec::new();
    for path in &args.merge {
        let bytes = MappedFile::open(path)?;
        matrices.push(imatrix::read(&bytes).with_context(|| path.display().to_string())?);
    }
    let collected = match &args.model {
        Some(model) => Some(collect(args, model, n_ctx, screen)?),
        None => None,
    };
    matrices.extend(collected.as_ref().map(|collected| collected.matrix.clone()));
    let chunk_size = u32::try_from(n_ctx).context("--contexts")?;
    let mut matrix = merge(matrices, chunk_size)?;
    shrink(&mut matrix, args.shrink);
    write(&args.output, &matrix)?;
    if collected.is_some() {
        // Nothing is left to go on with.
        let _ = std::fs::remove_file(partial_path(&args.output));
    }
    report(args, &matrix, collected.as_ref(), screen)
}

/// What one model's reading came to.
struct Collected {
    matrix: Matrix,
    coverage: Coverage,
    balanced: Option<Balanced>,
}

fn collect(args: &Imatrix, word: &str, n_ctx: usize, screen: &Screen) -> Result<Collected> {
    let cancel = interrupt::token();
    let documents = read_documents(&args.documents)?;
    let subject = match documents.is_empty() {
        true => Subject::open(word, &args.computing, &cancel, screen)?,
        false => Subject::open_seeing(word, &args.computing, args.mmproj.clone(), &cancel, screen)?,
    };
    let id = match &args.variant {
        Some(id) => id.clone(),
        None => subject.finest()?,
    };
    let model = subject.load(&id, n_ctx, &args.computing, &cancel)?;
    let texts = read_texts(&args.texts.text)?;
    if texts.is_empty() && documents.is_empty() {
        bail!("--text: expected at least one text to read");
    }
    let mut plain = passes(&tokenize(&texts, args.texts.parse_special, model.tokenizer())?, n_ctx, &model)?;
    let mut pool = Vec::new();
    for pass in &mut plain {
        let most = args.texts.chunks.unwrap_or(usize::MAX).min(pass.windows.len());
        let rest = Pass { windows: pass.windows.split_off(most), ..pass.clone() };
        if !rest.windows.is_empty() {
            pool.push(rest);
        }
    }
    let further = tokenize(&read_texts(&args.pool)?, args.texts.parse_special, model.tokenizer())?;
    pool.extend(passes(&further, n_ctx, &model)?);
    let identity = identity(args, &subject.file(&id)?, plain.iter().chain(&pool), &documents)?;
    let mut run = open(args, &model, n_ctx, &identity)?;
    let mut following = Following::new(screen, &cancel);
    let mut keep = |partial: &Partial| keep(&args.output, partial);
    let mut watch = |progress: Progress<'_>| following.show(&progress);
    run.read(&plain, &mut keep, &mut watch)?;
    let n_windows: usize = plain.iter().map(|pass| pass.windows.len()).sum();
    let mut document = |number: usize| documents[number].pieces(&model);
    run.read_documents(n_windows, documents.len(), &mut document, &mut keep, &mut watch)?;
    let balance = Balance { need: args.need, share: args.coverage, most_windows: args.most_draws };
    let balanced = match args.balance {
        true => Some(run.balance(&pool, &balance, &mut keep, &mut watch)?),
        false => None,
    };
    following.finish();
    let coverage = run.coverage();
    if let Some(bundle) = subject.runtime.bundle().filter(|_| coverage.n_experts() > 0) {
        let names: Vec<&str> = plain.iter().map(|pass| pass.text.as_str()).collect();
        report::keep_experts(bundle.root(), &names.join(", "), &coverage)?;
    }
    let shown = args.documents.iter().map(|path| path.display().to_string());
    let names = plain.iter().map(|pass| pass.text.clone()).chain(shown).collect();
    let n_windows = u32::try_from(n_windows + documents.len())?;
    let matrix = run.sums().to_imatrix(names, n_windows, u32::try_from(n_ctx)?);
    Ok(Collected { matrix, coverage, balanced })
}

fn passes(texts: &[Text], n_ctx: usize, model: &LoadedModel) -> Result<Vec<Pass>> {
    let first = model.tokenizer().first();
    texts.iter().map(|text| Ok(Pass::cut(text, n_ctx, None, first)?)).collect()
}

fn open(args: &Imatrix, model: &LoadedModel, n_ctx: usize, identity: &str) -> Result<Run> {
    let path = partial_path(&args.output);
    let partial = match path.exists() {
        true => {
            let bytes = MappedFile::open(&path)?;
            let partial = Partial::read(&bytes).with_context(|| path.display().to_string())?;
            eprintln!("note: going on after {} windows in {}", partial.n_windows(), path.display());
            Some(partial)
        }
        false => None,
    };
    let computing = Computing { n_threads: threads(model, &args.computing) };
    let output = !args.no_output_weight;
    let run = Run::open(model.engine_model(), n_ctx, output, &computing, identity, partial);
    run.map_err(|error| match error {
        Error::Request { what: "partial importance matrix", .. } => {
            anyhow::anyhow!("{}: is of another model, of other texts or settings: remove it", path.display())
        }
        error => error.into(),
    })
}

/// Tells this model, these texts and settings from all others.
fn identity<'a>(
    args: &Imatrix,
    file: &Path,
    passes: impl Iterator<Item = &'a Pass>,
    documents: &[Document],
) -> Result<String> {
    let output = !args.no_output_weight;
    let mut text = format!("{} {output} {}\n", Sha256Digest::of(&MappedFile::open(file)?), args.need);
    for pass in passes {
        let tokens: Vec<u8> = pass.windows.iter().flatten().flat_map(|token| token.to_le_bytes()).collect();
        text += &format!("{} {} {}\n", pass.text, pass.n_ctx, Sha256Digest::of(&tokens));
    }
    for document in documents {
        text += &document.identity()?;
    }
    Ok(Sha256Digest::of(text.as_bytes()).to_string())
}

fn partial_path(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_os_string();
    name.push(".partial");
    name.into()
}

fn keep(output: &Path, partial: &Partial) -> Result<(), Error> {
    let io = |source| Error::Io { doing: "keeping a partial importance matrix", source };
    let mut file =
        AtomicFile::create(&partial_path(output)).map_err(|error| io(std::io::Error::other(error)))?;
    partial.write(BufWriter::new(&mut file))?;
    file.commit().map_err(|error| io(std::io::Error::other(error)))
}

fn write(output: &Path, matrix: &Matrix) -> Result<()> {
    let mut file = AtomicFile::create(output)?;
    imatrix::write_gguf(BufWriter::new(&mut file), matrix)?;
    file.commit()?;
    Ok(())
}

fn report(args: &Imatrix, matrix: &Matrix, collected: Option<&Collected>, screen: &Screen) -> Result<()> {
    let balanced = collected.and_then(|collected| collected.balanced.as_ref());
    let coverage = collected.map(|collected| &collected.coverage);
    if screen.json {
        return screen.print_json(&serde_json::json!({
            "output": args.output, "tensors": matrix.entries.len(), "texts": matrix.datasets,
            "windows": matrix.chunk_count, "context": matrix.chunk_size, "coverage": coverage,
            "histogram": coverage.map(Coverage::histogram), "balanced": balanced,
        }));
    }
    println!(
        "wrote {}: {} tensors, {} windows of {} tokens",
        screen.green(&args.output.display().to_string()),
        matrix.entries.len(),
        matrix.chunk_count,
        matrix.chunk_size
    );
    let Some(coverage) = coverage.filter(|coverage| coverage.n_experts() > 0) else { return Ok(()) };
    let before = balanced.map(|balanced| balanced.before.histogram());
    println!(
        "tokens seen by {} experts{}",
        coverage.n_experts(),
        named(before.is_some(), " (before drawing)")
    );
    for (number, (name, count)) in coverage.histogram().into_iter().enumerate() {
        let was = before.as_ref().map_or_else(String::new, |before| format!(" ({})", before[number].1));
        println!("{name:>16} {count:6}{was}");
    }
    println!("{:.1} % saw {} tokens or more", 100.0 * coverage.share(args.need), args.need);
    if let Some(balanced) = balanced {
        let drawn = balanced.drawn.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{n} of {name}"));
        let drawn = drawn.collect::<Vec<_>>().join(", ");
        println!("windows drawn: {}", if drawn.is_empty() { "none" } else { &drawn });
        if !balanced.reached {
            println!(
                "warning: the texts to draw from ended, or --most-draws did, before enough experts saw enough"
            );
        }
    }
    Ok(())
}
