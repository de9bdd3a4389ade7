//! Without the feature `download` nothing is fetched: whoever asks is told.

use llama_pajamas::bundle::download::Downloader;

use crate::error::Failure;

pub(super) fn downloader(_proxy: Option<&str>) -> Result<Downloader, Failure> {
    Err(Failure::unsupported("pulling a bundle", "download"))
}
