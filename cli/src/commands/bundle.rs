//! `bundle verify` and `bundle sign`.

use crate::args::Bundle as Args;
use crate::interrupt;
use crate::screen::{Screen, bytes};
use anyhow::{Context, Result, bail};
use llama_pajamas::bundle::Bundle;
use llama_pajamas::bundle::SigningKey;
use std::ops::ControlFlow;
use std::path::Path;

pub(crate) fn run(args: &Args, screen: &Screen) -> Result<()> {
    match args {
        Args::Verify { bundle, trust } => verify(bundle, trust.as_deref(), screen),
        Args::Sign { bundle, key, generate } => sign(bundle, key.as_deref(), generate.as_deref(), screen),
    }
}

fn verify(path: &Path, trust: Option<&Path>, screen: &Screen) -> Result<()> {
    if let Some(trust) = trust {
        super::check_signature(path, trust)?;
    }
    let bundle = Bundle::open(path)?;
    let total: u64 = bundle.variants().iter().flat_map(|variant| &variant.files).map(|file| file.bytes).sum();
    let bar = screen.bytes_bar(total, "verify");
    let cancel = interrupt::token();
    let report = bundle.verify(&mut |progress| {
        bar.set_position(progress.done_bytes);
        if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    bar.finish_and_clear();
    report.into_result()?;
    if screen.json {
        screen.print_json(&serde_json::json!({"intact": true, "bytes": total}))
    } else {
        println!("{}: {} intact", path.display(), bytes(total));
        Ok(())
    }
}

fn sign(path: &Path, key: Option<&Path>, generate: Option<&Path>, screen: &Screen) -> Result<()> {
    let key = match (key, generate) {
        (Some(key), _) => SigningKey::read(key)?,
        (None, Some(name)) => {
            let key = SigningKey::generate()?;
            key.write(&name.with_extension("key"))?;
            let public = name.with_extension("pub");
            std::fs::write(&public, key.public().to_pem()).with_context(|| public.display().to_string())?;
            key
        }
        (None, None) => bail!("--key or --generate is needed"),
    };
    Bundle::open(path)?.sign(&key)?;
    let id = key.public().id().to_string();
    if screen.json {
        return screen.print_json(&serde_json::json!({"signed_by": id}));
    }
    println!("{}: signed with key {id}", path.display());
    Ok(())
}
