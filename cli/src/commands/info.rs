//! `info`: what a bundle, checkpoint, config.json or GGUF file is.

use crate::args::Info;
use crate::fetch::{Take, locate};
use crate::screen::{Screen, bytes};
use anyhow::{Context, Result, bail};
use llama_pajamas::bundle::Bundle;
use llama_pajamas::families::{self, Attention, Description, Form, Mixer, Reach, Recurrence, Recurrent};
use llama_pajamas::formats::gguf::{GgmlType, Header};
use llama_pajamas::quantizer::recipe::{Preset, Recipe};
use llama_pajamas::quantizer::{self, Estimate};
use std::path::Path;

/// What sizes are told for: the presets, then llama.cpp's.
const PRECISIONS: [&str; 15] = [
    "high",
    "balanced",
    "extreme",
    "F16",
    "Q8_0",
    "Q6_K",
    "Q5_K_M",
    "Q4_K_M",
    "IQ4_XS",
    "Q3_K_M",
    "IQ3_XXS",
    "Q2_K",
    "IQ2_XXS",
    "IQ1_S",
    "MXFP4_MOE",
];

pub(crate) fn run(args: &Info, screen: &Screen) -> Result<()> {
    let located = locate(&args.target, &args.network, Take::Config, screen)?;
    if Bundle::is_bundle(&located.path) {
        return bundle(&Bundle::open(&located.path)?, screen);
    }
    let description = describe(&located.path)?;
    let precisions = if args.architecture { Precisions::of(&description) } else { None };
    if screen.json {
        let mut document = serde_json::to_value(&description)?;
        if let Some(precisions) = precisions {
            document["precisions"] = serde_json::to_value(precisions)?;
        }
        return screen.print_json(&document);
    }
    print_description(&description, screen);
    match precisions {
        Some(precisions) => precisions.print(screen),
        None if args.architecture => {
            println!("no family file gives its tensors: roles and sizes are unknown")
        }
        None => {}
    }
    Ok(())
}

fn describe(path: &Path) -> Result<Description> {
    let config = if path.is_dir() { path.join("config.json") } else { path.to_path_buf() };
    if config.extension().is_some_and(|extension| extension == "json") {
        let text = std::fs::read(&config).with_context(|| config.display().to_string())?;
        let json = families::parse_config(&text).with_context(|| config.display().to_string())?;
        return families::detect_config(&json).with_context(|| config.display().to_string());
    }
    if !path.exists() {
        bail!(
            "{}: expected a bundle, a checkpoint directory, a config.json or a GGUF file, found nothing",
            path.display()
        );
    }
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let length = file.metadata()?.len();
    let header =
        Header::read(std::io::BufReader::new(file), length).with_context(|| path.display().to_string())?;
    families::detect_gguf(&header).with_context(|| path.display().to_string())
}

fn bundle(bundle: &Bundle, screen: &Screen) -> Result<()> {
    if screen.json {
        return screen.print_json(bundle.manifest());
    }
    let model = &bundle.manifest().model;
    println!(
        "{}  {}",
        screen.bold(&model.name),
        model.licence.as_ref().map_or("licence not stated", |l| &l.id)
    );
    for variant in bundle.variants() {
        let size: u64 = variant.files.iter().map(|file| file.bytes).sum();
        println!("  {:16} {:>11}  {}", variant.id, bytes(size), variant.method);
    }
    Ok(())
}

fn print_description(d: &Description, screen: &Screen) {
    let line = |label: &str, text: String| println!("{} {text}", screen.bold(&format!("{label:12}")));
    let parameters = |count: u64| match count {
        0..1_000_000_000 => format!("{:.2} M", count as f64 / 1e6),
        _ => format!("{:.2} B", count as f64 / 1e9),
    };
    line("family", format!("{} ({})", d.family, d.model_type));
    let (total, active) = (parameters(d.parameters.total), parameters(d.parameters.active));
    line("parameters", format!("{total} in all, {active} per token"));
    let n_predicting = d.layers.iter().filter(|layer| layer.predicts).count() as u32;
    let predicting = match n_predicting {
        0 => String::new(),
        n => format!(", {n} behind them that predict further tokens"),
    };
    let n_layers = d.n_layers - n_predicting;
    line("layers", format!("{n_layers} of width {}, feed-forward {}{predicting}", d.hidden_size, d.ffn_size));
    let heads = format!("{} query and {} key-value heads of {}", d.n_heads, d.n_kv_heads, d.head_dim);
    line("attention", heads);
    let kinds = layer_kinds(d);
    if kinds.len() > 1 {
        let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        line("", kinds.join(", "));
    }
    if let Some(moe) = &d.moe {
        let shared = if moe.shared_ffn_size > 0 { ", shared ones beside them" } else { "" };
        line(
            "experts",
            format!("{} of width {}, {} per token{shared}", moe.n_experts, moe.expert_ffn_size, moe.n_active),
        );
    }
    let output = match (d.form, d.tied_embeddings) {
        (Form::Encoder, _) => "no output: it reads texts and gives vectors",
        (_, true) => "tied to the output",
        (_, false) => "output of its own",
    };
    line("vocabulary", format!("{} tokens, {output}", d.vocab_size));
    let kv = families::memory::kv_bytes(d, 1, GgmlType::F16, GgmlType::F16).map_or("unknown".into(), bytes);
    line("context", format!("{} tokens, {kv} of cache each", d.max_context));
    if let Some(pooling) = d.pooling {
        line("pooling", format!("{pooling:?}").to_lowercase());
    }
    let takes = [(d.modalities.vision, "images"), (d.modalities.audio, "audio")];
    let takes: Vec<&str> = takes.into_iter().filter_map(|(takes, what)| takes.then_some(what)).collect();
    if !takes.is_empty() {
        line("takes", format!("{} beside text", takes.join(" and ")));
    }
    if let Some(native) = &d.native_quantization {
        line("stored as", native.method.clone());
    }
    d.warnings.iter().for_each(|warning| println!("warning: {warning}"));
}

