//! `evaluate` and `compare`: tasks put to variants, scores kept in the bundle, its report.
//! Knows files of questions and where results go; must not know how answers are scored.

use super::measure::{Following, Subject, threads};
use super::{report, validate};
use crate::args::{Compare, Computing, Evaluate, Questions, Suite};
use crate::interrupt;
use crate::isolation::{Isolation, Limits};
use crate::screen::Screen;
use anyhow::{Context, Result, bail};
use llama_pajamas::bundle::atomic::AtomicFile;
use llama_pajamas::engine::Logits;
use llama_pajamas::evaluator::divergence;
use llama_pajamas::evaluator::suite::{
    Evaluation, Question, RunProgram, Settings, Task, evaluate, parse, solutions,
};
use llama_pajamas::{CancelToken, LoadedModel, measured};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What `evaluation/<variant>.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The scores.
    #[serde(flatten)]
    pub(crate) evaluation: Evaluation,
    /// Speed of writing where it was measured; the one figure that differs from run to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tokens_per_s: Option<f64>,
}

pub(crate) fn run(args: &Evaluate, screen: &Screen) -> Result<()> {
    let cancel = interrupt::token();
    if args.suite.solutions {
        return check_solutions(&args.suite, &cancel, screen);
    }
    // What cannot be asked is refused before a model is read.
    isolated(&args.suite, &tasks(&args.suite)?)?;
    let subject = Subject::open(&args.model, &args.computing, &cancel, screen)?;
    let asking = Asking { suite: &args.suite, n_ctx: args.context, computing: &args.computing };
    let kept = asking.ask(&subject, &subject.asked(&args.variant)?, &cancel, screen)?;
    finish(&subject, &kept, screen)
}

pub(crate) fn compare(args: &Compare, screen: &Screen) -> Result<()> {
    let cancel = interrupt::token();
    let quantized = Subject::open(&args.validate.quantized, &args.validate.computing, &cancel, screen)?;
    let wants = |metric: &str| args.metrics.iter().any(|wanted| wanted == metric);
    let reads = READINGS.into_iter().any(wants);
    let suite = asked_for(&args.suite, &args.metrics)?;
    // Likewise.
    let asks = !suite.files.is_empty() || (wants(ALL_TASKS) && !reads);
    if asks {
        isolated(&suite, &tasks(&suite)?)?;
    }
    let mut validations = Vec::new();
    if reads {
        let (found, header) = validate::validate(&args.validate, &quantized, screen)?;
        if !screen.json {
            validate::print(&found, &header, screen);
        }
        validations = found;
    }
    let mut kept = Vec::new();
    if asks {
        let n_ctx = args.validate.texts.contexts.iter().copied().max().unwrap_or(512);
        let asking = Asking { suite: &suite, n_ctx, computing: &args.validate.computing };
        // The original is asked as well where it is one of the bundle's variants.
        kept = asking.ask(&quantized, &quantized.asked(&args.validate.variant)?, &cancel, screen)?;
    }
    if screen.json {
        report::write(&quantized)?;
        return screen.print_json(&serde_json::json!({ "validations": validations, "evaluations": kept }));
    }
    finish(&quantized, &kept, screen)
}

/// Which questions are put, and how.
struct Asking<'a> {
    suite: &'a Suite,
    n_ctx: usize,
    computing: &'a Computing,
}

impl Asking<'_> {
    fn ask(
        &self,
        subject: &Subject,
        ids: &[String],
        cancel: &CancelToken,
        screen: &Screen,
    ) -> Result<Vec<Kept>> {
        let tasks = tasks(self.suite)?;
        let isolation = isolated(self.suite, &tasks)?;
        let mut passes = isolation.as_ref().map(|isolation| {
            |program: &str| {
                isolation.passes(program, cancel).map_err(|error| match cancel.is_cancelled() {
                    true => llama_pajamas::evaluator::Error::Cancelled,
                    false => llama_pajamas::evaluator::Error::Program(format!("{error:#}")),
                })
            }
        });
        let settings = Settings {
            n_questions: match self.suite.questions {
                Questions::Some(n) => Some(n),
                Questions::All => None,
            },
            seed: self.suite.seed,
            n_ctx: self.n_ctx,
        };
        let mut following = Following::new(screen, cancel);
        let mut all = Vec::new();
        for id in ids {
            let model = subject.load(id, self.n_ctx, self.computing, cancel)?;
            let computing = divergence::Computing { n_threads: threads(&model, self.computing) };
            let mut watch = |progress: llama_pajamas::evaluator::Progress<'_>| following.show(&progress);
            let (engine_model, tokenizer) = (model.engine_model(), model.tokenizer());
            let run = passes.as_mut().map(|passes| passes as &mut RunProgram<'_>);
            let evaluation = evaluate(
                engine_model,
                tokenizer,
                id,
                &tasks,
                &settings,
                &computing,
                run,
                cancel,
                &mut watch,
            )?;
            let tokens_per_s = self.suite.benchmark.then(|| speed(&model, &computing, cancel)).transpose()?;
            let kept = Kept { evaluation, tokens_per_s };
            if let Some(bundle) = subject.runtime.bundle() {
                let path = report::evaluation_path(bundle.root(), id);
                std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))
                    .with_context(|| path.display().to_string())?;
                AtomicFile::write_all_to(&path, serde_json::to_string_pretty(&kept)?.as_bytes())?;
            }
            all.push(kept);
        }
        following.finish();
        if let Some(bundle) = subject.runtime.bundle() {
            let scores: Vec<_> =
                all.iter().map(|kept| (kept.evaluation.variant.clone(), kept.evaluation.clone())).collect();
            measured::record_scores(bundle.root(), &scores)?;
        }
        Ok(all)
    }
}

/// Where generated code is run, if a task asks for code.
fn isolated(suite: &Suite, tasks: &[Task]) -> Result<Option<Isolation>> {
    let is_code = |question: &Question| matches!(question, Question::Program { .. });
    match tasks.iter().find(|task| task.questions.iter().any(is_code)) {
        None => Ok(None),
        Some(task) if !suite.allow_code => {
            bail!(
                "--suite: {} has a model write programs: --allow-code runs them, without network and under limits",
                task.name
            )
        }
        Some(_) => Ok(Some(Isolation::open(Limits::default())?)),
    }
}

/// Runs the solutions that files of code state, and tells how many pass here.
fn check_solutions(suite: &Suite, cancel: &CancelToken, screen: &Screen) -> Result<()> {
    let tasks = tasks(suite)?;
    let Some(isolation) = isolated(suite, &tasks)? else {
        bail!("--solutions: none of the tasks has a model write programs");
    };
    let mut counts = BTreeMap::new();
    for task in &tasks {
        let programs: Vec<String> = solutions(task).collect();
        let bar = screen.steps_bar(programs.len() as u64, &task.name);
        let mut passed = 0;
        for program in &programs {
            passed += usize::from(isolation.passes(program, cancel)?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        counts.insert(task.name.as_str(), [passed, programs.len()]);
    }
    if screen.json {
        return screen.print_json(&counts);
    }
    for (name, [passed, all]) in counts {
        println!("{name}: {passed} of {all} stated solutions pass");
    }
    Ok(())
}

/// The task's name and where its questions are, as `--suite` gives them.
fn named(word: &str) -> (String, PathBuf) {
    match word.split_once('=').filter(|_| !Path::new(word).exists()) {
        Some((name, path)) => (name.to_string(), PathBuf::from(path)),
        None => {
            let path = PathBuf::from(word);
            (path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), path)
        }
    }
}

/// Metrics that are no tasks, and that of all tasks.
const READINGS: [&str; 2] = ["kld", "perplexity"];
const ALL_TASKS: &str = "tasks";

/// Those of the suite's tasks that `metrics` ask for: all, or those whose names begin so, in any case.
fn asked_for(suite: &Suite, metrics: &[String]) -> Result<Suite> {
    let names: Vec<String> = metrics
        .iter()
        .filter(|metric| *metric != ALL_TASKS && !READINGS.contains(&metric.as_str()))
        .map(|metric| metric.to_lowercase())
        .collect();
    let is_called = |word: &String, name: &String| named(word).0.to_lowercase().starts_with(name.as_str());
    if let Some(absent) = names.iter().find(|name| !suite.files.iter().any(|word| is_called(word, name))) {
        let known: Vec<String> = suite.files.iter().map(|word| named(word).0).collect();
        let got = if known.is_empty() { "none".to_string() } else { known.join(", ") };
        bail!(
            "--metrics: `{absent}` is none of {}, {ALL_TASKS}, nor a task of --suite ({got})",
            READINGS.join(", ")
        );
    }
    let wants_all = metrics.iter().any(|metric| metric == ALL_TASKS);
    let mut asked = suite.clone();
    asked.files.retain(|word| wants_all || names.iter().any(|name| is_called(word, name)));
    Ok(asked)
}

/// The files and folders that `--suite` names, as tasks.
fn tasks(suite: &Suite) -> Result<Vec<Task>> {
    let mut tasks = Vec::new();
    for word in &suite.files {
        let (name, path) = named(word);
        let mut files = match path.is_dir() {
            true => std::fs::read_dir(&path)
                .and_then(|entries| {
                    entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()
                })
                .with_context(|| path.display().to_string())?,
            false => vec![path],
        };
        files.sort();
        let mut questions = Vec::new();
        for file in files {
            let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let label = file.display().to_string();
            questions.extend(parse(&label, &text)?.questions);
        }
        tasks.push(Task { name, questions });
    }
    if tasks.is_empty() {
        bail!("--suite: expected at least one file of questions");
    }
    Ok(tasks)
}

/// Tokens that are written to tell the speed; the first ones warm up.
const WARM_UP: usize = 8;
const TIMED: usize = 32;

/// Tokens per second when writing one after the other.
fn speed(model: &LoadedModel, computing: &divergence::Computing, cancel: &CancelToken) -> Result<f64> {
    let settings = llama_pajamas::engine::ContextSettings {
        n_ctx: 256,
        n_batch: 64,
        n_ubatch: 64,
        n_threads: computing.n_threads,
        n_threads_batch: computing.n_threads,
        ..Default::default()
    };
    let mut context = std::sync::Arc::clone(model.engine_model()).new_context(&settings)?;
    let prompt = model.tokenizer().encode("The weather was clear, and the road led down to the sea", true)?;
    context.decode(&prompt, Logits::Last, cancel)?;
    let token = *prompt.last().context("the prompt has tokens")?;
    for _ in 0..WARM_UP {
        context.decode(&[token], Logits::Last, cancel)?;
    }
    let start = Instant::now();
    for _ in 0..TIMED {
        context.decode(&[token], Logits::Last, cancel)?;
    }
    Ok(TIMED as f64 / start.elapsed().as_secs_f64())
}

fn finish(subject: &Subject, kept: &[Kept], screen: &Screen) -> Result<()> {
    let written = report::write(subject)?;
    if screen.json {
        return screen.print_json(&kept);
    }
    for one in kept {
        println!("{}", screen.bold(&one.evaluation.variant));
        for (name, result) in &one.evaluation.tasks {
            println!(
                "  {name:24}{:>8.1} % ({:.1} to {:.1}) of {} questions; chance {:.1} %",
                100.0 * result.score,
                100.0 * result.interval[0],
                100.0 * result.interval[1],
                result.n,
                100.0 * result.chance
            );
        }
        if let Some(speed) = one.tokens_per_s {
            println!("  {speed:.1} tokens/s when writing");
        }
    }
    if let Some(folder) = written {
        println!("wrote {}", screen.green(&folder.display().to_string()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_name_tasks_of_the_suite() {
        let suite = Suite {
            files: ["HumanEval.jsonl", "mmlu", "sums=gsm8k_test.jsonl"].map(String::from).to_vec(),
            questions: Questions::All,
            seed: 0,
            allow_code: false,
            solutions: false,
            benchmark: false,
        };
        let files = |metrics: &[&str]| {
            let metrics: Vec<String> = metrics.iter().map(|metric| metric.to_string()).collect();
            asked_for(&suite, &metrics).map(|asked| asked.files).map_err(|error| error.to_string())
        };
        assert_eq!(files(&["kld", "mmlu", "humaneval"]).unwrap(), ["HumanEval.jsonl", "mmlu"]);
        assert_eq!(files(&["sums"]).unwrap(), ["sums=gsm8k_test.jsonl"]);
        assert_eq!(files(&["tasks"]).unwrap().len(), 3);
        assert!(files(&["kld", "perplexity"]).unwrap().is_empty());
        let said = files(&["kld", "arc"]).unwrap_err();
        assert!(
            said.contains("`arc` is none of kld, perplexity, tasks")
                && said.contains("HumanEval, mmlu, sums"),
            "{said}"
        );
    }
}
