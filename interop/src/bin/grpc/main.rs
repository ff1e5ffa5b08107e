//! gRPC by tonic, server and client, without tonic's own transport: that one is of another runtime.
//!
//! ```text
//! $ cargo run --release --bin grpc [ADDR]           # 127.0.0.1:7050 when no address is given
//! listening on 127.0.0.1:7050
//! $ cargo run --release --bin grpc -- --client 127.0.0.1:7050    # in another terminal
//! say: HELLO
//! say: InvalidArgument: there is nothing to say
//! count: 1 2 3 4 5
//! chat: ONE TWO THREE
//! slow: DeadlineExceeded
//! ```
//!
//! Crates: `tonic` with `codegen` and `router`, `tonic-prost`, `prost`; `hyper` with `http2`, `server` and `client`; `tower`
//! with `util`. `build.rs` makes the types and the traits of `proto/talk.proto`, by `protox` and `tonic-prost-build`.
//!
//! What tonic's transport would do, and who does it here: connections by hyper; the ends of time, `grpc-timeout`, by
//! `deadline.rs`. What a handler waits for are our timers; its futures have to be `Send`, as tonic wants it, and ours are.

mod deadline;
mod talk {
    tonic::include_proto!("talk");
}

use futures_lite::stream::{self, Boxed};
use futures_lite::{StreamExt, future};
use hyper::client;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use std::cell::Cell;
use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use talk::talk_client::TalkClient;
use talk::talk_server::{Talk, TalkServer};
use talk::{Line, Nothing, Number, Steps};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use waken::hyper::{HyperExecutor, HyperTimer};
use waken::time::{sleep, timeout};
use waken::{AsyncTcpListener, AsyncTcpStream, block_on, spawn};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// For a connection's first call, and for the answer to a ping.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &*arguments {
        [] => block_on(serve("127.0.0.1:7050")),
        [option, address] if option == "--client" => block_on(ask(address)),
        [address] => block_on(serve(address)),
        _ => Err("usage: grpc [ADDR], or grpc --client ADDR".into()),
    }
}

/// What all calls share. In an `Arc`, since tonic asks for `Send`; nothing ever leaves the thread.
#[derive(Default)]
struct Talking {
    counting: Arc<()>,
}

#[tonic::async_trait]
impl Talk for Talking {
    async fn say(&self, request: Request<Line>) -> Result<Response<Line>, Status> {
        let line = request.into_inner();
        if line.text.is_empty() {
            return Err(Status::invalid_argument("there is nothing to say"));
        }
        sleep(Duration::from_millis(line.after_ms.into())).await;
        Ok(Response::new(loud(line)))
    }

    type CountStream = Boxed<Result<Number, Status>>;

    async fn count(&self, request: Request<Steps>) -> Result<Response<Self::CountStream>, Status> {
        let Steps { steps, every_ms } = request.into_inner();
        let every = Duration::from_millis(every_ms.into());
        // Whoever gives up, by a cancel or at the deadline, drops this stream, and what it holds.
        let one_more = self.counting.clone();
        let numbers = stream::unfold((1, one_more), move |(number, one_more)| async move {
            if number > u64::from(steps) {
                return None;
            }
            sleep(every).await;
            Some((Ok(Number { number }), (number + 1, one_more)))
        });
        Ok(Response::new(numbers.boxed()))
    }

    type ChatStream = Boxed<Result<Line, Status>>;

    async fn chat(
        &self,
        request: Request<Streaming<Line>>,
    ) -> Result<Response<Self::ChatStream>, Status> {
        let lines = request.into_inner();
        Ok(Response::new(lines.map(|line| line.map(loud)).boxed()))
    }

    async fn counting(&self, _: Request<Nothing>) -> Result<Response<Number>, Status> {
        let number = Arc::strong_count(&self.counting) as u64 - 1;
        Ok(Response::new(Number { number }))
    }
}

fn loud(line: Line) -> Line {
    Line { text: line.text.to_uppercase(), ..line }
}

async fn serve(address: &str) -> Result<()> {
    let listener = AsyncTcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let routes = Routes::new(TalkServer::new(Talking::default())).prepare();
    loop {
        // An error here is about this one client, or passes: nobody else has to go for it.
        let Ok((stream, peer)) = listener.accept().await else { continue };
        let routes = routes.clone();
        spawn(async move {
            if let Err(error) = connection(stream, routes).await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

async fn connection(stream: AsyncTcpStream, routes: Routes) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut http = http2::Builder::new(HyperExecutor);
    http.timer(HyperTimer).keep_alive_interval(PATIENCE).keep_alive_timeout(PATIENCE);
    let asked = Rc::new(Cell::new(false));
    let has_asked = asked.clone();
    let connection = http.serve_connection(
        stream,
        service_fn(move |request| {
            asked.set(true);
            deadline::keep(routes.clone(), request)
        }),
    );
    // hyper begins to ping when HTTP/2 has begun: until then nothing of its own ends the wait.
    let no_call = async {
        sleep(PATIENCE).await;
        if has_asked.get() { future::pending().await } else { Err("no call in time".into()) }
    };
    future::or(async { Ok(connection.await?) }, no_call).await
}

async fn ask(address: &str) -> Result<()> {
    let stream = timeout(PATIENCE, AsyncTcpStream::connect(address))
        .await
        .map_err(|_| "no connection")??;
    stream.set_nodelay(true)?;
    let mut http = client::conn::http2::Builder::new(HyperExecutor);
    http.timer(HyperTimer).keep_alive_interval(PATIENCE).keep_alive_timeout(PATIENCE);
    let (sender, connection) = http.handshake(stream).await?;
    spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("{error}");
        }
    });
    // One connection for all calls: a sender is a handle, and its clones are sent on it at once.
    let send = tower::service_fn(move |request| sender.clone().send_request(request));
    let mut talk = TalkClient::with_origin(send, format!("http://{address}").parse()?);

    for text in ["hello", ""] {
        match talk.say(Line { text: text.into(), after_ms: 0 }).await {
            Ok(answer) => println!("say: {}", answer.into_inner().text),
            Err(status) => println!("say: {:?}: {}", status.code(), status.message()),
        }
    }

    print!("count:");
    let mut numbers = talk.count(Steps { steps: 5, every_ms: 20 }).await?.into_inner();
    while let Some(Number { number }) = numbers.message().await? {
        print!(" {number}");
    }

    print!("\nchat:");
    let lines = ["one", "two", "three"].map(|text| Line { text: text.into(), after_ms: 0 });
    let mut answers = talk.chat(stream::iter(lines)).await?.into_inner();
    while let Some(Line { text, .. }) = answers.message().await? {
        print!(" {text}");
    }

    // The server is told of the limit, and keeps it; that it may be gone or behave badly is what ours is for.
    let limit = Duration::from_millis(300);
    let mut slow = Request::new(Line { text: "slow".into(), after_ms: 60_000 });
    slow.set_timeout(limit);
    match timeout(limit + PATIENCE, talk.say(slow)).await {
        Ok(Ok(answer)) => println!("\nslow: {}", answer.into_inner().text),
        Ok(Err(status)) => println!("\nslow: {:?}", status.code()),
        Err(_) => println!("\nslow: no answer in time"),
    }
    Ok(())
}
