//! `run`: one prompt, one answer, streamed.

use super::small::{SmallModel, beside, guessing};
use super::{adapters, generate_settings, load, open, read};
use crate::args::Run;
use crate::interrupt;
use crate::screen::{Screen, bytes};
use anyhow::{Context, Result, bail};
use llama_pajamas::hardware::{self, EnergyMeter};
use llama_pajamas::{ChatRequest, Event, PlanRequest, StopReason, TemplateInput};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// How often a power is read while tokens come.
const ENERGY_EVERY: Duration = Duration::from_millis(200);

/// The meter of a run, read between tokens.
struct Energy {
    meter: EnergyMeter,
    start: Instant,
    last: Instant,
    uses_devices: bool,
}

impl Energy {
    /// `None` where the machine reports nothing of what computes.
    fn start(start: Instant, uses_devices: bool) -> Option<Self> {
        let meter = EnergyMeter::start(hardware::energy(uses_devices)?, start.elapsed());
        Some(Self { meter, start, last: Instant::now(), uses_devices })
    }

    fn follow(&mut self) {
        if self.last.elapsed() >= ENERGY_EVERY {
            self.read();
        }
    }

    fn read(&mut self) {
        self.last = Instant::now();
        if let Some(reading) = hardware::energy(self.uses_devices) {
            self.meter.add(reading, self.start.elapsed());
        }
    }

    fn finish(mut self) -> EnergyMeter {
        self.read();
        self.meter
    }
}

pub(crate) fn run(args: &Run, screen: &Screen) -> Result<()> {
    let start = Instant::now();
    let cancel = interrupt::token();
    let (runtime, _located) = open(&args.model, &args.wishes, args.cpu_variant.clone(), screen)?;
    let small = SmallModel::open(&args.answering.guessing, &args.wishes, screen)?;
    let images = !args.image.is_empty();
    let model = load(&runtime, PlanRequest { images, ..beside(&args.wishes, small.as_ref())? }, &cancel)?;
    let mut session = model.session(&guessing(&args.answering.guessing, small.as_ref(), &model, &cancel)?)?;
    let loaded = start.elapsed();
    let mut prompt = args.prompt.clone();
    if prompt == "-" {
        prompt.clear();
        std::io::stdin().read_to_string(&mut prompt).context("reading the prompt from standard input")?;
    }
    let mut answer = String::new();
    let mut tokens = Vec::new();
    let mut first_token = None;
    let mut out = std::io::stdout();
    let mut broken = None;
    if !screen.json && !args.chat_template {
        print!("{}", screen.dim(&prompt));
        out.flush()?;
    }
    let mut meter = args.benchmark.then(|| Energy::start(start, model.choice().gpu_layers > 0)).flatten();
    let mut on_event = |event: Event<'_>| {
        match event {
            Event::Token(token) => {
                if let Some(meter) = &mut meter {
                    meter.follow();
                }
                first_token.get_or_insert_with(|| start.elapsed());
                tokens.push(token);
            }
            Event::Text(text) if screen.json => answer.push_str(text),
            Event::Text(text) => {
                if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                    broken = Some(error);
                    return ControlFlow::Break(());
                }
            }
            Event::Prompt { .. }
            | Event::Progress { .. }
            | Event::Dropped { .. }
            | Event::Logprobs(_)
            | Event::Change(_) => {}
        }
        ControlFlow::Continue(())
    };
    let mut settings = generate_settings(&args.answering.sampling);
    settings.adapters = adapters(&model, &args.answering.adapters)?;
    let files = args.image.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
    let usage = if args.chat_template {
        let mut content: Vec<Value> = files.iter().map(|_| json!({ "type": "image" })).collect();
        content.push(json!({ "type": "text", "text": prompt }));
        let messages = vec![json!({ "role": "user", "content": content })];
        let input = TemplateInput { messages, add_generation_prompt: true, ..TemplateInput::default() };
        let request = ChatRequest { input, files, ..ChatRequest::default() };
        let prompt = model.chat_prompt(&request, &mut settings)?;
        session.generate_tokens(&prompt.tokens, &settings, &cancel, &mut on_event)?
    } else {
        let tokens = model.media_prompt(&prompt, &files, &mut settings.media)?;
        session.generate_tokens(&tokens, &settings, &cancel, &mut on_event)?
    };
    let energy = meter.map(Energy::finish);
    if let Some(error) = broken.filter(|error| error.kind() != std::io::ErrorKind::BrokenPipe) {
        return Err(error).context("writing the answer");
    }
    if screen.json {
        screen.print_json(&serde_json::json!({
            "text": answer, "tokens": tokens, "usage": usage, "plan": model.choice(),
            "seconds_to_ready": loaded.as_secs_f64(),
            "seconds_to_first_token": first_token.map(|t| t.as_secs_f64()),
            "prompt_tokens_per_s": usage.prompt_tokens_per_s(), "decode_tokens_per_s": usage.decode_tokens_per_s(),
            "energy_joules": energy.as_ref().map(|meter| meter.joules()),
            "energy_source": energy.as_ref().map(|meter| meter.source()),
        }))?;
    } else {
        println!();
        if args.benchmark {
            let first = first_token.map_or("–".into(), |t| format!("{:.0} ms", t.as_secs_f64() * 1e3));
            println!();
            println!("ready in {:.0} ms, first token after {first}", loaded.as_secs_f64() * 1e3);
            println!(
                "read {} tokens at {:.0} tokens/s",
                usage.prompt_tokens - usage.reused_tokens,
                usage.prompt_tokens_per_s()
            );
            println!(
                "wrote {} tokens at {:.0} tokens/s",
                usage.completion_tokens,
                usage.decode_tokens_per_s()
            );
            println!("weights in memory: {}", bytes(model.memory().model_bytes));
            if let Some(paging) = model.paging() {
                println!(
                    "of these experts: {} of {}; {} of {} were held when they were chosen, {} were read",
                    bytes(paging.held_bytes),
                    bytes(paging.expert_bytes),
                    paging.held,
                    paging.wanted,
                    bytes(paging.read_bytes)
                );
            }
            match &energy {
                Some(meter) => {
                    let joules = meter.joules();
                    let each = joules / (usage.completion_tokens.max(1) as f64);
                    println!(
                        "energy: {joules:.2} J, {each:.3} J per written token, prompt included ({})",
                        meter.source()
                    );
                }
                None => println!("energy: this machine reports none to this process"),
            }
        }
    }
    if usage.stop_reason == StopReason::Cancelled && cancel.is_cancelled() {
        bail!("cancelled");
    }
    Ok(())
}
