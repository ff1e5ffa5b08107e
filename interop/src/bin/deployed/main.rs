//! A server as one would run it: alone or behind a proxy, limited in everything, and ended without losing a request.
//!
//! ```text
//! $ cargo run --release --bin deployed [ADDR] [--OPTION …]…    # 127.0.0.1:7000 when no address is given
//! listening on 127.0.0.1:7000
//! $ curl http://127.0.0.1:7000/hello                           # in another terminal
//! /hello for 127.0.0.1:45678
//! $ curl http://127.0.0.1:7000/healthz                         # 200; from SIGTERM on 503
//! ready
//! ```
//!
//! What systemd hands over (`LISTEN_FDS`) is listened on instead of the address. The options are in `options.rs`; the page to
//! read with it, with the configurations of systemd, HAProxy and nginx, is `docs/deploying.md`. `/slow/1500` is answered after
//! 1.5 s. SIGQUIT prints who waits for what.
//!
//! The order of the end, at SIGTERM or Ctrl-C, is what loses no request:
//!
//! 1. `/healthz` says 503, and each answer says `connection: close`. New clients are still let in: who checks our health
//!    needs a while to send them elsewhere (`--lame-duck`).
//! 2. Whom the kernel has let in already is accepted. Then the listener is closed.
//! 3. The newest connections get a moment for their first request (`--settle`): hyper would close them unread.
//! 4. Every connection ends after the request it is in; an idle one at once.
//! 5. Who is not ready then (`--deadline`), or at a second signal, is cut off. The exit code is 0 in any case.
//!
//! Uses hyper (`http1`, `http2`, `server`), http-body-util, async-channel, futures-lite, socket2, libc.

mod connection;
mod listening;
mod options;
mod proxy;
mod service;
mod supervisor;

use async_channel::Sender;
use connection::Server;
use futures_lite::future::or;
use options::Options;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use waken::signal::Signals;
use waken::task::Builder;
use waken::time::sleep;
use waken::{AsyncTcpListener, JoinSet, block_on};

fn main() -> io::Result<()> {
    // Before anything else: afterwards a descriptor from 3 on may be one of our own.
    let inherited = listening::inherited()?;
    let options = Options::of(std::env::args().skip(1))?;
    block_on(run(options, inherited))
}

async fn run(options: Options, inherited: Option<TcpListener>) -> io::Result<()> {
    // Caught from here on: a signal that comes before anybody waits for it is kept.
    let mut signals = Signals::new([libc::SIGTERM, libc::SIGINT])?;
    drop(Builder::new().name("report").spawn(report(Signals::new([libc::SIGQUIT])?)));

    let listener = listening::listen(&options, inherited).await?;
    println!("listening on {}", listener.local_addr()?);
    supervisor::tell("READY=1");

    // Nothing is ever sent: that it is closed is the message, to every connection at once.
    let (drain, drained) = async_channel::bounded(1);
    let server = Rc::new(Server::new(options, drained));
    let mut connections = JoinSet::new();
    let signal = async {
        signals.next().await;
    };
    or(signal, accept(&listener, &mut connections, &server)).await;

    let again = async {
        signals.next().await;
        "another signal"
    };
    let why = or(again, end(listener, &mut connections, &server, drain)).await;
    eprintln!("ended: {why}");
    Ok(()) // what is left is dropped with its `JoinSet`: aborted
}

/// Lets clients in, for ever. To give it up loses nobody: who has not been accepted stays in the queue.
async fn accept(listener: &AsyncTcpListener, connections: &mut JoinSet<()>, server: &Rc<Server>) {
    loop {
        // The group keeps who has ended until it is joined, and that is a free place.
        while connections.try_join_next().is_some() {}
        while connections.len() >= server.options.connections {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, peer)) => drop(connections.spawn(server.clone().serve(stream, peer))),
            Err(error) => eprintln!("accept: {error}"), // out of descriptors: the next accept waits
        }
    }
}

async fn end(
    listener: AsyncTcpListener,
    connections: &mut JoinSet<()>,
    server: &Rc<Server>,
    drain: Sender<()>,
) -> &'static str {
    server.stopping.set(true);
    supervisor::tell("STOPPING=1");
    let lame_duck = sleep(server.options.lame_duck);
    or(lame_duck, accept(&listener, connections, server)).await;

    while let Ok((stream, peer)) = listener.try_accept() {
        connections.spawn(server.clone().serve(stream, peer));
    }
    drop(listener);
    sleep(server.options.settle).await;

    drop(drain);
    let served = async {
        while connections.join_next().await.is_some() {}
        "all are served"
    };
    let deadline = async {
        sleep(server.options.deadline).await;
        "the deadline is over"
    };
    or(served, deadline).await
}

/// For a server that behaves strangely: `kill -QUIT` tells what each task waits for, and the counters.
async fn report(mut asked: Signals) {
    loop {
        asked.next().await;
        for task in waken::runtime::tasks() {
            eprintln!("{task}");
        }
        eprintln!("{:?}", waken::runtime::metrics());
    }
}
