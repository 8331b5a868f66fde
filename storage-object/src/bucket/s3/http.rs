//! The HTTP client below `object_store`: hyper with its pool of connections, rustls where the endpoint wants it.

use super::classify::{NoCredentials, Refusal, invalid};
use crate::bucket::StoreError;
use http_body_util::{BodyExt, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that nobody used for this long are closed: shorter than what stores and proxies allow.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of an error's text that are read.
const REFUSAL_BYTES: usize = 4 << 10;

/// Makes the client that `object_store` sends its requests with.
#[derive(Clone)]
pub(super) struct Connector {
    client: Client<HttpsConnector<Tcp>, HttpRequestBody>,
    /// Whether requests to the store are signed: those that are not ask somebody else for credentials.
    signs: bool,
}

impl Connector {
    /// A client that trusts the system's authorities, or the one in `ca_file` alone. `signs` says whether the requests to
    /// the store are signed.
    pub(super) fn new(ca_file: Option<&Path>, signs: bool) -> Result<Self, StoreError> {
        let mut tcp = Tcp::new();
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls(ca_file)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        // A request is not sent again here: whether that is safe is decided in one place, by the caller.
        let client = Client::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(https);
        Ok(Self { client, signs })
    }

    /// Whom a request asks for credentials, unless it is one to the store.
    fn asked_for_credentials(&self, request: &HttpRequest) -> Option<String> {
        let signature = request.headers().get("authorization");
        let signed = signature.is_some_and(|value| value.as_bytes().starts_with(b"AWS4-"));
        let host = || request.uri().host().unwrap_or_default().to_owned();
        (self.signs && !signed).then(host)
    }
}

fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, StoreError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid(format!("cannot prepare TLS: {error}")))?;
    let Some(file) = ca_file else {
        // A machine without authorities can still use an endpoint without TLS, so that this is no error yet.
        let config = match builder.clone().with_native_roots() {
            Ok(builder) => builder,
            Err(error) => {
                log::debug!("event=no_native_roots error=\"{error}\"");
                builder.with_root_certificates(RootCertStore::empty())
            }
        };
        return Ok(config.with_no_client_auth());
    };
    let unusable = |error: &dyn fmt::Display| invalid(format!("tier CA file {}: {error}", file.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unusable(&error))? {
        let certificate = certificate.map_err(|error| unusable(&error))?;
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    if roots.is_empty() {
        return Err(unusable(&"it holds no certificate"));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait::async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // A refusal there must not be taken for the store's: its 404 is not that of an object.
        let Some(host) = self.asked_for_credentials(&request) else {
            return self.send(request).await;
        };
        self.send(request).await.map_err(|error| {
            let reason = Chain::of(&error).0;
            HttpError::new(HttpErrorKind::Unknown, NoCredentials { host, reason })
        })
    }
}

impl Connector {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = self.client.request(request).await.map_err(|error| {
            let kind = if error.is_connect() {
                HttpErrorKind::Connect
            } else {
                HttpErrorKind::Unknown
            };
            HttpError::new(kind, Chain::of(&error))
        })?;
        let (parts, body) = answer.into_parts();
        if parts.status.is_success() {
            let body = body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error));
            return Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)));
        }
        let region = parts.headers.get("x-amz-bucket-region");
        let region = region.and_then(|region| Some(region.to_str().ok()?.to_owned()));
        // The crate hides the status of most errors, so that it is carried through as an error of ours.
        let text = match Limited::new(body, REFUSAL_BYTES).collect().await {
            Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
            Err(_) => String::new(),
        };
        let refusal = Refusal {
            status: parts.status.as_u16(),
            text,
            region,
        };
        Err(HttpError::new(HttpErrorKind::Unknown, refusal))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

/// An error with its causes as one text.
#[derive(Debug)]
struct Chain(String);

impl Chain {
    fn of(error: &dyn Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            cause = inner.source();
        }
        Self(text)
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Chain {}
