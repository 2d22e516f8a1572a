//! The connections: a listener whose connections can be told to break off, which is the only honest way to play cut
//! bodies, answers that never come, and resets.

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// No limit on what may still be written.
const OPEN: usize = usize::MAX;

/// The handle of one connection: how much may still be written, and whether it ends with a reset.
#[derive(Debug, Clone)]
pub(crate) struct Wire(Arc<State>);

#[derive(Debug)]
struct State {
    left: AtomicUsize,
    reset: AtomicBool,
}

impl Wire {
    /// After so many more bytes the connection closes.
    pub(crate) fn close_after(&self, bytes: usize) {
        self.0.left.store(bytes, Ordering::SeqCst);
    }

    /// The connection closes with a reset instead of its next answer.
    pub(crate) fn reset(&self) {
        self.0.reset.store(true, Ordering::SeqCst);
        self.close_after(0);
    }
}

impl Connected<IncomingStream<'_, Door>> for Wire {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.io().wire.clone()
    }
}

/// The listener.
pub(crate) struct Door(pub(crate) TcpListener);

impl Listener for Door {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok((tcp, peer)) => {
                    // Small answers must not wait for the client's acknowledgement.
                    let _ = tcp.set_nodelay(true);
                    let state = State { left: AtomicUsize::new(OPEN), reset: AtomicBool::new(false) };
                    return (Connection { tcp, wire: Wire(Arc::new(state)) }, peer);
                }
                // Out of file handles, or a client that left already: try again, not in a tight loop.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// One connection.
pub(crate) struct Connection {
    tcp: TcpStream,
    wire: Wire,
}

impl Connection {
    /// How much of `wanted` may be written now; an error when nothing may be written any more.
    fn allowed(&self, wanted: usize) -> io::Result<usize> {
        let left = self.wire.0.left.load(Ordering::SeqCst);
        if left > 0 {
            return Ok(wanted.min(left));
        }
        if self.wire.0.reset.load(Ordering::SeqCst) {
            let _ = self.tcp.set_zero_linger();
        }
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn spend(&self, written: usize) {
        let left = self.wire.0.left.load(Ordering::SeqCst);
        if left != OPEN {
            self.wire.0.left.store(left.saturating_sub(written), Ordering::SeqCst);
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let allowed = self.allowed(buf.len())?;
        let written = Pin::new(&mut self.tcp).poll_write(cx, buf.get(..allowed).unwrap_or_default());
        if let Poll::Ready(Ok(n)) = written {
            self.spend(n);
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.allowed(OPEN)? == OPEN {
            return Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs);
        }
        let first = bufs.iter().find(|b| !b.is_empty()).map_or(&[][..], |b| b);
        self.poll_write(cx, first)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
