//! The table of scenarios through the Rust crate.
//!
//! Owns: one line of outcome per line of the table. May know: the crate `llama_pajamas`. Must not know: the C interface. What Rust's
//! types do not let happen (an object that is closed or was never opened, two forms of one answer) is told as the error that other
//! languages get.

mod answers;
mod making;

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use llama_pajamas::bundle::download::{Downloader, Options};
use llama_pajamas::bundle::http_transport::{HttpOptions, HttpTransport};
use llama_pajamas::bundle::pull::{PullRequest, look};
use llama_pajamas::bundle::{Bundle, SignaturePolicy, TrustStore};
use llama_pajamas::engine::{Adapter, Applied};
use llama_pajamas::tuner::Heat;
use llama_pajamas::{
    CancelToken, Constraint, EmbedSettings, Embedder, Error, Event, GenerateSettings, LoadedModel, Message,
    PlanRequest, Prompt, Runtime, RuntimeSettings, Sampling, Session, SessionSettings, Signals, StopReason,
    StreamEvent, TuneSettings, Usage, WhenFull, hardware,
};

use crate::table::Line;
use answers::{generate, stream, threads};
use making::{quantize, requantize};

/// What a step comes to; an error is told by its text.
type Told = Result<String, String>;

/// Objects of a scenario.
#[derive(Default)]
struct Objects {
    runtime: Option<Runtime>,
    model: Option<LoadedModel>,
    session: Option<Session>,
    adapter: Option<Arc<dyn Adapter>>,
    embedder: Option<Embedder>,
    state: Vec<u8>,
}

/// Runs the table; one line per line of it.
pub(crate) fn run(lines: &[Line], files: &Path) -> String {
    let (mut objects, mut scenario, mut told) = (Objects::default(), "", String::new());
    for line in lines {
        if line.scenario != scenario {
            objects = Objects::default();
            scenario = &line.scenario;
        }
        let outcome = step(line, &mut objects, files).unwrap_or_else(|error| error);
        writeln!(told, "{}\t{}\t{outcome}", line.scenario, line.step).expect("a String takes everything");
    }
    told
}

fn failed(error: impl Into<Error>) -> String {
    let error = error.into();
    format!("error {} {}", error.code().name(), error.details())
}

fn refused() -> String {
    r#"error invalid_argument {"code":"invalid_argument"}"#.into()
}

fn of<T>(object: &mut Option<T>) -> Result<&mut T, String> {
    object.as_mut().ok_or_else(refused)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\n', "\\n").replace('\t', "\\t").replace('"', "\\\""))
}

fn reason(reason: &StopReason) -> &'static str {
    match reason {
        StopReason::EndOfTurn => "end_of_turn",
        StopReason::StopText(_) => "stop_text",
        StopReason::MaxTokens => "max_tokens",
        StopReason::ContextFull => "context",
        StopReason::Cancelled => "cancelled",
    }
}

#[derive(Default)]
struct Heard {
    text: String,
    n_tokens: usize,
    n_logprobs: usize,
}

impl Heard {
    fn hear(&mut self, event: &Event<'_>) {
        match event {
            Event::Token(_) => self.n_tokens += 1,
            Event::Logprobs(_) => self.n_logprobs += 1,
            Event::Text(text) => self.text.push_str(text),
            _ => {}
        }
    }

    fn answer(&self, usage: &Usage) -> String {
        let logprobs = match self.n_logprobs {
            0 => String::new(),
            count => format!(" logprobs={count}"),
        };
        format!(
            "stop={} completion={} prompt={} reused={}{logprobs} text={}",
            reason(&usage.stop_reason),
            usage.completion_tokens,
            usage.prompt_tokens,
            usage.reused_tokens,
            quoted(&self.text)
        )
    }
}

fn plan_request(line: &Line) -> PlanRequest {
    let given = |name: &str| Some(line.number(name, 0.0) as u64).filter(|number| *number != 0);
    PlanRequest {
        context_tokens: given("context"),
        memory_budget_bytes: given("budget"),
        memory_cap_bytes: given("cap"),
        n_threads: given("threads").map(|count| count as u32),
        variant: line.text("variant").map(str::to_owned),
        ..PlanRequest::default()
    }
}

