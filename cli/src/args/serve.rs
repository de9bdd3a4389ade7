//! Arguments of `serve`. Knows words only; must not open a socket.

use super::{Wishes, parse_bytes};
use clap::Args;
use std::net::IpAddr;
use std::path::PathBuf;

/// What to serve, where, and within which limits.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Bundle directories, GGUF files or hub ids, each with a name of its own in front if wished (NAME=MODEL); the first is
    /// loaded at once, the others when they are asked for
    #[arg(required = true)]
    pub(crate) models: Vec<String>,
    /// Address to listen on; others than this machine's own let other machines in
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// File with the keys that clients must show one of, one per line [default: the environment's
    /// LLAMA_PAJAMAS_API_KEY, else nobody needs one]
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Read pictures and sound in messages, of models that have a projector
    #[arg(long)]
    pub(crate) images: bool,
    #[command(flatten)]
    pub(crate) adapters: super::Adapters,
    /// Origin whose pages may ask, `*` for any; repeatable [default: none but the server's own page]
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) cors_origin: Vec<String>,
    /// Answers that are written at the same time, each with a context of its own
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) parallel: u32,
    /// Requests that may wait for their turn
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) max_waiting: usize,
    /// Most bytes of a request's body
    #[arg(long, value_name = "BYTES", default_value = "4MiB", value_parser = parse_bytes)]
    pub(crate) max_body: u64,
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 16_384)]
    pub(crate) max_tokens: u32,
    /// Seconds that a request may take
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) max_time: u64,
    /// Connections that may be open
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub(crate) max_connections: usize,
    /// Seconds that answers may go on when the server is asked to end
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) patience: u64,
    #[command(flatten)]
    pub(crate) guessing: super::Guessing,
    /// Serve no chat page at /
    #[arg(long)]
    pub(crate) no_page: bool,
    #[command(flatten)]
    pub(crate) wishes: Wishes,
}
