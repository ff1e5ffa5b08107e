//! A client of Postgres, by tokio-postgres on our sockets: what an application does with a database, once each.
//!
//! ```text
//! $ cargo run --release --bin postgres_client 'host=localhost user=me dbname=mine'    # or host=/var/run/postgresql
//! pipelined: 1000 answers, the sum is 499500
//! transactions: 1 row is kept, 1 is not
//! copied in: 100000 rows
//! copied out: 1577788 bytes
//! refused: 23505 (duplicate key value violates unique constraint "waken_tour_pkey")
//! notified: by the other connection, of 'hello'
//! cancelled: 57014
//! too slow: the connection goes on
//! ended by the server: 57P01
//! closed: true, connection closed
//! ```
//!
//! It makes a table `waken_tour`, and leaves it there. Crates: `tokio-postgres` without its default features, which are a
//! runtime; `tokio-util` with `compat`, which makes of our streams what it asks for; `futures-util` with `sink`;
//! `async-channel`.
//!
//! A connection is two things: a task that talks with the server, and a `Client` by which any number of queries are asked
//! at once. Queries go out as they are asked, and nobody waits for the one before.

use async_channel::Receiver;
use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, future};
use futures_util::future::try_join_all;
use futures_util::{SinkExt, TryStreamExt};
use std::error::Error;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;
use tokio_postgres::config::Host;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Notification};
use tokio_util::bytes::{BufMut, BytesMut};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};
use waken::net::AsyncUnixStream;
use waken::time::{sleep, timeout};
use waken::{AsyncTcpStream, JoinHandle, block_on, spawn};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const PATIENCE: Duration = Duration::from_secs(10);
const TABLE: &str =
    "DROP TABLE IF EXISTS waken_tour; CREATE TABLE waken_tour (id int8 PRIMARY KEY, name text)";
const ROWS: i64 = 100_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [config] = &*arguments else {
        return Err("usage: postgres_client 'host=… port=… user=… password=… dbname=…'".into());
    };
    block_on(tour(config.parse()?))
}

async fn tour(config: Config) -> Result<()> {
    let (mut client, connection, notifications) = connect(&config).await?;
    let (other, ..) = connect(&config).await?;
    client.batch_execute(TABLE).await?;

    pipelined(&client).await?;
    transactions(&mut client).await?;
    copy(&client).await?;

    let error = client.execute("INSERT INTO waken_tour VALUES (1, 'again')", &[]).await;
    let error = error.err().ok_or("the key was taken, and the row was not refused")?;
    let refused = error.as_db_error().ok_or("not refused by the server")?;
    println!("refused: {} ({})", refused.code().code(), refused.message());

    client.batch_execute("LISTEN waken_tour").await?;
    other.execute("SELECT pg_notify('waken_tour', 'hello')", &[]).await?;
    let note = timeout(PATIENCE, notifications.recv()).await??;
    println!("notified: by the other connection, of '{}'", note.payload());

    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await?.try_get(0)?;
    cancelled(&config, &client, &other, pid).await?;
    ended(client, connection, &other, pid).await
}

/// The task that reads and writes for the client, and ends when the client is dropped.
type Connection = JoinHandle<Result<(), tokio_postgres::Error>>;

async fn connect(config: &Config) -> Result<(Client, Connection, Receiver<Notification>)> {
    let start =
        async { Ok::<_, Box<dyn Error>>(config.connect_raw(open(config).await?, NoTls).await?) };
    let (client, mut connection) =
        timeout(PATIENCE, start).await.map_err(|_| "no connection")??;
    let (sender, notifications) = async_channel::unbounded(); // to wait here would be to wait with all the answers
    let connection = spawn(async move {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            match message? {
                AsyncMessage::Notification(note) => drop(sender.try_send(note)),
                AsyncMessage::Notice(notice) => {
                    eprintln!("{}: {}", notice.severity(), notice.message())
                }
                _ => {}
            }
        }
        Ok(())
    });
    Ok((client, connection, notifications))
}

