//! Accepting clients: as many as allowed, with limits on their requests' heads and on their silence, and a graceful end.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use hyper::{
    Request, Response,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep},
};
use tokio_rustls::server::TlsStream;
use tokio_util::{either::Either, sync::CancellationToken, task::TaskTracker};

use super::{
    flights::{Flight, Flights},
    tls::{self, Tls},
    workers::Workers,
};
use crate::{
    config::Listen,
    exchange::{answer::internal, body::Body, contained},
    identity::Certificate,
};

/// Pause after a failed accept: the system is out of sockets or memory, and trying at once would only burn the processor.
const BACK_OFF: Duration = Duration::from_millis(50);
/// Most exchanges at once on a connection with HTTP/2: the least that clients are made for (RFC 9113, 6.5.2).
const STREAMS: u32 = 100;

/// What a connection with HTTP/2 begins with (RFC 9113, 3.4), as far as no other request does.
const PREFACE: [u8; 3] = *b"PRI";

/// A client that has connected.
type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// What a client has shown of itself before its first request.
struct Greeting {
    stream: Stream,
    is_http2: bool,
    /// Who its certificate says it is.
    certificate: Option<Certificate>,
}

/// Accepts until `stop`, then waits for the connections to end, each at most the drain time. `answer` has the request, and where
/// it comes from.
pub(super) async fn serve<F, A>(
    (listener, tls): (TcpListener, Option<Arc<Tls>>),
    workers: &Workers,
    answer: F,
    settings: &Listen,
    stop: &CancellationToken,
) where
    F: Fn(Request<Incoming>, SocketAddr) -> A + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(settings.max_connections));
    let connections = TaskTracker::new();
    let door = Arc::new(Door {
        answer,
        http1: http1(settings),
        http2: http2(settings),
        patience: Duration::from_millis(settings.header_timeout_ms),
        writing: Duration::from_millis(settings.write_timeout_ms),
        drain: Duration::from_millis(settings.drain_ms),
        stop: stop.clone(),
    });
    while let Some((stream, peer, permit)) = stop.run_until_cancelled(accept(&listener, &permits)).await {
        // Latency matters more than full packets: streamed answers are many small writes.
        drop(stream.set_nodelay(true));
        let (Some(seat), Ok(stream)) = (workers.seat(), stream.into_std().inspect_err(lost)) else { continue };
        let (door, tls, runtime) = (Arc::clone(&door), tls.clone(), seat.runtime.clone());
        let served = async move {
            let _seat = seat;
            let Ok(stream) = TcpStream::from_std(stream).inspect_err(lost) else { return };
            // A client that is slow at this holds up nobody else.
            match door.stop.run_until_cancelled(greet(stream, tls.as_deref(), door.patience)).await {
                Some(Ok(greeting)) => door.serve(greeting, peer).await,
                Some(Err(error)) => tracing::debug!(%error, "a client has not begun"),
                None => {}
            }
            drop(permit);
        };
        connections.spawn_on(served, &runtime);
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Tells of a connection that no thread could take: its client finds it closed.
fn lost(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be handed to a thread and is closed");
}

/// How a connection is served, and when it ends.
struct Door<F> {
    answer: F,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    /// How long a connection may be silent: at its beginning, and after each exchange.
    patience: Duration,
    /// How long a client may take nothing of what waits for it.
    writing: Duration,
    /// How long it may take to end.
    drain: Duration,
    stop: CancellationToken,
}

impl<F, A> Door<F>
where
    F: Fn(Request<Incoming>, SocketAddr) -> A,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    async fn serve(&self, Greeting { stream, is_http2, certificate }: Greeting, peer: SocketAddr) {
        let flights = Arc::new(Flights::new());
        let service = service_fn(|mut request: Request<Incoming>| {
            let flight = Flight::begin(&flights);
            if let Some(certificate) = &certificate {
                request.extensions_mut().insert(certificate.clone());
            }
            // In memory of its own, which is given back when the answer begins: a streamed one may last for minutes.
            let answer = Box::pin((self.answer)(request, peer));
            // A mistake in one exchange ends that one: others on its connection and its thread go on.
            async move { Ok::<_, Infallible>(contained(answer).await.unwrap_or_else(internal).map(|body| flight.answer(body))) }
        });
        let stream = TokioIo::new(stream);
        if is_http2 {
            // It takes far more room than the other, which nearly all have.
            Box::pin(self.hold(self.http2.serve_connection(stream, service), &flights, peer)).await;
        } else {
            self.hold(self.http1.serve_connection(stream, service), &flights, peer).await;
        }
    }

    /// Keeps a connection until it ends or is to end.
    async fn hold<C: GracefulConnection<Error = hyper::Error>>(&self, connection: C, flights: &Flights, peer: SocketAddr) {
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            // A request that has come is read before the clock is: a thread that was busy has not made its client a silent one.
            biased;
            ended = &mut connection => Ok(ended),
            over = self.over(flights) => {
                if matches!(over, Over::Stuck) {
                    tracing::info!(%peer, "a client took nothing of its answer for too long: its connection is closed");
                    return;
                }
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    ended = connection => Ok(ended),
                    silence = self.late(flights) => Err(silence),
                }
            }
        };
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "connection ended"),
            Err(Duration::ZERO) => tracing::warn!("a connection was still open after the drain time and is closed"),
            Err(_) => tracing::debug!(%peer, "a client that asks nothing does not end its connection: it is closed"),
        }
    }

    /// Waits until a connection is to end. HTTP/1 has a time-out of its own for heads, HTTP/2 has none.
    async fn over(&self, flights: &Flights) -> Over {
        let watch = async {
            let (mut stand, mut since) = (None, Instant::now());
            while let Some(left) = self.patience.checked_sub(flights.silence()).filter(|left| !left.is_zero()) {
                sleep(left.min(self.writing)).await;
                let now = flights.stand();
                if now.is_none() || now != stand {
                    (stand, since) = (now, Instant::now());
                } else if since.elapsed() >= self.writing {
                    return Over::Stuck;
                }
            }
            Over::Done
        };
        tokio::select! {
            () = self.stop.cancelled() => Over::Done,
            over = watch => over,
        }
    }

    /// Waits until a connection that is to end should have: for the drain time, or as long as nobody may be silent if nothing is
    /// under way, as with a client that agreed upon HTTP/2 and does not begin it. Tells how long nothing has been.
    async fn late(&self, flights: &Flights) -> Duration {
        let end = Instant::now() + self.drain;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            sleep(left.min(self.patience)).await;
            let silence = flights.silence();
            if silence >= self.patience || left <= self.patience {
                return silence;
            }
        }
    }
}

