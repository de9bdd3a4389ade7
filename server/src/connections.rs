//! Connections: accepted up to a limit, given so long for their head, and let end when the server ends.
//!
//! Owns the loop around the socket. Must not know routes.

use crate::app::{App, router};
use crate::models::Models;
use crate::settings::Settings;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// What a connection beyond the limit is told.
const TURNED_AWAY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 112\r\n\r\n{\"error\":{\"message\":\"too many connections\",\"type\":\"server_error\",\"param\":null,\"code\":\"too_many_connections\"}}   ";

/// A server that listens and answers nobody yet.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
}

/// Listens where the settings say.
///
/// # Errors
/// An address that cannot be had.
pub async fn bind(settings: Settings, models: Models) -> io::Result<Bound> {
    let listener = TcpListener::bind(settings.address).await?;
    let address = listener.local_addr()?;
    Ok(Bound { listener, address, app: Arc::new(App::new(settings, models)) })
}

impl Bound {
    /// Where it listens: the port that was had, where any was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loads the first model; until then `/ready` says that it is not. Blocks.
    ///
    /// # Errors
    /// What the runtime refuses.
    pub fn load_first(&self) -> impl FnOnce() -> Result<(), llama_pajamas::Error> + Send + 'static {
        let app = Arc::clone(&self.app);
        move || app.models.load_first()
    }

    /// Answers until `shutdown` is done; then takes no more, and lets those at work end as long as the settings have
    /// patience.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, app, .. } = self;
        let graceful = GracefulShutdown::new();
        let places = Arc::new(Semaphore::new(app.settings.max_connections));
        let router = router(&app);
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(app.settings.max_reading);
        tokio::pin!(shutdown);
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Out of file descriptors, for instance: those that are open will end.
                        tracing::warn!(%error, "no connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
                () = &mut shutdown => break,
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                app.metrics.turned_away();
                turn_away(stream);
                continue;
            };
            let _ = stream.set_nodelay(true); // slower without, and no reason to refuse
            let service = TowerToHyperService::new(router.clone());
            let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection ended");
                }
                drop(place);
            });
        }
        drop(listener);
        app.close();
        let patience = app.settings.patience;
        let models = Arc::clone(&app.models);
        let pools = tokio::task::spawn_blocking(move || models.close(patience));
        let ended = tokio::time::timeout(patience, graceful.shutdown()).await;
        if ended.is_err() {
            tracing::warn!("connections were still open after {patience:?}");
        }
        let _ = pools.await; // what went wrong there is told by its own log
    }
}

/// Serves until the process is asked to end (Ctrl-C, SIGTERM), on threads of its own. `on_bound` hears where; the first
/// model is loaded meanwhile, and answers wait for it.
///
/// # Errors
/// An address that cannot be had, a first model that cannot be loaded.
pub fn run(settings: Settings, models: Models, on_bound: impl FnOnce(SocketAddr)) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let bound = bind(settings, models).await?;
        on_bound(bound.address());
        let (failed, failure) = tokio::sync::oneshot::channel();
        let load = bound.load_first();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = load() {
                let _ = failed.send(error); // nobody hears it where the server has ended
            }
        });
        let mut failure_told = None;
        let shutdown = async {
            tokio::select! {
                () = asked_to_end() => {}
                error = failure => match error {
                    Ok(error) => failure_told = Some(error),
                    Err(_) => asked_to_end().await,
                },
            }
        };
        bound.serve(shutdown).await;
        match failure_told {
            Some(error) => Err(io::Error::other(error)),
            None => Ok(()),
        }
    })
}

#[cfg(unix)]
async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = signal(SignalKind::terminate());
    match terminated {
        Ok(mut terminated) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

#[cfg(not(unix))]
async fn asked_to_end() {
    drop(tokio::signal::ctrl_c().await);
}

fn turn_away(mut stream: TcpStream) {
    tokio::spawn(async move {
        let writing = stream.write_all(TURNED_AWAY);
        let _ = tokio::time::timeout(Duration::from_secs(1), writing).await; // it is turned away in any case
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_turned_away_is_told_so_in_json() {
        let text = std::str::from_utf8(TURNED_AWAY).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{} bytes", body.len());
        let json: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(json["error"]["code"], "too_many_connections");
    }
}
