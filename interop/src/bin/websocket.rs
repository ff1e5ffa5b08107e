//! WebSockets with async-tungstenite alone: an echo, and a room in which everybody hears everybody; with limits to places, time
//! and bytes, and closes that say why.
//!
//! ```text
//! $ cargo run --release --bin websocket [ADDR]          # 127.0.0.1:7000 when no address is given
//! listening on 127.0.0.1:7000
//! $ python3 -m websockets ws://127.0.0.1:7000/room      # in two other terminals; pip install websockets
//! ```
//!
//! async-tungstenite with `handshake`; async-channel and futures-lite; socket2 for one option; libc for the names of signals.
//!
//! | who | gets |
//! |---|---|
//! | does not end its handshake | the end, after 10 s |
//! | says nothing for 15 s | a ping, and 15 s later the end |
//! | sends more than 16 MiB, or to a room 64 KiB, or what is no WebSocket, or no UTF-8 | close 1009, 1002, 1007 |
//! | has vanished, or takes nothing of what is sent to it | the end, after 20 s |
//! | is 256 messages behind in a room | close 1008: the others do not wait for it |
//! | is here when the server ends | close 1001 |

use async_channel::{Receiver, Sender};
use async_tungstenite::tungstenite::handshake::server::{Request, Response};
use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use async_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use async_tungstenite::tungstenite::{self, Message};
use async_tungstenite::{WebSocketStream, accept_hdr_async_with_config};
use futures_lite::StreamExt;
use futures_lite::future::or;
use socket2::SockRef;
use std::cell::RefCell;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::{Duration, Instant};
use waken::signal::Signals;
use waken::time::{Sleep, sleep, timeout};
use waken::{AsyncTcpListener, AsyncTcpStream, JoinSet, block_on};

/// At once. When all places are taken, clients wait in the kernel's queue. It is less than the 1024 descriptors that a process
/// has when nobody has asked for more.
const PLACES: usize = 1000;
const HANDSHAKE: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(15);
const UNTAKEN: Duration = Duration::from_secs(20);
/// From our close to the client's; and at the end, for all.
const CLOSE: Duration = Duration::from_secs(5);
const LAST_CLOSES: Duration = Duration::from_secs(10);
const LARGEST: usize = 16 << 20;
/// In a room, where messages wait for whoever is behind: so many, of so many bytes. It is twice the 128 operations of one
/// poll: so much may be said before others have their turn.
const BEHIND: usize = 256;
const LARGEST_IN_ROOM: usize = 64 << 10;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    block_on(async {
        let mut signals = Signals::new([libc::SIGTERM, libc::SIGINT])?;
        let listener = AsyncTcpListener::bind(address).await?;
        println!("listening on {}", listener.local_addr()?);

        let room = Rc::new(Room { inboxes: RefCell::default(), largest: LARGEST_IN_ROOM });
        // Nothing is ever sent: it is closed, and everybody with a receiver knows.
        let (end, ended) = async_channel::bounded(1);
        let mut connections = JoinSet::new();
        let accept = async {
            loop {
                // The group counts: who has ended is in it until joined, and that is a free place.
                while connections.try_join_next().is_some() {}
                while connections.len() >= PLACES {
                    connections.join_next().await;
                }
                let (stream, peer) = match listener.accept().await {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        eprintln!("accept: {error}"); // out of descriptors: the next accept waits
                        continue;
                    }
                };
                let (room, ended) = (room.clone(), ended.clone());
                connections.spawn(async move {
                    if let Err(error) = serve(&stream, room, ended).await {
                        eprintln!("{peer}: {error}");
                    }
                    // A close with bytes unread is a reset, which takes our last words with it.
                    if stream.shutdown(Shutdown::Write).is_ok() {
                        let _closed_anyhow =
                            timeout(Duration::from_secs(1), discard(&stream)).await;
                    }
                });
            }
        };
        let signal = or(signals.next(), accept).await;

        drop(listener);
        end.close();
        eprintln!("signal {signal}: {} connections to end", connections.len());
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout(LAST_CLOSES, or(all, async { _ = signals.next().await })).await.is_err() {
            eprintln!("the rest is cut off");
        }
        Ok(())
    })
}

