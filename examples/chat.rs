//! A chat: every line goes to everybody else. The tasks share the room with no lock, since all of them run on
//! one thread, and none waits while it has the room borrowed.
//!
//! ```text
//! $ cargo run --example chat [ADDR]                # 127.0.0.1:7000 when no address is given
//! listening on 127.0.0.1:7000
//! $ nc 127.0.0.1 7000                              # in two more terminals: this is the second,
//! 1: hello                                         # and the first has said hello
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use waken::{AsyncTcpListener, AsyncTcpStream, block_on, spawn};

/// Who is in, by number.
type Room = Rc<RefCell<BTreeMap<u64, Rc<AsyncTcpStream>>>>;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    block_on(async {
        let listener = AsyncTcpListener::bind(address).await?;
        println!("listening on {}", listener.local_addr()?);
        let room = Room::default();
        for number in 1.. {
            match listener.accept().await {
                Ok((stream, _peer)) => drop(spawn(visit(room.clone(), number, stream))),
                Err(error) => eprintln!("accept: {error}"), // out of descriptors: the next accept waits
            }
        }
        Ok(())
    })
}

async fn visit(room: Room, number: u64, stream: AsyncTcpStream) {
    let stream = Rc::new(stream);
    room.borrow_mut().insert(number, stream.clone());
    if let Err(error) = listen_to(&room, number, &stream).await {
        eprintln!("{number}: {error}");
    }
    room.borrow_mut().remove(&number);
}

async fn listen_to(room: &Room, number: u64, stream: &AsyncTcpStream) -> io::Result<()> {
    let (mut buf, mut filled) = ([0; 1024], 0);
    loop {
        match stream.read(&mut buf[filled..]).await? {
            0 => return Ok(()), // the end; or the buffer is full, and no line may be longer
            n => filled += n,
        }
        while let Some(end) = buf[..filled].iter().position(|&byte| byte == b'\n') {
            say(room, number, &buf[..=end]);
            buf.copy_within(end + 1..filled, 0);
            filled -= end + 1;
        }
    }
}

/// Waits for nobody: what is not yet delivered queues up in the kernel's send buffer, which has an end.
/// Whoever has let it fill is put out, so that a slow member holds up nobody, and costs no more memory.
fn say(room: &Room, number: u64, line: &[u8]) {
    let line = [format!("{number}: ").as_bytes(), line].concat();
    room.borrow_mut().retain(|&other, stream| {
        let heard = other == number || stream.try_write(&line).is_ok_and(|n| n == line.len());
        if !heard {
            let _gone_already = stream.shutdown(Shutdown::Both); // ends the `read` of its task
        }
        heard
    });
}
