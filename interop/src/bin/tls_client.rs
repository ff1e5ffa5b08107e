//! An HTTPS client: the name is looked up, the certificate checked, and HTTP/2 or HTTP/1.1 spoken as the server wishes.
//!
//! ```text
//! $ cargo run --release --bin tls 127.0.0.1:7443 --self-signed ca.pem    # in another terminal
//! $ cargo run --release --bin tls_client ca.pem localhost:7443 /
//! HTTP/2.0 over TLSv1_3
//! ```
//!
//! It trusts whom the file names, and nobody else; `webpki-roots` or `rustls-native-certs` would bring what browsers trust. The body
//! goes to standard output. Crates as in `tls`, with `client` of hyper.

use futures_rustls::TlsConnector;
use futures_rustls::pki_types::pem::PemObject;
use futures_rustls::pki_types::{CertificateDer, ServerName};
use futures_rustls::rustls::crypto::ring;
use futures_rustls::rustls::{ClientConfig, RootCertStore, version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper::header::HOST;
use hyper::http::uri::{Authority, PathAndQuery};
use hyper::{Request, Uri};
use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;
use waken::hyper::{HyperExecutor, HyperIo, HyperTimer};
use waken::time::timeout;
use waken::{AsyncTcpStream, block_on, spawn};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Until it is connected, with the handshake; then for an answer's headers; then for each piece of its body.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [roots, server, path] = arguments.as_slice() else {
        return Err("usage: tls_client CA.pem HOST:PORT PATH".into());
    };
    let uri = Uri::builder().scheme("https").authority(&**server).path_and_query(&**path);
    block_on(get(uri.build()?, config(roots)?))
}

async fn get(uri: Uri, config: ClientConfig) -> Result<()> {
    let host = uri.host().unwrap_or_default().to_owned();
    let name = ServerName::try_from(host.clone())?;
    let address = (host, uri.port_u16().unwrap_or(443));
    let connect = async {
        let stream = AsyncTcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    };
    let stream = timeout(PATIENCE, connect).await.map_err(|_| "no connection in time")??;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");

    let stream = HyperIo::new(stream);
    let request = Request::get(&uri);
    let (response, connection) = if is_http2 {
        let mut http = http2::Builder::new(HyperExecutor);
        http.timer(HyperTimer).keep_alive_interval(PATIENCE).keep_alive_timeout(PATIENCE);
        let (mut sender, connection) = http.handshake(stream).await?;
        let connection = spawn(connection);
        (timeout(PATIENCE, sender.send_request(request.body(NOTHING)?)).await, connection)
    } else {
        // Of HTTP/1.1 a server expects the path alone, and the host aside.
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let host = uri.authority().map_or("", Authority::as_str);
        let request = request.uri(path).header(HOST, host).body(NOTHING)?;
        let (mut sender, connection) = http1::handshake(stream).await?;
        let connection = spawn(connection);
        (timeout(PATIENCE, sender.send_request(request)).await, connection)
    };
    let response = response.map_err(|_| "no answer in time")??;
    if !response.status().is_success() {
        return Err(response.status().to_string().into());
    }
    let mut body = response.into_body();
    while let Some(frame) =
        timeout(PATIENCE, body.frame()).await.map_err(|_| "the answer stopped")?
    {
        if let Some(data) = frame?.data_ref() {
            io::stdout().write_all(data)?;
        }
    }
    // The sender is gone, so the connection says goodbye, and ends.
    timeout(PATIENCE, connection).await.map_err(|_| "the end did not come in time")???;
    Ok(())
}

const NOTHING: Empty<Bytes> = Empty::new();

fn config(roots: &str) -> Result<ClientConfig> {
    let mut trusted = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(roots)? {
        trusted.add(certificate?)?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
        .with_root_certificates(trusted)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
