//! `serve`: OpenAI's interface over HTTP, until Ctrl-C or SIGTERM.

use super::open;
use super::small::{SmallModel, beside};
use crate::args::{AdapterFile, Serve};
use crate::interrupt;
use crate::screen::Screen;
use anyhow::{Context, Result, bail};
use llama_pajamas::{PlanRequest, PoolSettings};
use llama_pajamas_server::{AdapterSettings, ModelSettings, Models, Settings};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Holds a key where no file does.
const KEY_VARIABLE: &str = "LLAMA_PAJAMAS_API_KEY";

pub(crate) fn run(args: &Serve, screen: &Screen) -> Result<()> {
    if args.parallel == 0 || args.parallel > 256 {
        bail!("--parallel: expected 1 to 256, got {}", args.parallel);
    }
    let small = SmallModel::open(&args.guessing, &args.wishes, screen)?;
    // It guesses for the first model.
    let draft =
        small.as_ref().map(|small| small.load(args.wishes.context, &interrupt::token())).transpose()?;
    let mut models = Vec::new();
    // What came from a hub stays in the cache as long as it is served.
    let mut located = Vec::new();
    for named in &args.models {
        let (name, model) = named.split_once('=').unwrap_or(("", named));
        let (runtime, place) = open(model, &args.wishes, None, screen)?;
        let name = if name.is_empty() { name_of(model) } else { name.to_owned() };
        if models.iter().any(|other: &ModelSettings| other.name == name) {
            bail!("{model}: expected a name of its own (NAME=MODEL), got {name} a second time");
        }
        let pool = PoolSettings {
            n_sequences: args.parallel,
            max_waiting: args.max_waiting,
            speculate: args.guessing.speculate || draft.is_some(),
            draft: draft.clone().filter(|_| models.is_empty()),
            ..PoolSettings::default()
        };
        let of = |file: &AdapterFile| AdapterSettings { path: file.path.clone(), scale: file.scale };
        // They are of one model.
        let files = args.adapters.lora.iter().filter(|_| models.is_empty());
        let adapters = files.map(of).collect();
        let images = args.images || args.wishes.mmproj.is_some();
        let request =
            PlanRequest { images, ..beside(&args.wishes, small.as_ref().filter(|_| models.is_empty()))? };
        models.push(ModelSettings { name, runtime, request, pool, adapters });
        located.push(place);
    }
    let settings = Settings {
        address: SocketAddr::new(args.host, args.port),
        api_keys: keys(args.api_key_file.as_deref())?,
        cors_origins: args.cors_origin.clone(),
        max_body_bytes: usize::try_from(args.max_body).unwrap_or(usize::MAX),
        max_tokens: args.max_tokens,
        max_time: Duration::from_secs(args.max_time),
        max_connections: args.max_connections,
        patience: Duration::from_secs(args.patience),
        page: !args.no_page,
        ..Settings::default()
    };
    if !args.host.is_loopback() && settings.api_keys.is_empty() {
        eprintln!("note: {} lets other machines in, and nobody needs a key (--api-key-file)", args.host);
    }
    let json = screen.json;
    llama_pajamas_server::run(settings, Models::new(models), |address| {
        if json {
            println!("{}", serde_json::json!({ "address": format!("http://{address}") }));
        } else {
            println!("http://{address}");
        }
    })
    .with_context(|| format!("serving on {}:{}", args.host, args.port))?;
    drop(located);
    Ok(())
}

/// The last part of a path or id, without what files are called by.
fn name_of(model: &str) -> String {
    let path = Path::new(model);
    let name = if model.ends_with(".gguf") { path.file_stem() } else { path.file_name() };
    name.map_or_else(|| model.to_owned(), |name| name.to_string_lossy().into_owned())
}

fn keys(file: Option<&Path>) -> Result<Vec<String>> {
    let Some(file) = file else {
        return Ok(std::env::var(KEY_VARIABLE).ok().filter(|key| !key.is_empty()).into_iter().collect());
    };
    let text =
        std::fs::read_to_string(file).with_context(|| format!("--api-key-file: {}", file.display()))?;
    let keys: Vec<String> =
        text.lines().map(str::trim).filter(|key| !key.is_empty()).map(String::from).collect();
    if keys.is_empty() {
        bail!("--api-key-file: {}: expected a key on a line, got none", file.display());
    }
    Ok(keys)
}
