//! `bundle pull`, `bundle verify` and `bundle sign`.

use crate::args::{Bundle as Args, Pull};
use crate::fetch::Bars;
use crate::interrupt;
use crate::screen::{Screen, bytes};
use anyhow::{Context, Result, bail};
use llama_pajamas::bundle::hub::HubId;
use llama_pajamas::bundle::pull::{self, PullRequest};
use llama_pajamas::bundle::{
    Bundle, MANIFEST_FILE, Manifest, Progress, SignaturePolicy, SignatureStatus, SigningKey, TrustStore,
    Variant,
};
use std::ops::ControlFlow;
use std::path::Path;

pub(crate) fn run(args: &Args, screen: &Screen) -> Result<()> {
    match args {
        Args::Pull(args) => pull(args, screen),
        Args::Verify { bundle, trust } => verify(bundle, trust.as_deref(), screen),
        Args::Sign { bundle, key, generate } => sign(bundle, key.as_deref(), generate.as_deref(), screen),
    }
}

/// Pulls the chosen variants; without a choice, the only one there is.
fn pull(args: &Pull, screen: &Screen) -> Result<()> {
    let (manifest_url, headers) = manifest_address(args)?;
    let (trust, policy) = match &args.trust {
        Some(folder) => (super::trusted_keys(folder)?, SignaturePolicy::Require),
        None => (TrustStore::new(), SignaturePolicy::Report),
    };
    let downloader = args.network.downloader()?;
    let request = PullRequest {
        manifest_url: &manifest_url,
        headers: &headers,
        destination: &args.output,
        variants: &args.variant,
        trust: &trust,
        policy,
        cap_bytes: args.storage_cap,
    };
    let mut bars = Bars::new(screen);
    let mut progress = |progress: Progress<'_>| bars.show(progress);
    let variants = match args.variant.is_empty() {
        true => choose(&pull::look(&downloader, &request, &mut progress)?.0, args)?,
        false => args.variant.clone(),
    };
    let request = PullRequest { variants: &variants, ..request };
    let pulled = pull::pull(&downloader, &request, &mut progress)?;
    bars.finish();
    if screen.json {
        let evicted: Vec<_> = pulled.evicted.iter().map(|path| path.display().to_string()).collect();
        return screen.print_json(&serde_json::json!({
            "bundle": args.output.display().to_string(), "variants": variants,
            "fetched_bytes": pulled.fetched_bytes, "evicted": evicted,
            "trusted": matches!(pulled.signature, SignatureStatus::Trusted { .. }),
        }));
    }
    pulled.evicted.iter().for_each(|path| println!("evicted {}", path.display()));
    println!(
        "{}: {} in place, {} fetched",
        screen.green(&args.output.display().to_string()),
        variants.join(", "),
        bytes(pulled.fetched_bytes)
    );
    Ok(())
}

/// The manifest's address and the headers for its host.
fn manifest_address(args: &Pull) -> Result<(String, Vec<(String, String)>)> {
    let source = args.source.trim_end_matches('/');
    if source.starts_with("http://") || source.starts_with("https://") {
        let is_manifest = source.ends_with(".json");
        let address = if is_manifest { source.to_owned() } else { format!("{source}/{MANIFEST_FILE}") };
        return Ok((address, Vec::new()));
    }
    let id: HubId = source.parse().context("expected an address (http…) or a hub id")?;
    let token = args.network.token()?;
    let headers = token.map(|token| ("Authorization".to_owned(), format!("Bearer {token}")));
    Ok((id.file_url(&args.network.endpoint, id.revision(), MANIFEST_FILE), headers.into_iter().collect()))
}

fn choose(manifest: &Manifest, args: &Pull) -> Result<Vec<String>> {
    let ids = || manifest.variants.iter().map(|variant| variant.id.clone());
    if args.all || manifest.variants.len() == 1 {
        return Ok(ids().collect());
    }
    let size = |variant: &Variant| bytes(variant.files.iter().map(|file| file.bytes).sum());
    let known = manifest.variants.iter().map(|variant| format!("{} ({})", variant.id, size(variant)));
    bail!("--variant: expected one of {}, or --all; got none", known.collect::<Vec<_>>().join(", "))
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
    // No key is made for a bundle that is not there.
    let bundle = Bundle::open(path)?;
    let key = match (key, generate) {
        (Some(key), _) => SigningKey::read(key)?,
        (None, Some(name)) => generate_key(name)?,
        (None, None) => bail!("--key or --generate is needed"),
    };
    bundle.sign(&key)?;
    let id = key.public().id().to_string();
    if screen.json {
        return screen.print_json(&serde_json::json!({"signed_by": id}));
    }
    println!("{}: signed with key {id}", path.display());
    Ok(())
}

/// A new key pair as `NAME.key` and `NAME.pub`: both files or none, and no existing file is overwritten.
fn generate_key(name: &Path) -> Result<SigningKey> {
    let (private, public) = (name.with_extension("key"), name.with_extension("pub"));
    let key = SigningKey::generate()?;
    key.write(&private)?;
    let written = std::fs::File::create_new(&public)
        .and_then(|mut file| std::io::Write::write_all(&mut file, key.public().to_pem().as_bytes()));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&private);
        if error.kind() != std::io::ErrorKind::AlreadyExists {
            let _ = std::fs::remove_file(&public);
        }
        return Err(error).with_context(|| public.display().to_string());
    }
    Ok(key)
}
