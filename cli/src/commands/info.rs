//! `info`: what a bundle, checkpoint, config.json or GGUF file is.

use crate::args::Info;
use crate::fetch::{Take, locate};
use crate::screen::{Screen, bytes};
use anyhow::{Context, Result, bail};
use llama_pajamas::bundle::Bundle;
use llama_pajamas::families::{self, Description};
use llama_pajamas::formats::gguf::{GgmlType, Header};
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) fn run(args: &Info, screen: &Screen) -> Result<()> {
    let located = locate(&args.target, &args.network, Take::Config, screen)?;
    if Bundle::is_bundle(&located.path) {
        return bundle(&Bundle::open(&located.path)?, screen);
    }
    let description = describe(&located.path)?;
    if screen.json {
        return screen.print_json(&description);
    }
    print_description(&description, screen);
    if args.architecture {
        print_roles(&description, screen);
    }
    Ok(())
}

fn describe(path: &Path) -> Result<Description> {
    let config = if path.is_dir() { path.join("config.json") } else { path.to_path_buf() };
    if config.extension().is_some_and(|extension| extension == "json") {
        let text = std::fs::read(&config).with_context(|| config.display().to_string())?;
        let json = serde_json::from_slice(&text).with_context(|| config.display().to_string())?;
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

fn print_description(description: &Description, screen: &Screen) {
    let parameters = |count: u64| format!("{:.2} M", count as f64 / 1e6);
    let d = description;
    println!("{}       {} ({})", screen.bold("family"), d.family, d.model_type);
    println!(
        "{}   {} in all, {} per token",
        screen.bold("parameters"),
        parameters(d.parameters.total),
        parameters(d.parameters.active)
    );
    println!(
        "{}       {} of width {}, feed-forward {}",
        screen.bold("layers"),
        d.n_layers,
        d.hidden_size,
        d.ffn_size
    );
    println!(
        "{}    {} query and {} key-value heads of {}",
        screen.bold("attention"),
        d.n_heads,
        d.n_kv_heads,
        d.head_dim
    );
    if let Some(moe) = &d.moe {
        println!(
            "{}      {} of width {}, {} per token",
            screen.bold("experts"),
            moe.n_experts,
            moe.expert_ffn_size,
            moe.n_active
        );
    }
    println!(
        "{}   {} tokens, {}",
        screen.bold("vocabulary"),
        d.vocab_size,
        if d.tied_embeddings { "tied to the output" } else { "output of its own" }
    );
    let kv = families::memory::kv_bytes(d, 1, GgmlType::F16, GgmlType::F16).map_or("unknown".into(), bytes);
    println!("{}      {} tokens, {kv} of cache each", screen.bold("context"), d.max_context);
    d.warnings.iter().for_each(|warning| println!("warning: {warning}"));
}

fn print_roles(description: &Description, screen: &Screen) {
    let mut roles: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    for shape in description.tensor_shapes() {
        let entry = roles.entry(format!("{:?}", shape.role)).or_default();
        entry.0 += 1;
        entry.1 += shape.n_elements() * 2;
    }
    println!("{}", screen.bold("roles (bytes in 16 bits)"));
    for (role, (count, size)) in roles {
        println!("  {role:18} {count:5}  {:>11}", bytes(size));
    }
}