/// As libpq does, a host that is a path stands for a Unix socket in that folder.
async fn open(config: &Config) -> Result<Compat<Box<dyn Duplex>>> {
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let stream: Box<dyn Duplex> = match config.get_hosts().first() {
        Some(Host::Unix(folder)) => {
            Box::new(AsyncUnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await?)
        }
        Some(Host::Tcp(name)) => {
            let stream = AsyncTcpStream::connect((name.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
        None => return Err("which host?".into()),
    };
    Ok(stream.compat())
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

fn code(ended: Result<(), tokio_postgres::Error>) -> String {
    match ended {
        Ok(()) => "not at all".into(),
        Err(error) => error.code().map_or(error.to_string(), |code| code.code().into()),
    }
}

async fn pipelined(client: &Client) -> Result<()> {
    let statement = client.prepare("SELECT $1::int8").await?;
    let ask = async |number: i64| client.query_one(&statement, &[&number]).await?.try_get(0);
    let answers: Vec<i64> = try_join_all((0..1000).map(ask)).await?;
    println!("pipelined: {} answers, the sum is {}", answers.len(), answers.iter().sum::<i64>());
    Ok(())
}

async fn transactions(client: &mut Client) -> Result<()> {
    let transaction = client.transaction().await?;
    transaction.execute("INSERT INTO waken_tour VALUES (-1, 'kept')", &[]).await?;
    transaction.commit().await?;
    let transaction = client.transaction().await?;
    transaction.execute("INSERT INTO waken_tour VALUES (-2, 'not kept')", &[]).await?;
    drop(transaction); // an error that leaves by `?` does that as well: it is rolled back
    let kept = client.query("SELECT FROM waken_tour", &[]).await?.len();
    println!("transactions: {kept} row is kept, {} is not", 2 - kept);
    Ok(())
}

async fn copy(client: &Client) -> Result<()> {
    let mut table = pin!(client.copy_in("COPY waken_tour FROM STDIN").await?);
    for first in (0..ROWS).step_by(1000) {
        let mut lines = BytesMut::new();
        for id in first..first + 1000 {
            lines.put_slice(format!("{id}\trow {id}\n").as_bytes());
        }
        table.send(lines.freeze()).await?; // waits while the server has enough
    }
    println!("copied in: {} rows", table.finish().await?);

    let mut table = pin!(client.copy_out("COPY waken_tour TO STDOUT").await?);
    let mut bytes = 0;
    while let Some(lines) = table.try_next().await? {
        bytes += lines.len();
    }
    println!("copied out: {bytes} bytes");
    Ok(())
}

/// Two ways to have a query stopped that takes too long. Who only drops the future is rid of its answer; the server works on.
async fn cancelled(config: &Config, client: &Client, other: &Client, pid: i32) -> Result<()> {
    let long = client.batch_execute("SELECT pg_sleep(600)");
    let stop = async {
        is_asleep(other, pid).await?;
        cancel(config, client).await
    };
    let (ended, sent) = timeout(PATIENCE, future::zip(long, stop)).await?;
    sent?;
    println!("cancelled: {}", code(ended));

    let limit = Duration::from_secs(1);
    if timeout(limit, client.batch_execute("SELECT pg_sleep(600)")).await.is_err() {
        cancel(config, client).await?;
    }
    let row = timeout(PATIENCE, client.query_one("SELECT 'the connection goes on'", &[])).await??;
    println!("too slow: {}", row.try_get::<_, &str>(0)?);
    Ok(())
}

/// By a connection of its own, which the server closes when it has sent its signals: one that came later could stop the next query.
async fn cancel(config: &Config, client: &Client) -> Result<()> {
    let mut stream = open(config).await?;
    client.cancel_token().cancel_query_raw(&mut stream, NoTls).await?;
    timeout(PATIENCE, stream.get_mut().read(&mut [0])).await??;
    Ok(())
}

/// Waits until the server is at it: who stops a query that it has not read yet may stop nothing, or another one.
async fn is_asleep(other: &Client, pid: i32) -> Result<()> {
    let ask = "SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'";
    while other.query(ask, &[&pid]).await?.is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

async fn ended(client: Client, connection: Connection, other: &Client, pid: i32) -> Result<()> {
    let long = client.batch_execute("SELECT pg_sleep(600)");
    let end = async {
        is_asleep(other, pid).await?;
        other.execute("SELECT pg_terminate_backend($1)", &[&pid]).await?;
        Ok(())
    };
    let both = timeout(PATIENCE, future::zip(long, end)).await;
    let (ended, sent): (_, Result<()>) = both?;
    sent?;
    println!("ended by the server: {}", code(ended));
    // Whatever is asked from now on is an error at once. An application connects again.
    let end = timeout(PATIENCE, connection).await??;
    println!("closed: {}, {}", client.is_closed(), code(end));
    Ok(())
}
