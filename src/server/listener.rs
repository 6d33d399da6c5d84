//! Accepting clients: as many as allowed, with limits on their requests' heads, and a graceful end.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{either::Either, sync::CancellationToken};

use super::tls;
use crate::{config::Listen, exchange::Proxy, identity::Certificate};

/// Pause after a failed accept: the system is out of sockets or memory, and trying at once would only burn the processor.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Accepts until `stop`, then waits for the connections to end, at most the drain time.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    proxy: Arc<Proxy>,
    settings: &Listen,
    stop: &CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(settings.max_connections));
    let graceful = GracefulShutdown::new();
    let builder = builder(settings);
    let patience = Duration::from_millis(settings.header_timeout_ms);
    while let Some((stream, permit)) = stop.run_until_cancelled(accept(&listener, &permits)).await {
        // Latency matters more than full packets: streamed answers are many small writes.
        drop(stream.set_nodelay(true));
        let (proxy, tls, builder, watcher) = (Arc::clone(&proxy), tls.clone(), builder.clone(), graceful.watcher());
        tokio::spawn(async move {
            // A client that is slow at this holds up nobody else.
            let (stream, certificate) = match greet(stream, tls, patience).await {
                Ok(greeted) => greeted,
                Err(error) => return tracing::debug!(%error, "no TLS with a client"),
            };
            let service = service_fn(move |mut request: Request<Incoming>| {
                let proxy = Arc::clone(&proxy);
                if let Some(certificate) = &certificate {
                    request.extensions_mut().insert(certificate.clone());
                }
                async move { Ok::<_, Infallible>(proxy.handle(request).await) }
            });
            let connection = watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
            drop(permit);
        });
    }
    drop(listener);
    let drain = Duration::from_millis(settings.drain_ms);
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(ms = settings.drain_ms, "connections were still open after the drain time and are closed");
    }
}

/// Brings up TLS, if that is spoken here, and learns who the client's certificate says it is.
async fn greet(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    patience: Duration,
) -> io::Result<(Either<TcpStream, TlsStream<TcpStream>>, Option<Certificate>)> {
    let Some(tls) = tls else { return Ok((Either::Left(stream), None)) };
    let stream = tokio::time::timeout(patience, tls.accept(stream)).await??;
    let certificate = tls::certificate(&stream);
    Ok((Either::Right(stream), certificate))
}

async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> (TcpStream, Option<tokio::sync::OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there always is a permit in the end.
    let permit = Arc::clone(permits).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

fn builder(settings: &Listen) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(settings.header_timeout_ms))
        .max_buf_size(settings.max_header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(Some(Duration::from_secs(30)));
    builder
}
