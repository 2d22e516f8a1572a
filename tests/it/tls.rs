//! A stand-in for Loki behind TLS, certificates included.

use std::sync::Arc;

use log_generator::loki as standin;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// What must be trusted, PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for this name and its key, both PEM.
    pub(crate) fn certificate(&self, name: &str) -> (String, String) {
        let (leaf, key) = self.leaf(name);
        (leaf.pem(), key.serialize_pem())
    }

    fn leaf(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (leaf, key)
    }

    /// Settings of a server at 127.0.0.1; with `clients` it takes only those that this authority has signed.
    fn server(&self, clients: Option<&Self>) -> ServerConfig {
        let (leaf, key) = self.leaf("127.0.0.1");
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.0.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        builder.with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into())).unwrap()
    }
}

/// A stand-in for Loki behind TLS.
pub(crate) struct Served {
    pub(crate) url: String,
    /// What a client must trust.
    pub(crate) authority: Authority,
    pub(crate) loki: standin::Loki,
}

impl Served {
    /// With `clients` it serves only those whose certificate this authority has signed.
    pub(crate) fn start(clients: Option<&Authority>) -> Self {
        let loki = standin::Loki::start(standin::Options::default()).unwrap();
        let behind = loki.url().trim_start_matches("http://").to_owned();
        let authority = Authority::new("the test's authority");
        let acceptor = TlsAcceptor::from(Arc::new(authority.server(clients)));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        // On a runtime of its own, so that tests with and without one can use it; it goes with the process.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(serve(acceptor.clone(), client, behind.clone()));
                }
            });
        });
        Self { url, authority, loki }
    }
}

async fn serve(acceptor: TlsAcceptor, client: TcpStream, behind: String) {
    match acceptor.accept(client).into_fallible().await {
        Ok(mut client) => {
            let mut loki = TcpStream::connect(behind).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut loki).await;
        }
        Err((_, mut client)) => {
            // Reads what the client has sent already: a connection that is closed before that is reset, and the client
            // may never see the alert.
            let _ = client.shutdown().await;
            let _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
        }
    }
}
