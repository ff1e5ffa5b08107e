//! Looks names up by hickory's resolver, on our UDP and TCP sockets and timers: many at once, on one thread.
//!
//! ```text
//! $ cargo run --release --bin dns example.org AAAA:example.org MX:example.org    # asks whom /etc/resolv.conf names
//! $ cargo run --release --bin dns -- --server 127.0.0.1:5353 a.test TXT:b.test none.test
//! A a.test: 10.0.0.1
//! TXT b.test: no such records
//! A none.test: no such name
//! ```
//!
//! `AsyncTcpStream::connect("example.org:80")` looks names up as well, by the system's `getaddrinfo`, with a thread for
//! each. That obeys `/etc/hosts` and all of `nsswitch.conf`; this is for who asks for many names, or for other records.
//!
//! Crates: `hickory-resolver` with `system-config`, without its default features, which are a runtime; `async-trait`.
//!
//! hickory asks for `Send + Sync` of all that it is given, though nothing leaves the thread: our sockets and timers are.

use async_trait::async_trait;
use futures_lite::{AsyncRead, AsyncWrite};
use hickory_resolver::Resolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::{DnsTcpStream, DnsUdpSocket, RuntimeProvider, Spawn, Time};
use hickory_resolver::proto::rr::RecordType;
use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll};
use std::time::Duration;
use waken::io::{AsyncFd, Interest};
use waken::net::TcpSocket;
use waken::time::{sleep, timeout};
use waken::{AsyncTcpStream, block_on, spawn};

/// For each try; hickory makes three.
const LIMIT: Duration = Duration::from_secs(2);
/// Lookups at a time. Each try has a socket of its own, with a port that nobody can guess, and two servers may be asked: that is
/// up to six descriptors for each, and without them hickory only says `no connections available`.
const AT_ONCE: usize = 100;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let (servers, names) = arguments()?;
    block_on(async {
        let mut builder = if servers.is_empty() {
            Resolver::builder(Waken)?
        } else {
            Resolver::builder_with_config(ResolverConfig::from_name_servers(servers), Waken)
        };
        builder.options_mut().timeout = LIMIT;
        builder.options_mut().max_active_requests = AT_ONCE; // of one TCP connection; who is beyond that has to come again
        let resolver = builder.build()?;

        let mut are_found = true;
        let mut lookups = VecDeque::new();
        let mut names = names.into_iter();
        loop {
            for (record, name) in names.by_ref().take(AT_ONCE - lookups.len()) {
                let resolver = resolver.clone();
                lookups.push_back(spawn(async move {
                    let found = resolver.lookup(name.as_str(), record).await;
                    (record, name, found)
                }));
            }
            let Some(lookup) = lookups.pop_front() else { break };
            let (record, name, found) = lookup.await?;
            are_found &= found.is_ok();
            println!("{record} {name}: {}", told(found));
        }
        Ok(if are_found { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

fn told(found: Result<Lookup, NetError>) -> String {
    match found {
        Ok(found) => {
            let mut records: Vec<String> =
                found.answers().iter().map(|answer| answer.data.to_string()).collect();
            records.sort();
            records.join(" ")
        }
        Err(error) if error.is_nx_domain() => "no such name".into(),
        Err(error) if error.is_no_records_found() => "no such records".into(),
        Err(error) => error.to_string(),
    }
}

type Names = Vec<(RecordType, String)>;

fn arguments() -> Result<(Vec<NameServerConfig>, Names), Box<dyn Error>> {
    let (mut servers, mut names) = (Vec::new(), Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--server" {
            let address: SocketAddr = arguments.next().unwrap_or_default().parse()?;
            let ways = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut way| {
                way.port = address.port();
                way
            });
            servers.push(NameServerConfig::new(address.ip(), true, ways.into()));
        } else if let Some((record, name)) = argument.split_once(':') {
            names.push((record.parse()?, name.into()));
        } else {
            names.push((RecordType::A, argument));
        }
    }
    Ok((servers, names))
}

/// What hickory runs on.
#[derive(Clone, Copy)]
struct Waken;

impl RuntimeProvider for Waken {
    type Handle = Waken;
    type Timer = Waken;
    type Udp = Udp;
    type Tcp = Tcp;

    fn create_handle(&self) -> Waken {
        Waken
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        from: Option<SocketAddr>,
        limit: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Tcp>>>> {
        Box::pin(async move {
            let socket = if server.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            if let Some(from) = from {
                socket.bind(from)?;
            }
            let stream = timeout(limit.unwrap_or(LIMIT), socket.connect(server)).await??;
            stream.set_nodelay(true)?;
            Ok(Tcp(stream))
        })
    }

    fn bind_udp(
        &self,
        from: SocketAddr,
        _server: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Udp>>>> {
        Box::pin(async move { Ok(Udp(AsyncFd::new(UdpSocket::bind(from)?)?)) })
    }
}

impl Spawn for Waken {
    fn spawn_bg(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        spawn(future);
    }
}

#[async_trait]
impl Time for Waken {
    async fn delay_for(duration: Duration) {
        sleep(duration).await;
    }

    async fn timeout<F: Future + Send + 'static>(
        duration: Duration,
        future: F,
    ) -> io::Result<F::Output> {
        Ok(timeout(duration, future).await?)
    }
}

/// hickory's traits poll, and a future of `AsyncUdpSocket` cannot be made anew for each poll: this is what `AsyncFd` is for.
struct Udp(AsyncFd<UdpSocket>);

impl DnsUdpSocket for Udp {
    type Time = Waken;

    fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.0.poll_io(cx, Interest::READABLE, |socket| socket.recv_from(buf))
    }

    fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        to: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_io(cx, Interest::WRITABLE, |socket| socket.send_to(buf, to))
    }
}

struct Tcp(AsyncTcpStream);

impl DnsTcpStream for Tcp {
    type Time = Waken;
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}
