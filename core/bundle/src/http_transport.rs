//! HTTP and HTTPS by `ureq`, for apps that hand in no transport of their own.
//!
//! Owns timeouts and the explicit proxy. Must not follow redirects, retry, or read the environment.

use std::time::Duration;

use crate::transport::{Headers, Request, Response, Transport, TransportError};

/// Settings of [`HttpTransport`].
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Time to connect, including TLS. Default: 15 s.
    pub connect_timeout: Duration,
    /// Time that may pass without a byte. Default: 30 s.
    pub stall_timeout: Duration,
    /// Address of an HTTP proxy, e.g. `http://user:password@proxy:3128`. Default: none.
    pub proxy: Option<String>,
    /// `User-Agent`. Default: the crate's name and version.
    pub user_agent: String,
}

impl Default for HttpOptions {
    fn default() -> HttpOptions {
        HttpOptions {
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
            proxy: None,
            user_agent: concat!("llama-pajamas/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// HTTP and HTTPS with the certificates of the Mozilla root programme.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    agent: ureq::Agent,
}

impl HttpTransport {
    /// A transport with these settings; connections are kept and reused.
    ///
    /// # Errors
    /// [`TransportError`] when the proxy's address is not an HTTP proxy's.
    pub fn new(options: &HttpOptions) -> Result<HttpTransport, TransportError> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(options.connect_timeout))
            .timeout_connect(Some(options.connect_timeout))
            .timeout_recv_response(Some(options.stall_timeout))
            .timeout_per_read(Some(options.stall_timeout))
            .accept_encoding("identity")
            .user_agent(&options.user_agent)
            .proxy(options.proxy.as_deref().map(proxy).transpose()?)
            .build();
        Ok(HttpTransport { agent: config.new_agent() })
    }
}

impl Transport for HttpTransport {
    fn get(&self, request: &Request) -> Result<Response, TransportError> {
        let mut builder = self.agent.get(&request.url);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        if let Some(range) = &request.range {
            builder =
                builder.header("Range", format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        }
        let answer = builder.call().map_err(|error| explain(&error))?;
        let (parts, body) = answer.into_parts();
        let headers: Headers = parts
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
            .collect();
        Ok(Response { status: parts.status.as_u16(), headers, body: Box::new(body.into_reader()) })
    }
}

fn proxy(address: &str) -> Result<ureq::Proxy, TransportError> {
    let refuse = |reason: &str| TransportError {
        // The address may hold a password and is not repeated.
        message: format!("proxy address is not usable: {reason}"),
        is_transient: false,
    };
    let scheme = address.split_once("://").map_or("http", |(scheme, _)| scheme);
    if !["http", "https"].contains(&scheme) {
        return Err(refuse("expected http:// or https://"));
    }
    ureq::Proxy::new(address).map_err(|error| refuse(&error.to_string()))
}

fn explain(error: &ureq::Error) -> TransportError {
    use ureq::Error as E;
    let is_transient = !matches!(
        error,
        E::BadUri(_) | E::Http(_) | E::InvalidProxyUrl | E::RequireHttpsOnly(_) | E::TlsRequired
    );
    TransportError { message: error.to_string(), is_transient }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_must_be_an_http_proxy() {
        let with = |proxy: &str| {
            HttpTransport::new(&HttpOptions { proxy: Some(proxy.to_owned()), ..HttpOptions::default() })
        };
        assert!(with("http://user:secret@127.0.0.1:3128").is_ok());
        for bad in ["socks5://user:secret@127.0.0.1:1080", "ftp://secret"] {
            let message = with(bad).unwrap_err().message;
            assert!(message.contains("expected http") && !message.contains("secret"), "{message}");
        }
    }
}