fn step(line: &Line, objects: &mut Objects, files: &Path) -> Told {
    let place = |name: &str| files.join(line.text(name).unwrap_or_default());
    let cancel = CancelToken::new();
    if line.text("cancel") == Some("before") {
        cancel.cancel();
    }
    let flow = || if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let done = || Ok("ok".to_owned());
    match line.step.as_str() {
        "versions" => {
            Ok(format!("abi={} library={}", llama_pajamas_ffi::LP_ABI_VERSION, env!("CARGO_PKG_VERSION")))
        }
        "host" => hardware::detect().map(|_| "ok".into()).map_err(failed),
        "open" => {
            objects.runtime = None;
            let cpu_variant = line.text("cpu_variant").map(str::to_owned);
            let settings = RuntimeSettings { cpu_variant, ..RuntimeSettings::default() };
            objects.runtime = Some(Runtime::open(&place("path"), settings).map_err(failed)?);
            done()
        }
        "describe" => {
            let ids: Vec<_> = of(&mut objects.runtime)?.candidates().map(|variant| &variant.id).collect();
            Ok(format!("variants={} first={}", ids.len(), ids[0]))
        }
        "verify" => {
            let bundle = Bundle::open(&place("path")).map_err(failed)?;
            let report = bundle.verify(&mut |_| flow()).map_err(failed)?;
            let count = report.files.len();
            report.into_result().map_err(failed)?;
            Ok(format!("ok files={count}"))
        }
        "pull" => {
            let transport = HttpTransport::new(&HttpOptions::default()).expect("no proxy to refuse");
            let downloader = Downloader::new(Arc::new(transport), Options::default());
            let request = PullRequest {
                manifest_url: line.text("url").unwrap_or_default(),
                headers: &[],
                destination: &place("to"),
                variants: &[],
                trust: &TrustStore::new(),
                policy: SignaturePolicy::Report,
                cap_bytes: None,
            };
            look(&downloader, &request, &mut |_| flow()).map_err(failed)?;
            done()
        }
        "plan" => {
            let plan = of(&mut objects.runtime)?.plan(&plan_request(line));
            Ok(match plan.chosen {
                Some(choice) => format!("chosen={} context={}", choice.id, choice.context_tokens),
                None => "chosen=none".into(),
            })
        }
        "load" => {
            objects.model = None;
            let stop = CancelToken::new();
            let stops = line.text("break").is_some() || cancel.is_cancelled();
            if cancel.is_cancelled() {
                stop.cancel();
            }
            let mut progress = |_| {
                if stops {
                    stop.cancel()
                }
            };
            let loaded = of(&mut objects.runtime)?.plan_and_load(&plan_request(line), &mut progress, &stop);
            objects.model = Some(loaded.map_err(failed)?.1);
            done()
        }
        "describe_model" => {
            let model = of(&mut objects.model)?;
            let decodes = if model.is_decoder() { "yes" } else { "no" };
            let vocabulary = model.tokenizer().n_vocab();
            Ok(format!("chosen={} decoder={decodes} vocabulary={vocabulary}", model.choice().id))
        }
        "tokenize" => {
            let text = line.text("text").ok_or_else(refused)?;
            let tokens = of(&mut objects.model)?.tokenizer().encode(text, true).map_err(failed)?;
            let list: Vec<_> = tokens.iter().map(ToString::to_string).collect();
            Ok(format!("n={} tokens={}", tokens.len(), list.join(",")))
        }
        "detokenize" => {
            let list = line.text("tokens").unwrap_or_default().split(',');
            let tokens: Vec<i32> = list.map(|id| id.parse().expect("an id")).collect();
            Ok(format!("text={}", quoted(&of(&mut objects.model)?.tokenizer().decode(&tokens))))
        }
        "session" => {
            objects.session = None;
            let shift = WhenFull::Shift { keep_tokens: 0 };
            let when_full = match line.number("when_full", 0.0) as u32 {
                0 => WhenFull::Refuse,
                1 => shift,
                _ => return Err(refused()),
            };
            let context = line.number("context", 0.0) as u32;
            let context_tokens = (context != 0).then_some(context);
            let asked = SessionSettings { context_tokens, ..SessionSettings::default() };
            let mut session = of(&mut objects.model)?.session(&asked).map_err(failed)?;
            session.set_when_full(when_full);
            objects.session = Some(session);
            done()
        }
        "generate" | "chat" => generate(line, objects),
        "stream" | "stream_chat" => stream(line, objects),
        "threads" => threads(line, objects),
        "save" => {
            objects.state = of(&mut objects.session)?.save().map_err(failed)?;
            Ok(format!("ok bytes={}", objects.state.len()))
        }
        "restore" => {
            let bytes = line.text("bytes").map_or(objects.state.as_slice(), str::as_bytes);
            of(&mut objects.session)?.restore(bytes).map_err(failed)?;
            done()
        }
        "fork" => {
            let fork = of(&mut objects.session)?.fork().map_err(failed)?;
            objects.session = Some(fork);
            done()
        }
        "adapter" => {
            let model = of(&mut objects.model)?;
            objects.adapter = Some(model.load_adapter(&place("path")).map_err(failed)?);
            done()
        }
        "embedder" => {
            let most = line.number("max", 0.0) as u32;
            let asked = EmbedSettings { max_tokens: (most != 0).then_some(most), ..EmbedSettings::default() };
            objects.embedder = Some(of(&mut objects.model)?.embedder(&asked).map_err(failed)?);
            done()
        }
        "embed" => {
            let text = line.text("text").unwrap_or_default();
            let mut read = of(&mut objects.embedder)?.embed(text, &cancel).map_err(failed)?;
            let vector = read.vectors.remove(0);
            let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            Ok(format!("n={} length={length:.2} first={:.4}", vector.len(), vector[0]))
        }
        "report" => {
            let heats = [Heat::Cool, Heat::Warm, Heat::Hot];
            let heat = Some(*heats.get(line.number("heat", 0.0) as usize).ok_or_else(refused)?);
            let changes = of(&mut objects.model)?.report(&Signals { heat, ..Signals::default() });
            Ok(format!("changes={}", changes.len()))
        }
        "watch" => {
            drop(of(&mut objects.model)?.watch(Duration::from_secs(1), |_| {}));
            done()
        }
        "tune" => {
            let budget = Duration::from_secs_f64(line.number("budget", 12.0));
            let asked = TuneSettings { budget, ..TuneSettings::default() };
            let (runtime, model) = (of(&mut objects.runtime)?, of(&mut objects.model)?);
            runtime.tune(model, &asked, &cancel, &mut |_| ControlFlow::Continue(())).map_err(failed)?;
            done()
        }
        "requantize" => requantize(line, of(&mut objects.runtime)?, &cancel),
        "quantize" => quantize(line, &place("model"), place("to"), &cancel),
        "close" => {
            match line.text("what") {
                Some("session") => objects.session = None,
                Some("model") => objects.model = None,
                _ => objects.runtime = None,
            }
            done()
        }
        // A panic reaches Rust programs as one: what they catch has the code that others get.
        "panic" => std::panic::catch_unwind(|| panic!("on purpose"))
            .map_err(|_: Box<dyn std::any::Any + Send>| r#"error panic {"code":"panic"}"#.into()),
        other => Err(format!("unknown step {other}")),
    }
}