/// Why a connection is to end.
enum Over {
    /// The server stops, or the client has been silent for too long.
    Done,
    /// The client takes nothing of what waits for it.
    Stuck,
}

/// Brings up TLS, if that is spoken here, and learns which HTTP the client speaks.
async fn greet(stream: TcpStream, tls: Option<&Tls>, patience: Duration) -> io::Result<Greeting> {
    let greeting = async {
        let Some(tls) = tls else {
            let mut begun = [0; PREFACE.len()];
            // Whoever speaks HTTP/2 sends its preface at once and whole.
            stream.peek(&mut begun).await?;
            return Ok(Greeting { stream: Either::Left(stream), is_http2: begun == PREFACE, certificate: None });
        };
        let stream = tls.acceptor().accept(stream).await?;
        let (is_http2, certificate) = (stream.get_ref().1.alpn_protocol() == Some(b"h2"), tls::certificate(&stream));
        Ok(Greeting { stream: Either::Right(stream), is_http2, certificate })
    };
    tokio::time::timeout(patience, greeting).await?
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<tokio::sync::OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there always is a permit in the end.
    let permit = Arc::clone(permits).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, permit),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(BACK_OFF).await;
            }
        }
    }
}

fn http1(settings: &Listen) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(settings.header_timeout_ms))
        .max_buf_size(settings.max_header_bytes);
    builder
}

fn http2(settings: &Listen) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(Some(Duration::from_secs(30)));
    builder
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Empty};
    use hyper::client::conn::{http1, http2};

    use super::*;
    use crate::exchange::body::full;

    async fn answer(request: Request<Incoming>, _: SocketAddr) -> Response<Body> {
        assert_ne!(request.uri().path(), "/panic", "as if by a bug");
        Response::new(full("fine"))
    }

    fn asks(path: &str) -> Request<Empty<Bytes>> {
        Request::get(format!("http://h{path}")).body(Empty::new()).unwrap()
    }

    async fn told(answer: hyper::Result<Response<Incoming>>) -> (u16, String) {
        let (head, body) = answer.unwrap().into_parts();
        (head.status.as_u16(), String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_panic_costs_one_exchange_and_nothing_else_on_its_connection_or_thread() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let (workers, settings) = (Workers::start(1).unwrap(), Listen::default());
        let connect = async || TokioIo::new(TcpStream::connect(address).await.unwrap());
        let clients = async {
            let (mut other, running) = http1::handshake(connect().await).await.unwrap();
            let _other = tokio::spawn(running);
            assert_eq!(told(other.send_request(asks("/")).await).await, (200, "fine".to_owned()));
            let (mut many, running) = http2::handshake(TokioExecutor::new(), connect().await).await.unwrap();
            let _many = tokio::spawn(running);
            let (mut few, running) = http1::handshake(connect().await).await.unwrap();
            let _few = tokio::spawn(running);
            let (fine, failed) = tokio::join!(many.clone().send_request(asks("/")), many.send_request(asks("/panic")));
            let (status, text) = told(failed).await;
            assert_eq!((told(fine).await.0, status), (200, 500));
            assert!(text.contains("\"internal_error\"") && !text.contains("bug"), "{text}");
            assert_eq!(told(few.send_request(asks("/panic")).await).await, (500, text));
            few.ready().await.unwrap();
            assert_eq!(told(few.send_request(asks("/")).await).await.0, 200, "its connection goes on");
            assert_eq!(told(other.send_request(asks("/")).await).await.0, 200, "as do others");
            stop.cancel();
        };
        tokio::join!(serve((listener, None), &workers, answer, &settings, &stop), clients);
    }
}
