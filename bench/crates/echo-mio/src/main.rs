//! mio echo server. Usage: echo-mio PORT echo|sink BUF
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};

struct Conn {
    s: TcpStream,
    pend: Vec<u8>,
    off: usize,
}

enum Next {
    Keep,
    Close,
}

fn flush(c: &mut Conn) -> Result<bool, ()> {
    while c.off < c.pend.len() {
        match c.s.write(&c.pend[c.off..]) {
            Ok(n) => c.off += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(()),
        }
    }
    c.pend = Vec::new();
    c.off = 0;
    Ok(true)
}

fn on_conn(c: &mut Conn, buf: &mut [u8], sink: bool, mut closing: bool, readable: bool) -> Next {
    if !c.pend.is_empty() {
        match flush(c) {
            Ok(true) => closing = true, // may owe the socket a read: drain
            Ok(false) => return Next::Keep,
            Err(()) => return Next::Close,
        }
    } else if !readable && !closing {
        return Next::Keep;
    }
    loop {
        match c.s.read(buf) {
            Ok(0) => return Next::Close,
            Ok(n) => {
                if !sink {
                    let w = match c.s.write(&buf[..n]) {
                        Ok(w) => w,
                        Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
                        Err(_) => return Next::Close,
                    };
                    if w < n {
                        c.pend = buf[w..n].to_vec();
                        c.off = 0;
                        match flush(c) {
                            Ok(true) => continue,
                            Ok(false) => return Next::Keep,
                            Err(()) => return Next::Close,
                        }
                    }
                }
                if n < buf.len() && !closing {
                    return Next::Keep;
                }
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Next::Keep,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Next::Close,
        }
    }
}

fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (port, sink, bufsz): (u16, bool, usize) =
        (a[1].parse().unwrap(), a[2] == "sink", a[3].parse().unwrap());
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(1024);
    let mut listener = TcpListener::bind(([127, 0, 0, 1], port).into()).unwrap();
    const L: Token = Token(usize::MAX - 1);
    poll.registry().register(&mut listener, L, Interest::READABLE).unwrap();
    println!("READY");
    let mut conns: Vec<Option<Conn>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut buf = vec![0u8; bufsz];
    loop {
        if let Err(e) = poll.poll(&mut events, None) {
            if e.kind() == ErrorKind::Interrupted {
                continue;
            }
            panic!("{e}");
        }
        for ev in events.iter() {
            if ev.token() == L {
                while let Ok((mut s, _)) = listener.accept() {
                    let i = free.pop().unwrap_or_else(|| {
                        conns.push(None);
                        conns.len() - 1
                    });
                    poll.registry()
                        .register(&mut s, Token(i), Interest::READABLE | Interest::WRITABLE)
                        .unwrap();
                    conns[i] = Some(Conn { s, pend: Vec::new(), off: 0 });
                }
                continue;
            }
            let i = ev.token().0;
            let Some(c) = conns[i].as_mut() else { continue };
            let closing = ev.is_read_closed() || ev.is_error();
            if let Next::Close = on_conn(c, &mut buf, sink, closing, ev.is_readable()) {
                conns[i] = None; // dropping closes the socket, which leaves the epoll set
                free.push(i);
            }
        }
    }
}
