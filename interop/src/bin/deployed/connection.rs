//! One connection, from its first byte to its last.

use crate::options::Options;
use crate::{proxy, service};
use async_channel::Receiver;
use futures_lite::future::or;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use socket2::SockRef;
use std::cell::Cell;
use std::error::Error;
use std::future::pending;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;
use waken::AsyncTcpStream;
use waken::hyper::{HyperExecutor, HyperTimer};
use waken::time::{sleep, timeout};

/// What the connections share.
pub struct Server {
    pub options: Options,
    /// Told to end: no proxy should send us anybody new.
    pub stopping: Cell<bool>,
    /// Closed when each connection is to end.
    drained: Receiver<()>,
    http1: http1::Builder,
    http2: http2::Builder<HyperExecutor>,
}

impl Server {
    pub fn new(options: Options, drained: Receiver<()>) -> Server {
        // hyper's time for the headers begins with the answer before them, so that it is also how long a connection may be
        // idle. It has to be longer than the proxy's: who closes an idle connection should be the one who sends on it.
        let mut http1 = http1::Builder::new();
        http1.timer(HyperTimer).header_read_timeout(options.idle).max_buf_size(64 << 10);
        // There is nothing idle about HTTP/2: whoever answers a ping may stay, until the proxy closes.
        let mut http2 = http2::Builder::new(HyperExecutor);
        http2.timer(HyperTimer).keep_alive_interval(Duration::from_secs(20));
        http2.keep_alive_timeout(Duration::from_secs(10)).max_concurrent_streams(100);
        Server { options, stopping: Cell::new(false), drained, http1, http2 }
    }

    /// What goes wrong here is about this one client.
    pub async fn serve(self: Rc<Self>, stream: AsyncTcpStream, peer: SocketAddr) {
        if let Err(error) = self.http(stream, peer).await {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("{peer}: {error}{cause}");
        }
    }

    async fn http(
        self: Rc<Self>,
        stream: AsyncTcpStream,
        peer: SocketAddr,
    ) -> Result<(), Box<dyn Error>> {
        stream.set_nodelay(true)?;
        // Also for a peer that lives and takes nothing, tcp(7).
        SockRef::from(&stream).set_tcp_user_timeout(Some(self.options.unread))?;
        let client = match self.options.proxy {
            true => timeout(self.options.first, proxy::client(&stream)).await??.unwrap_or(peer),
            false => peer,
        };
        let asked = Rc::new(Cell::new(false));
        let service = service_fn({
            let (server, asked) = (self.clone(), asked.clone());
            move |request| {
                asked.set(true);
                service::answer(server.clone(), client, request)
            }
        });
        if self.options.h2c {
            let connection = self.http2.serve_connection(stream, service);
            self.to_its_end(connection, http2::Connection::graceful_shutdown, &asked).await
        } else {
            let connection = self.http1.serve_connection(stream, service);
            self.to_its_end(connection, http1::Connection::graceful_shutdown, &asked).await
        }
    }

    async fn to_its_end<C: Future<Output = hyper::Result<()>>>(
        &self,
        connection: C,
        shut_down: fn(Pin<&mut C>),
        asked: &Cell<bool>,
    ) -> Result<(), Box<dyn Error>> {
        let mut connection = pin!(connection);
        // Polled in this order: what has arrived is read before the end is begun.
        let ended = async { Next::Ended(connection.as_mut().await) };
        let drained = async {
            let _closed = self.drained.recv().await;
            Next::ShutDown
        };
        let silent = async {
            sleep(self.options.first).await;
            match asked.get() {
                true => pending().await,
                false => Next::Silent,
            }
        };
        match or(ended, or(drained, silent)).await {
            Next::Ended(Err(error)) if error.is_timeout() => {} // it was idle: no news
            Next::Ended(result) => result?,
            Next::Silent => return Err("no request in time".into()),
            Next::ShutDown => {
                shut_down(connection.as_mut());
                connection.await?;
            }
        }
        Ok(())
    }
}

enum Next {
    Ended(hyper::Result<()>),
    ShutDown,
    Silent,
}
