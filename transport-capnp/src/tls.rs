//! Mutual TLS between nodes (TR-TLS-01).

use futures_rustls::rustls::crypto::ring;
use futures_rustls::rustls::pki_types::pem::PemObject as _;
use futures_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use futures_rustls::rustls::server::WebPkiClientVerifier;
use futures_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, version};
use futures_rustls::{TlsAcceptor, TlsConnector};
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::stream::Duplex;

/// How connections between nodes are protected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// Not at all: for loopback, and for networks that nobody else is in.
    #[default]
    Plain,
    /// Both sides show a certificate of the cluster's authority.
    Mutual(TlsOptions),
}

/// Files in PEM format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// The certificates of the authority that signs those of the nodes.
    pub ca: PathBuf,
    /// The certificate of this node, and those between it and the authority. It names the host or address under which
    /// the peers reach this node, and is good for servers and for clients.
    pub cert: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
}

/// The two sides of TLS, ready for use.
#[derive(Clone)]
pub(crate) struct Secured {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
}

impl Secured {
    /// Reads the files. The error names the setting, the file and the reason.
    pub(crate) fn load(files: &TlsOptions) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates("tls.ca", &files.ca)? {
            roots
                .add(certificate)
                .map_err(|error| at("tls.ca", &files.ca, &error))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates("tls.cert", &files.cert)?;
        let key =
            PrivateKeyDer::from_pem_file(&files.key).map_err(|error| at("tls.key", &files.key, &error))?;
        let provider = Arc::new(ring::default_provider());
        let unusable = |error: &dyn Display| {
            let (cert, key) = (files.cert.display(), files.key.display());
            format!("tls.cert = {cert} and tls.key = {key}: {error}: name a certificate and its own key")
        };
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| unusable(&error))?
            .with_root_certificates(Arc::clone(&roots))
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(|error| unusable(&error))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| at("tls.ca", &files.ca, &error))?;
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| unusable(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| unusable(&error))?;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(client)),
            acceptor: TlsAcceptor::from(Arc::new(server)),
        })
    }

    /// The dialling side. The peer's certificate must name the host of `address`.
    pub(crate) async fn connect(&self, address: &str, io: Box<dyn Duplex>) -> io::Result<Box<dyn Duplex>> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let secured = self.connector.connect(name, io).await;
        Ok(Box::new(secured.map_err(|error| refused(&error))?))
    }

    /// The accepting side.
    pub(crate) async fn accept(&self, io: Box<dyn Duplex>) -> io::Result<Box<dyn Duplex>> {
        let secured = self.acceptor.accept(io).await;
        Ok(Box::new(secured.map_err(|error| refused(&error))?))
    }
}

/// What an operator can do about a handshake that failed.
fn refused(error: &io::Error) -> io::Error {
    let fix = "both nodes need transport.tls_ca, tls_cert and tls_key, with certificates that the other's tls_ca signed";
    io::Error::new(error.kind(), format!("{error} ({fix})"))
}

fn certificates(setting: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| at(setting, file, &error))?;
    if found.is_empty() {
        return Err(at(setting, file, &"there is no certificate in it"));
    }
    Ok(found)
}

fn at(setting: &str, file: &Path, error: &dyn Display) -> String {
    format!(
        "{setting} = {}: {error}: name a file in PEM format that this process may read",
        file.display()
    )
}
