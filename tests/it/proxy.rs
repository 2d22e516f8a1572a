//! A network between sigyn and its database that can be cut: bytes are held, or lost for good, and connections stay
//! half-open as they do when a machine or a cable goes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to bytes, of both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Net {
    /// They arrive.
    Whole,
    /// They arrive when the network is whole again, however late; the ends of connections too.
    Held,
    /// They are lost. A connection that lost some stays open and silent for ever.
    Lost,
}

/// The network; it ends with the runtime.
pub(crate) struct Proxy {
    address: SocketAddr,
    net: watch::Sender<Net>,
}

impl Proxy {
    /// A network before `to`, whole at first.
    pub(crate) async fn before(to: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let net = watch::Sender::new(Net::Whole);
        let seen = net.subscribe();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&to).await else { continue };
                let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                tokio::spawn(carry(near_read, far_write, seen.clone()));
                tokio::spawn(carry(far_read, near_write, seen.clone()));
            }
        });
        Self { address, net }
    }

    /// The same URL through this network.
    pub(crate) fn through(&self, url: &str) -> String {
        let (before, after) = url.split_once('@').unwrap();
        let (_, path) = after.split_once('/').unwrap();
        format!("{before}@{}/{path}", self.address)
    }

    pub(crate) fn set(&self, net: Net) {
        self.net.send_replace(net);
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut net: watch::Receiver<Net>) {
    let mut bytes = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        if net.wait_for(|net| *net != Net::Held).await.is_err() {
            return;
        }
        if *net.borrow() == Net::Lost {
            // Neither side hears of the other any more.
            std::future::pending::<()>().await;
        }
        if read == 0 || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
