//! The connection below HTTP: a socket that can be cut, or made to write bytes that no HTTP library would. Used only by
//! faults; knows nothing of providers.

use std::future::Future;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;

/// What happens when the bytes of a [`Script`] are out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The connection is closed.
    Close,
    /// Nothing more comes.
    Hang,
    /// The bytes from this position on are sent again and again.
    Repeat(usize),
}

/// Bytes to write in place of the reply.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) bytes: Vec<u8>,
    /// Wait before each byte after this position; `None`: as fast as possible.
    pub(crate) slow: Option<(usize, Duration)>,
    pub(crate) then: Then,
}

#[derive(Debug, Default)]
struct Shared {
    armed: AtomicBool,
    script: Mutex<Option<Script>>,
}

/// A handle on a connection, given to the request handler.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wire(Arc<Shared>);

impl Wire {
    /// Replaces the reply that is about to be written.
    pub(crate) fn play(&self, script: Script) {
        *self.0.script.lock().unwrap_or_else(PoisonError::into_inner) = Some(script);
        self.0.armed.store(true, Ordering::Release);
    }

    /// Closes the connection in place of a reply.
    pub(crate) fn close(&self) {
        self.play(Script { bytes: Vec::new(), slow: None, then: Then::Close });
    }
}

/// The listening socket.
#[derive(Debug)]
pub(crate) struct WireListener(pub(crate) TcpListener);

impl Listener for WireListener {
    type Io = WireStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.0.accept().await {
                Ok((stream, address)) => {
                    let _ = stream.set_nodelay(true);
                    return (WireStream { stream, wire: Wire::default(), position: 0, sleep: None, bytes: None }, address);
                }
                // Out of file descriptors, or the peer went away: wait a little and go on.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    fn local_addr(&self) -> Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, WireListener>> for Wire {
    fn connect_info(stream: IncomingStream<'_, WireListener>) -> Self {
        stream.io().wire.clone()
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct WireStream {
    stream: TcpStream,
    wire: Wire,
    position: usize,
    sleep: Option<Pin<Box<Sleep>>>,
    bytes: Option<Script>,
}

impl WireStream {
    /// Writes the script; never returns `Ready(Ok)`, because the reply it replaces must not follow.
    fn play(&mut self, context: &mut Context<'_>) -> Poll<Result<usize>> {
        if self.bytes.is_none() {
            self.bytes = self.wire.0.script.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        loop {
            let Some(script) = &self.bytes else { return Poll::Ready(Err(Error::from(ErrorKind::ConnectionAborted))) };
            let rest = script.bytes.get(self.position..).unwrap_or(&[]);
            if rest.is_empty() {
                match script.then {
                    Then::Close => return Poll::Ready(Err(Error::from(ErrorKind::ConnectionAborted))),
                    // Only the peer ends this; the runtime drops us with the connection task.
                    Then::Hang => return self.wait_for_peer(context),
                    Then::Repeat(start) => {
                        self.position = start;
                        continue;
                    }
                }
            }
            let mut part = rest;
            if let Some((after, pause)) = script.slow {
                if self.position >= after {
                    let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
                    if sleep.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                    self.sleep = None;
                    part = rest.get(..1).unwrap_or(rest);
                } else {
                    part = rest.get(..after - self.position).unwrap_or(rest);
                }
            }
            match Pin::new(&mut self.stream).poll_write(context, part) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Error::from(ErrorKind::WriteZero))),
                Poll::Ready(Ok(count)) => self.position += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn wait_for_peer(&mut self, context: &mut Context<'_>) -> Poll<Result<usize>> {
        let mut space = [0u8; 64];
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Ready(_) => Poll::Ready(Err(Error::from(ErrorKind::ConnectionAborted))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn armed(&self) -> bool {
        self.wire.0.armed.load(Ordering::Acquire)
    }
}

impl AsyncRead for WireStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for WireStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let stream = self.get_mut();
        if stream.armed() { stream.play(context) } else { Pin::new(&mut stream.stream).poll_write(context, bytes) }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        let stream = self.get_mut();
        if stream.armed() { stream.play(context) } else { Pin::new(&mut stream.stream).poll_write_vectored(context, parts) }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
