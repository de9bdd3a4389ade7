//! `embed`: texts to vectors, one line each; with a query, to scores.

use super::{load, open, request};
use crate::args::{self, Embed};
use crate::interrupt;
use crate::screen::Screen;
use anyhow::{Context, Result};
use llama_pajamas::engine::Pooling;
use llama_pajamas::{CancelToken, EmbedSettings, LoadedModel};
use std::io::{Read, Write};

pub(crate) fn run(args: &Embed, screen: &Screen) -> Result<()> {
    let cancel = interrupt::token();
    let (runtime, _located) = open(&args.model, &args.wishes, None, screen)?;
    let model = load(&runtime, request(&args.wishes)?, &cancel)?;
    let settings = EmbedSettings {
        pooling: args.pooling.map(of_engine),
        max_tokens: None,
        keep_length: args.keep_length,
        truncate: args.truncate,
    };
    let texts = texts(args)?;
    match &args.query {
        Some(query) => rank(&model, &settings, query, &texts, &cancel, screen),
        None => embed(&model, &settings, &texts, &cancel, screen),
    }
}

fn of_engine(pooling: args::Pooling) -> Pooling {
    match pooling {
        args::Pooling::None => Pooling::None,
        args::Pooling::Mean => Pooling::Mean,
        args::Pooling::Cls => Pooling::Cls,
        args::Pooling::Last => Pooling::Last,
    }
}

fn texts(args: &Embed) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for text in &args.texts {
        if text == "-" {
            let mut lines = String::new();
            std::io::stdin().read_to_string(&mut lines).context("reading texts from standard input")?;
            texts.extend(lines.lines().map(String::from));
        } else {
            texts.push(text.clone());
        }
    }
    Ok(texts)
}

fn embed(
    model: &LoadedModel,
    settings: &EmbedSettings,
    texts: &[String],
    cancel: &CancelToken,
    screen: &Screen,
) -> Result<()> {
    let mut embedder = model.embedder(settings)?;
    let mut out = std::io::stdout().lock();
    let mut rows = Vec::new();
    for text in texts {
        let embedding = embedder.embed(text, cancel)?;
        if screen.json {
            rows.push(serde_json::json!({
                "text": text, "tokens": embedding.n_tokens, "vectors": embedding.vectors,
            }));
            continue;
        }
        for vector in embedding.vectors {
            let numbers: Vec<String> = vector.iter().map(f32::to_string).collect();
            writeln!(out, "{}", numbers.join(" ")).context("writing vectors")?;
        }
    }
    drop(out);
    if screen.json { screen.print_json(&rows) } else { Ok(()) }
}

fn rank(
    model: &LoadedModel,
    settings: &EmbedSettings,
    query: &str,
    texts: &[String],
    cancel: &CancelToken,
    screen: &Screen,
) -> Result<()> {
    let mut ranker = model.ranker(settings)?;
    let mut ranked = Vec::with_capacity(texts.len());
    for text in texts {
        ranked.push((ranker.scores(query, text, cancel)?, text));
    }
    let first = |scores: &[f32]| scores.first().copied().unwrap_or(f32::NAN);
    ranked.sort_by(|(a, _), (b, _)| first(b).total_cmp(&first(a)));
    if screen.json {
        let row = |(scores, text): &(Vec<f32>, &String)| serde_json::json!({"text": text, "scores": scores});
        return screen.print_json(&ranked.iter().map(row).collect::<Vec<_>>());
    }
    for (scores, text) in ranked {
        println!("{:10.4}  {text}", first(&scores));
    }
    Ok(())
}
