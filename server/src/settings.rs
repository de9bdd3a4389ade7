//! How to serve: addresses, keys and limits, each with its default.
//!
//! Owns [`Settings`]. Must not know routes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// How to serve.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen. Default 127.0.0.1:8080: other machines reach nothing.
    pub address: SocketAddr,
    /// Keys that clients must show one of (`Authorization: Bearer …`); none: nobody needs one.
    pub api_keys: Vec<String>,
    /// Origins whose pages may ask, `*` for any; none, the default: no other page than the server's own.
    pub cors_origins: Vec<String>,
    /// Most bytes of a request's body. Default 4 MiB.
    pub max_body_bytes: usize,
    /// Most tokens of an answer, whatever is asked for. Default 16,384.
    pub max_tokens: u32,
    /// Most answers to one request (`n`). Default 16.
    pub max_choices: u32,
    /// Most texts of one request for vectors or scores. Default 256.
    pub max_texts: usize,
    /// How long a request may take, its time in the queue included. Default 10 minutes.
    pub max_time: Duration,
    /// How long a client may take to send a request's head, and then its body. Default 15 s.
    pub max_reading: Duration,
    /// Open connections; others are turned away. Default 1024.
    pub max_connections: usize,
    /// How long answers may go on after the server was asked to end. Default 30 s.
    pub patience: Duration,
    /// Serve the chat page at `/`. Default true.
    pub page: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            api_keys: Vec::new(),
            cors_origins: Vec::new(),
            max_body_bytes: 4 << 20,
            max_tokens: 16_384,
            max_choices: 16,
            max_texts: 256,
            max_time: Duration::from_secs(600),
            max_reading: Duration::from_secs(15),
            max_connections: 1024,
            patience: Duration::from_secs(30),
            page: true,
        }
    }
}
