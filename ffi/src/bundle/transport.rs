//! Downloads over HTTP.
//!
//! Owns: the transport's settings. May know: the bundle crate. Must not know: what is fetched.

use std::sync::Arc;

use llama_pajamas::bundle::download::{Downloader, Options};
use llama_pajamas::bundle::http_transport::{HttpOptions, HttpTransport};

use crate::error::Failure;

pub(super) fn downloader(proxy: Option<&str>) -> Result<Downloader, Failure> {
    let options = HttpOptions { proxy: proxy.map(str::to_owned), ..HttpOptions::default() };
    let transport = HttpTransport::new(&options).map_err(|error| Failure::invalid(error.to_string()))?;
    Ok(Downloader::new(Arc::new(transport), Options::default()))
}