async fn serve(
    stream: &AsyncTcpStream,
    room: Rc<Room>,
    ended: Receiver<Infallible>,
) -> Result<(), Box<dyn Error>> {
    stream.set_nodelay(true)?;
    // Writes need no timeout of their own: the kernel has one, see tcp(7).
    SockRef::from(stream).set_tcp_user_timeout(Some(UNTAKEN))?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(LARGEST))
        .max_frame_size(Some(LARGEST))
        .read_buffer_size(16 << 10); // it is there for each client: the default is 128 KiB
    let mut path = String::new();
    #[allow(clippy::result_large_err)] // the library's type for a refusal
    let note_path = |request: &Request, response: Response| {
        path = request.uri().path().to_owned();
        Ok(response)
    };
    let handshake = accept_hdr_async_with_config(stream, note_path, Some(config));
    let handshake = async { Some(timeout(HANDSHAKE, handshake).await) };
    let too_late = async {
        _ = ended.recv().await;
        None
    };
    let Some(handshake) = or(handshake, too_late).await else { return Ok(()) };
    let mut socket = handshake.map_err(|_| "no handshake")??;

    let room = match path.as_str() {
        "/room" => room,
        _ => Rc::new(Room { inboxes: RefCell::default(), largest: LARGEST }),
    };
    let inbox = room.enter();
    let why = converse(&mut socket, &room, &inbox, &ended).await?;
    drop(inbox);
    let Some((code, reason)) = why else { return Ok(()) };
    let farewell = async {
        socket.close(Some(CloseFrame { code, reason: reason.into() })).await?;
        while let Some(Ok(_)) = socket.next().await {}
        Ok::<_, tungstenite::Error>(())
    };
    timeout(CLOSE, farewell).await.map_err(|_| "no answer to our close")??;
    Ok(())
}

enum Event {
    Said(Option<tungstenite::Result<Message>>),
    Heard(Result<Message, async_channel::RecvError>),
    Silence,
    End,
}

/// Until the client closes, or we have a reason to.
async fn converse(
    socket: &mut WebSocketStream<&AsyncTcpStream>,
    room: &Room,
    inbox: &Receiver<Message>,
    ended: &Receiver<Infallible>,
) -> Result<Option<(CloseCode, &'static str)>, Box<dyn Error>> {
    let mut silence = sleep(SILENCE);
    let mut is_asked = false;
    loop {
        // The first that is ready: what is heard goes out before more is taken in.
        match next(socket, inbox, ended, &mut silence).await {
            Event::End => return Ok(Some((CloseCode::Away, "the server ends"))),
            Event::Heard(Ok(message)) => socket.send(message).await?,
            Event::Heard(Err(_)) => return Ok(Some((CloseCode::Policy, "too far behind"))),
            Event::Silence if is_asked => return Err("no answer to a ping".into()),
            Event::Silence => {
                is_asked = true;
                silence.reset(Instant::now() + SILENCE);
                socket.send(Message::Ping(Default::default())).await?;
            }
            Event::Said(None) => return Ok(None),
            Event::Said(Some(Ok(message))) => {
                is_asked = false;
                silence.reset(Instant::now() + SILENCE);
                if message.len() > room.largest {
                    return Ok(Some((CloseCode::Size, "too large")));
                }
                // A ping is answered, and a close, by who reads them.
                if message.is_text() || message.is_binary() {
                    room.say(message);
                }
            }
            Event::Said(Some(Err(error))) => return fault(error).map(Some),
        }
    }
}

async fn next(
    socket: &mut WebSocketStream<&AsyncTcpStream>,
    inbox: &Receiver<Message>,
    ended: &Receiver<Infallible>,
    silence: &mut Sleep,
) -> Event {
    let end = async {
        _ = ended.recv().await;
        Event::End
    };
    let heard = async { Event::Heard(inbox.recv().await) };
    let said = async { Event::Said(socket.next().await) };
    let silence = async {
        silence.await;
        Event::Silence
    };
    or(or(end, heard), or(said, silence)).await
}

/// What we say to a client that has sent what it must not.
fn fault(error: tungstenite::Error) -> Result<(CloseCode, &'static str), Box<dyn Error>> {
    match error {
        tungstenite::Error::Capacity(_) => Ok((CloseCode::Size, "too large")),
        tungstenite::Error::Utf8(_) => Ok((CloseCode::Invalid, "no UTF-8")),
        tungstenite::Error::Protocol(error)
            if error != tungstenite::error::ProtocolError::ResetWithoutClosingHandshake =>
        {
            Ok((CloseCode::Protocol, "no WebSocket"))
        }
        error => Err(error.into()),
    }
}

/// Everybody in it hears what anybody says, and so does who says it: a room for one is an echo.
struct Room {
    inboxes: RefCell<Vec<Sender<Message>>>,
    largest: usize,
}

impl Room {
    /// What is said from now on; its end means to have been put out.
    fn enter(&self) -> Receiver<Message> {
        let (sender, receiver) = async_channel::bounded(BEHIND);
        let mut inboxes = self.inboxes.borrow_mut();
        inboxes.retain(|inbox| !inbox.is_closed()); // where nobody speaks, those who have left are put out here
        inboxes.push(sender);
        receiver
    }

    /// The bytes are there once, however many hear them. Who has left, or is too far behind, is put out.
    fn say(&self, message: Message) {
        self.inboxes.borrow_mut().retain(|inbox| inbox.try_send(message.clone()).is_ok());
    }
}

async fn discard(stream: &AsyncTcpStream) -> io::Result<()> {
    let mut buf = [0; 4096];
    while stream.read(&mut buf).await? > 0 {}
    Ok(())
}
