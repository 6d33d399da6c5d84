//! An upstream that writes what the test has it write, byte for byte.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::Proxy;

pub(crate) struct Raw {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Raw {
    pub(crate) async fn start() -> Self {
        Self::of(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn of(listener: TcpListener) -> Self {
        Self { address: listener.local_addr().unwrap(), listener }
    }

    /// A proxy in front of it.
    pub(crate) async fn proxy(&self, change: impl FnOnce(&mut seawall::config::Config)) -> Proxy {
        Proxy::with(super::RULES, |config| {
            config.upstream.url = format!("http://{}", self.address);
            change(config);
        })
        .await
    }

    /// The next connection.
    pub(crate) async fn connection(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }

    /// The next connection, with its first request read.
    pub(crate) async fn call(&self) -> TcpStream {
        let mut stream = self.connection().await;
        request(&mut stream).await.unwrap();
        stream
    }

    /// Takes a call and answers it with these bytes; the connection stays open as long as what is returned.
    pub(crate) async fn answer(&self, bytes: impl AsRef<[u8]>) -> TcpStream {
        let mut stream = self.call().await;
        stream.write_all(bytes.as_ref()).await.unwrap();
        stream
    }
}

/// Reads a request to its end; `None` if there comes none.
pub(crate) async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4_096]);
    while !is_whole(&bytes) {
        let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
    }
    Some(String::from_utf8(bytes).unwrap())
}

/// Whether these bytes are a message with its body.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// An answer with this head, beside the status, and this body.
pub(crate) fn answer(head: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}")
}