/// What layers do, with how many do it, in the order of their first.
fn layer_kinds(description: &Description) -> Vec<(String, usize)> {
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for layer in &description.layers {
        let kind = match layer.mixer {
            Mixer::Attention(attention) => attends(attention),
            Mixer::Latent(latent) => format!("attend through a latent of {}", latent.kv_rank),
            Mixer::Recurrent(recurrent) => is_of(recurrent).to_string(),
            Mixer::Parallel(attention, recurrent) => {
                format!("{} beside one {}", attends(attention), is_of(recurrent))
            }
            Mixer::None => "feed-forward alone".into(),
        };
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((kind, 1)),
        }
    }
    kinds
}

fn attends(attention: Attention) -> String {
    match attention.reach {
        Reach::Full => "attend to everything".into(),
        Reach::Sliding { window } => format!("attend to the last {window}"),
        Reach::Chunked { chunk } => format!("attend within chunks of {chunk}"),
    }
}

fn is_of(recurrent: Recurrent) -> &'static str {
    match recurrent.kind {
        Recurrence::Mamba1 => "of Mamba-1",
        Recurrence::Mamba2 => "of Mamba-2",
        Recurrence::GatedDelta => "of gated delta nets",
        Recurrence::ShortConvolution => "of short convolutions",
    }
}

/// What `--architecture` adds: roles under each preset, and sizes under what people ask for.
#[derive(serde::Serialize)]
struct Precisions {
    strategy: &'static str,
    estimates: Vec<Estimate>,
}

impl Precisions {
    /// `None` where no family file gives the model's tensors.
    fn of(description: &Description) -> Option<Self> {
        let experts = |name: &&&str| **name != "MXFP4_MOE" || description.moe.is_some();
        let recipes = PRECISIONS.iter().filter(experts).filter_map(|name| Recipe::from_name(name));
        let estimates =
            recipes.map(|recipe| quantizer::estimate(description, recipe)).collect::<Option<_>>()?;
        Some(Self { strategy: quantizer::strategy(description)?, estimates })
    }

    fn print(&self, screen: &Screen) {
        let presets = &self.estimates[..Preset::ALL.len()];
        println!("{} {}", screen.bold(&format!("{:12}", "strategy")), self.strategy);
        let heading =
            presets.iter().map(|estimate| format!("{:>10}", estimate.precision)).collect::<String>();
        println!("{}", screen.bold(&format!("{:20}{:>8}{:>12}{heading}", "role", "tensors", "in 16 bits")));
        let full = self.estimates.iter().find(|estimate| estimate.precision == "F16");
        for (role, plain) in full.iter().flat_map(|estimate| &estimate.roles) {
            let types = presets.iter().map(|estimate| format!("{:>10}", estimate.roles[role].ty));
            let name = serde_json::to_value(role).ok().and_then(|name| name.as_str().map(str::to_string));
            let name = name.unwrap_or_default().replace('_', " ");
            println!(
                "{name:20}{:>8}{:>12}{}",
                plain.n_tensors,
                bytes(plain.bytes),
                types.collect::<String>()
            );
        }
        println!("{}", screen.bold(&format!("{:20}{:>12}{:>18}", "precision", "tensors", "bits per weight")));
        for estimate in &self.estimates {
            let (size, bits) = (bytes(estimate.tensor_bytes), estimate.bits_per_weight);
            println!("{:20}{size:>12}{bits:>18.2}", estimate.precision);
        }
    }
}
