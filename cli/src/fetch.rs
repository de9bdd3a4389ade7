//! From the word for a model to a path on this disk: a local path as it is, a hub id through the cache.
//! Owns the network's options, the environment they default to, and the bars; must not know what the files mean.

use crate::args::Network;
use crate::interrupt;
use crate::screen::Screen;
use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use llama_pajamas::bundle::download::{Downloader, Options};
use llama_pajamas::bundle::http_transport::{HttpOptions, HttpTransport};
use llama_pajamas::bundle::hub::{Hub, HubId, HubOptions, Snapshot};
use llama_pajamas::bundle::{Progress, RelativePath};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

/// A model on this disk. What came from a hub is not evicted from the cache while this lives.
pub(crate) struct Located {
    /// Directory or file.
    pub(crate) path: PathBuf,
    /// `organisation/name` and the commit, where it came from a hub.
    pub(crate) repository: Option<String>,
    pub(crate) commit: Option<String>,
    _snapshot: Option<Snapshot>,
}

/// What a command takes out of a repository of a hub.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Take {
    /// The checkpoint, or the only GGUF model.
    Model,
    /// Its description alone.
    Config,
}

/// The model that `word` means: a path that exists, else a hub id.
///
/// # Errors
/// Neither, or whatever stops the download.
pub(crate) fn locate(word: &str, network: &Network, take: Take, screen: &Screen) -> Result<Located> {
    let path = PathBuf::from(word);
    let id = match word.parse::<HubId>() {
        Ok(id) if !path.exists() => id,
        _ => return Ok(Located { path, repository: None, commit: None, _snapshot: None }),
    };
    let snapshot = snapshot(&id, network, take, screen)
        .with_context(|| format!("`{word}` is no path here, so it was looked for on the hub"))?;
    let wanted = |file: &&RelativePath| match take {
        Take::Model => file.ends_with(".gguf"),
        Take::Config => file.as_str() == "config.json",
    };
    // The parts of a split file are listed in order: the first stands for all.
    let path = match snapshot.files.iter().find(wanted) {
        Some(file) => snapshot.directory.join(file.as_str()),
        None => snapshot.directory.clone(),
    };
    let (repository, commit) = (Some(id.repository()), Some(snapshot.commit.clone()));
    Ok(Located { path, repository, commit, _snapshot: Some(snapshot) })
}

fn snapshot(id: &HubId, network: &Network, take: Take, screen: &Screen) -> Result<Snapshot> {
    let patterns = match take {
        Take::Config if network.file.is_empty() => vec!["config.json".to_owned()],
        _ => network.file.clone(),
    };
    let options = HubOptions {
        endpoint: network.endpoint.clone(),
        token: network.token()?,
        is_offline: network.offline,
        cap_bytes: network.cache_cap,
        patterns,
        ..HubOptions::new(network.cache()?.join("hub"))
    };
    let downloader = (!network.offline).then(|| network.downloader()).transpose()?;
    let mut bars = Bars::new(screen);
    let snapshot = Hub::new(options, downloader).get(id, &mut |progress| bars.show(progress))?;
    bars.finish();
    Ok(snapshot)
}

impl Network {
    /// Fetches over HTTP, through the proxy that the environment names.
    ///
    /// # Errors
    /// `--offline`, or a proxy that is none.
    pub(crate) fn downloader(&self) -> Result<Downloader> {
        if self.offline {
            bail!("--offline: nothing is fetched");
        }
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let proxy = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].into_iter().find_map(variable);
        // What is on this machine is not behind a proxy.
        let is_local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
        let proxy = proxy.filter(|_| !is_local.iter().any(|local| self.endpoint.starts_with(local)));
        let transport = HttpTransport::new(&HttpOptions { proxy, ..HttpOptions::default() })?;
        Ok(Downloader::new(Arc::new(transport), Options::default()))
    }

    /// The hub's access token: of `--token-file`, else of `HF_TOKEN`.
    ///
    /// # Errors
    /// A token file that cannot be read.
    pub(crate) fn token(&self) -> Result<Option<String>> {
        let token = match &self.token_file {
            Some(file) => std::fs::read_to_string(file).with_context(|| file.display().to_string())?,
            None => std::env::var("HF_TOKEN").unwrap_or_default(),
        };
        Ok(Some(token.trim().to_owned()).filter(|token| !token.is_empty()))
    }

    /// Where downloads are kept.
    ///
    /// # Errors
    /// No home directory and no `--cache`.
    pub(crate) fn cache(&self) -> Result<PathBuf> {
        if let Some(cache) = &self.cache {
            return Ok(cache.clone());
        }
        use etcetera::BaseStrategy as _;
        let base =
            etcetera::choose_base_strategy().context("no home directory: name a folder with --cache")?;
        Ok(base.cache_dir().join("llama-pajamas"))
    }
}

/// One bar over all files of a transfer; Ctrl-C cancels it.
pub(crate) struct Bars<'a> {
    screen: &'a Screen,
    bar: Option<ProgressBar>,
    cancel: llama_pajamas::CancelToken,
}

impl<'a> Bars<'a> {
    pub(crate) fn new(screen: &'a Screen) -> Self {
        Self { screen, bar: None, cancel: interrupt::token() }
    }

    /// Shows where the transfer is.
    pub(crate) fn show(&mut self, progress: Progress<'_>) -> ControlFlow<()> {
        if progress.total_bytes > 0 {
            let bar = self.bar.get_or_insert_with(|| self.screen.bytes_bar(progress.total_bytes, ""));
            bar.set_length(progress.total_bytes);
            bar.set_position(progress.done_bytes);
            bar.set_message(progress.file.to_owned());
        }
        if self.cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
