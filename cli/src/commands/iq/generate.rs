//! `iq generate-calibration`: a text of several kinds, what is held out, and what both are made of.
//! Owns the files; must not know templates.

use crate::args::GenerateCalibration;
use crate::fetch::{Take, locate};
use crate::screen::Screen;
use anyhow::{Context, Result, bail};
use llama_pajamas::bundle::Sha256Digest;
use llama_pajamas::bundle::atomic::AtomicFile;
use llama_pajamas::evaluator::calibration::{Kind, Mix, Wish, generate, mix_of_family, mixes};
use llama_pajamas::{candidates_at, families};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) fn run(args: &GenerateCalibration, screen: &Screen) -> Result<()> {
    let (name, mix) = mix(args, screen)?;
    let wish =
        Wish { mix, n_chars: args.characters, seed: args.seed, held_out: args.held_out, from: from(args)? };
    let calibration = generate(&wish)?;
    let held_out = beside(&args.output, "held-out.txt");
    AtomicFile::write_all_to(&args.output, calibration.text.as_bytes())?;
    AtomicFile::write_all_to(&held_out, calibration.held_out.as_bytes())?;
    let document = serde_json::json!({
        "tool": format!("llama-pajamas {}", env!("CARGO_PKG_VERSION")),
        "mix_name": name,
        "text": {"sha256": Sha256Digest::of(calibration.text.as_bytes()), "bytes": calibration.text.len()},
        "held_out": {"file": held_out.file_name().map(|name| name.to_string_lossy().into_owned()),
            "sha256": Sha256Digest::of(calibration.held_out.as_bytes()), "bytes": calibration.held_out.len()},
        "drawn": calibration,
    });
    let json = beside(&args.output, "json");
    AtomicFile::write_all_to(&json, serde_json::to_string_pretty(&document)?.as_bytes())?;
    if screen.json {
        return screen.print_json(&document);
    }
    println!("wrote {} (mix {name}, seed {})", screen.green(&args.output.display().to_string()), args.seed);
    for (kind, drawn) in &calibration.kinds {
        let of = if drawn.given { "given texts" } else { "templates" };
        println!(
            "  {:12}{:>9} characters, {:>5} documents of {of}",
            kind.name(),
            drawn.n_chars,
            drawn.n_documents
        );
    }
    println!("held out: {}", held_out.display());
    for kind in &calibration.exhausted {
        println!("warning: there is less {} text than its share asks for", kind.name());
    }
    Ok(())
}

/// `text.txt` and `json` → `text.txt.json`.
fn beside(output: &Path, ending: &str) -> PathBuf {
    let mut name = output.as_os_str().to_os_string();
    name.push(".");
    name.push(ending);
    name.into()
}

fn mix(args: &GenerateCalibration, screen: &Screen) -> Result<(String, Mix)> {
    if !args.share.is_empty() {
        let mut mix = Mix::new();
        for word in &args.share {
            let (kind, share) = of_kind(word, "--share")?;
            mix.insert(kind, share.parse().with_context(|| format!("--share {word}: expected a number"))?);
        }
        return Ok(("of its own".into(), mix));
    }
    let name = match (&args.mix, &args.model) {
        (Some(name), _) => name.clone(),
        (None, Some(model)) => mix_of_family(&family(model, args, screen)?).into(),
        (None, None) => mix_of_family("").into(),
    };
    let known = mixes().find(|(known, _)| *known == name).map(|(_, mix)| mix.clone());
    let mix = known.with_context(|| {
        let names: Vec<&str> = mixes().map(|(name, _)| name).collect();
        format!("--mix: `{name}` is none of {}", names.join(", "))
    })?;
    Ok((name, mix))
}

fn family(model: &str, args: &GenerateCalibration, screen: &Screen) -> Result<String> {
    let located = locate(model, &args.network, Take::Config, screen)?;
    let config = match located.path.is_dir() {
        true => located.path.join("config.json"),
        false => located.path.clone(),
    };
    if config.is_file() && config.extension().is_some_and(|kind| kind == "json") {
        let text = std::fs::read_to_string(&config).with_context(|| config.display().to_string())?;
        let value = serde_json::from_str(&text).with_context(|| config.display().to_string())?;
        return Ok(families::detect_config(&value)?.family);
    }
    let candidate = candidates_at(&located.path)?.into_iter().next().context("no variant is here")?;
    Ok(candidate.description.family)
}

fn of_kind<'a>(word: &'a str, option: &str) -> Result<(Kind, &'a str)> {
    let known = || Kind::ALL.map(Kind::name).join(", ");
    let Some((name, value)) = word.split_once('=') else {
        bail!("{option} {word}: expected KIND=…, with a kind of {}", known());
    };
    let kind = Kind::from_name(name);
    Ok((kind.with_context(|| format!("{option}: `{name}` is none of {}", known()))?, value))
}

fn from(args: &GenerateCalibration) -> Result<BTreeMap<Kind, Vec<String>>> {
    let mut texts: BTreeMap<Kind, Vec<String>> = BTreeMap::new();
    for word in &args.from {
        let (kind, path) = of_kind(word, "--from")?;
        let text = std::fs::read_to_string(path).with_context(|| path.to_string())?;
        texts.entry(kind).or_default().push(text);
    }
    Ok(texts)
}
