//! What the runtime rests on: 28 facts about edge-triggered epoll and sockets, asked of this machine's kernel without any
//! runtime. They were measured on Linux 6.18. One that fails here says that the kernel behaves differently, and which
//! code to look at again: its row in `docs/hazards.md` has the name of each test that relies on it.
//!
//! "No further event" means none within ten milliseconds. What must have happened before a wait is waited for by other
//! means, so that a busy machine changes nothing.
#[path = "support/kernel.rs"]
mod kernel;
#[path = "support/raw.rs"]
mod raw;

use kernel::{pipe, recv_with, semaphore, send_with, set_backlog, terminal};
use libc::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP};
use libc::{POLLERR, POLLHUP, POLLIN, POLLPRI, POLLRDHUP};
use raw::{
    Epoll, bind, connect, connect_unix, duplicate_from, errno, errno_of_accept_without_descriptors,
    eventfd,
};
use raw::{has_peer, in_a_fork, nonblocking, option, read, recv, reset, send, send_slices};
use raw::{send_urgent, set_option, socket, tcp, until, until_in_queue, until_queued, until_sent};
use std::fs::File;
use std::io::{IoSlice, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net as unix;
use std::time::{Duration, Instant};

/// What the runtime asks for.
const ALL: i32 = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI;

fn unix_pair() -> (unix::UnixStream, unix::UnixStream) {
    let (ours, peer) = unix::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    peer.set_nonblocking(true).unwrap();
    (ours, peer)
}

// ---- the end of a stream ----------------------------------------------------------------------

/// k1.
#[test]
fn no_event_tells_of_an_end_that_was_queued_behind_bytes() {
    let (ours, mut peer) = tcp();
    let epoll = Epoll::with(&ours, EPOLLIN);
    peer.write_all(b"abc").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    until(&ours, POLLIN | POLLRDHUP);
    epoll.says(EPOLLIN);
    assert_eq!(recv(&ours, 1024).unwrap(), b"abc");
    epoll.is_silent();
    assert_eq!(recv(&ours, 1024).unwrap(), b"");
}

/// k2.
#[test]
fn the_first_event_says_rdhup_to_who_has_asked_for_it() {
    let (ours, mut peer) = tcp();
    let epoll = Epoll::with(&ours, EPOLLIN | EPOLLRDHUP);
    peer.write_all(b"abc").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    until(&ours, POLLIN | POLLRDHUP);
    epoll.says(EPOLLIN | EPOLLRDHUP);
    assert_eq!(recv(&ours, 1024).unwrap(), b"abc");
    epoll.is_silent();
    assert_eq!(recv(&ours, 1024).unwrap(), b"");
}

/// k3.
#[test]
fn an_end_that_comes_after_the_wait_is_an_event() {
    for bits in [EPOLLIN, EPOLLIN | EPOLLRDHUP] {
        let (ours, mut peer) = tcp();
        let epoll = Epoll::with(&ours, bits);
        peer.write_all(b"abc").unwrap();
        epoll.says(EPOLLIN);
        peer.shutdown(Shutdown::Write).unwrap();
        until(&ours, POLLRDHUP);
        assert_eq!(recv(&ours, 1024).unwrap(), b"abc");
        epoll.says(bits);
        assert_eq!(recv(&ours, 1024).unwrap(), b"");
    }
}

/// k4.
#[test]
fn a_reset_behind_bytes_is_one_event_and_the_bytes_can_be_read() {
    let (ours, mut peer) = tcp();
    let epoll = Epoll::with(&ours, EPOLLIN | EPOLLRDHUP);
    peer.write_all(b"abc").unwrap();
    until(&ours, POLLIN);
    reset(peer);
    until(&ours, POLLERR | POLLHUP);
    epoll.says(EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP);
    assert_eq!(recv(&ours, 1024).unwrap(), b"abc");
    epoll.is_silent();
    assert_eq!(errno(recv(&ours, 1024)), libc::ECONNRESET);
    assert_eq!(recv(&ours, 1024).unwrap(), b"");
}

/// k21.
#[test]
fn the_end_of_ones_own_reading_is_not_final() {
    let (ours, mut peer) = tcp();
    let epoll = Epoll::with(&ours, EPOLLIN | EPOLLRDHUP);
    ours.shutdown(Shutdown::Read).unwrap();
    epoll.says(EPOLLIN | EPOLLRDHUP);
    assert_eq!(recv(&ours, 1024).unwrap(), b"");
    peer.write_all(b"late").unwrap();
    until_queued(&ours, 4);
    epoll.says(EPOLLIN | EPOLLRDHUP);
    assert_eq!(recv(&ours, 1024).unwrap(), b"late");
    assert_eq!(recv(&ours, 1024).unwrap(), b"");
}

/// k27.
#[test]
fn a_close_with_unread_input_resets_what_the_peer_has_not_read_to_the_end() {
    let (ours, mut peer) = tcp();
    peer.write_all(b"question").unwrap();
    until_queued(&ours, 8);
    (&ours).write_all(b"reply").unwrap();
    drop(ours);
    until(&peer, POLLERR | POLLHUP);
    assert_eq!(recv(&peer, 1024).unwrap(), b"reply");
    assert_eq!(errno(recv(&peer, 1024)), libc::ECONNRESET);
}

/// k18.
#[test]
fn a_pipe_whose_other_end_has_gone_says_hup_or_err() {
    let (reader, writer) = pipe();
    drop(writer);
    until(&reader, POLLHUP);
    Epoll::with(&reader, ALL).says(EPOLLHUP);
    let (reader, writer) = pipe();
    drop(reader);
    until(&writer, POLLERR);
    Epoll::with(&writer, ALL).says(EPOLLOUT | EPOLLERR);
    // Also to whoever waits already, and asked for nothing.
    let (reader, writer) = pipe();
    let (reads, writes) = (Epoll::with(&reader, 0), Epoll::with(&writer, 0));
    drop(reader);
    writes.says(EPOLLERR);
    drop((reads, writes));
}

// ---- reads that are short, with more behind them ----------------------------------------------

/// k5.
#[test]
fn a_read_stops_in_front_of_an_urgent_byte_and_no_event_tells_of_the_rest() {
    for (in_line, rest) in [(0, &b"def"[..]), (1, b"Xdef")] {
        for bits in [EPOLLIN, EPOLLIN | EPOLLPRI] {
            let (ours, mut peer) = tcp();
            set_option(&ours, libc::SOL_SOCKET, libc::SO_OOBINLINE, in_line);
            let epoll = Epoll::with(&ours, bits);
            peer.write_all(b"abc").unwrap();
            send_urgent(&peer, b'X').unwrap();
            peer.write_all(b"def").unwrap();
            until(&ours, POLLIN | POLLPRI);
            until_sent(&peer);
            epoll.says(bits);
            assert_eq!(recv(&ours, 1024).unwrap(), b"abc");
            epoll.is_silent();
            assert_eq!(recv(&ours, 1024).unwrap(), rest);
        }
    }
}

/// k6.
#[test]
fn an_urgent_byte_that_comes_after_the_wait_is_an_event() {
    let (ours, mut peer) = tcp();
    let epoll = Epoll::with(&ours, EPOLLIN);
    peer.write_all(b"abc").unwrap();
    epoll.says(EPOLLIN);
    send_urgent(&peer, b'X').unwrap();
    peer.write_all(b"def").unwrap();
    until_sent(&peer);
    assert_eq!(recv(&ours, 1024).unwrap(), b"abc");
    epoll.says(EPOLLIN);
    assert_eq!(recv(&ours, 1024).unwrap(), b"def");
}

/// k7.
#[test]
fn a_read_of_a_unix_stream_stops_where_a_descriptor_was_sent_along() {
    let (ours, mut peer) = unix_pair();
    let epoll = Epoll::with(&ours, EPOLLIN | EPOLLRDHUP | EPOLLPRI);
    send_with(&peer, b"abc", &peer);
    peer.write_all(b"def").unwrap();
    epoll.says(EPOLLIN);
    assert_eq!(recv(&ours, 1024).unwrap(), b"abc");
    epoll.is_silent();
    assert_eq!(recv(&ours, 1024).unwrap(), b"def");
    // Also for who takes the descriptor.
    send_with(&peer, b"abc", &peer);
    peer.write_all(b"def").unwrap();
    epoll.says(EPOLLIN);
    let (n, sent) = recv_with(&ours, &mut [0; 1024]).unwrap();
    assert_eq!((n, sent.is_some()), (3, true));
    epoll.is_silent();
    assert_eq!(recv(&ours, 1024).unwrap(), b"def");
}

/// k8: since Linux 5.15, if the kernel was built with `CONFIG_AF_UNIX_OOB`.
#[test]
fn a_read_of_a_unix_stream_stops_in_front_of_an_urgent_byte() {
    let (ours, mut peer) = unix_pair();
    let epoll = Epoll::with(&ours, EPOLLIN);
    peer.write_all(b"abc").unwrap();
    if errno(send_urgent(&peer, b'X')) == libc::EOPNOTSUPP {
        return eprintln!("this kernel has no urgent data on Unix sockets");
    }
    peer.write_all(b"def").unwrap();
    epoll.says(EPOLLIN);
    assert_eq!(recv(&ours, 1024).unwrap(), b"abc");
    epoll.is_silent();
    assert_eq!(recv(&ours, 1024).unwrap(), b"def");
}

/// k9.
#[test]
fn a_read_of_a_terminal_a_datagram_socket_or_a_semaphore_is_one_message() {
    let (mut person, program) = terminal();
    nonblocking(&program);
    let epoll = Epoll::with(&program, EPOLLIN);
    person.write_all(b"one\ntwo\n").unwrap();
    until_queued(&program, 8);
    // A terminal's writer is at work elsewhere, and may say each line by an event.
    let events = (0..8).take_while(|_| !epoll.wait(10).is_empty()).count();
    assert!((1..8).contains(&events), "{events} events");
    assert_eq!(read(&program, 1024).unwrap(), b"one\n");
    epoll.is_silent();
    assert_eq!(read(&program, 1024).unwrap(), b"two\n");

    let (ours, peer) = unix::UnixDatagram::pair().unwrap();
    let epoll = Epoll::with(&ours, EPOLLIN);
    peer.send(b"one").unwrap();
    peer.send(b"two").unwrap();
    epoll.says(EPOLLIN);
    assert_eq!(recv(&ours, 1024).unwrap(), b"one");
    epoll.is_silent();
    assert_eq!(recv(&ours, 1024).unwrap(), b"two");

    let counter = semaphore(2);
    let epoll = Epoll::with(&counter, EPOLLIN);
    epoll.says(EPOLLIN);
    assert_eq!(read(&counter, 8).unwrap(), 1u64.to_ne_bytes());
    epoll.is_silent();
    assert_eq!(read(&counter, 8).unwrap(), 1u64.to_ne_bytes());
}

// ---- connections ------------------------------------------------------------------------------

/// k10.
#[test]
fn a_new_tcp_socket_says_out_and_hup_before_it_is_connected() {
    let socket = socket(libc::AF_INET);
    let epoll = Epoll::with(&socket, ALL);
    epoll.says(EPOLLOUT | EPOLLHUP);
    assert_eq!(option(&socket, libc::SOL_SOCKET, libc::SO_ERROR), 0);
    assert_eq!(errno(has_peer(&socket)), libc::ENOTCONN);
}

/// k11.
#[test]
fn a_unix_connect_to_a_full_queue_fails_and_then_looks_like_a_success() {
    let name = format!("waken-facts-{}", std::process::id());
    let address = unix::SocketAddr::from_abstract_name(&name).unwrap();
    let listener = unix::UnixListener::bind_addr(&address).unwrap();
    set_backlog(&listener, 0);
    let _fills_it = unix::UnixStream::connect_addr(&address).unwrap();
    let socket = socket(libc::AF_UNIX);
    assert_eq!(errno(connect_unix(&socket, name.as_bytes())), libc::EAGAIN);
    Epoll::with(&socket, ALL).says(EPOLLOUT | EPOLLHUP);
    assert_eq!(option(&socket, libc::SOL_SOCKET, libc::SO_ERROR), 0);
    assert_eq!(errno(has_peer(&socket)), libc::ENOTCONN);
}

/// k28.
#[test]
fn a_tcp_socket_can_be_connected_with_itself() {
    let socket = socket(libc::AF_INET);
    bind(&socket, &"127.0.0.1:0".parse().unwrap());
    let stream = TcpStream::from(socket);
    let own = stream.local_addr().unwrap();
    let started = errno(connect(&stream, &own));
    assert!([0, libc::EINPROGRESS].contains(&started), "{started}");
    until(&stream, libc::POLLOUT);
    assert_eq!((stream.local_addr().unwrap(), stream.peer_addr().unwrap()), (own, own));
    (&stream).write_all(b"to myself").unwrap();
    until_queued(&stream, 9);
    assert_eq!(recv(&stream, 1024).unwrap(), b"to myself");
}

/// A listener, and so many clients in its queue.
fn queued(clients: u32) -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let queue = (0..clients).map(|_| TcpStream::connect(address).unwrap()).collect();
    until_in_queue(&listener, clients);
    (listener, queue)
}

/// k14.
#[test]
fn a_client_that_has_reset_is_accepted_and_has_no_address_any_more() {
    let (listener, mut clients) = queued(1);
    let client = clients.remove(0);
    let from = client.local_addr().unwrap();
    reset(client);
    let (accepted, address) = listener.accept().unwrap();
    assert_eq!(address, from);
    until(&accepted, POLLERR | POLLHUP);
    assert_eq!(errno(has_peer(&accepted)), libc::ENOTCONN);
    assert_eq!(errno(recv(&accepted, 1024)), libc::ECONNRESET);
}

/// k15.
#[test]
fn no_event_repeats_what_an_accept_without_descriptors_has_left() {
    let (listener, _clients) = queued(1);
    let epoll = Epoll::with(&listener, EPOLLIN);
    epoll.says(EPOLLIN);
    assert_eq!(errno_of_accept_without_descriptors(&listener), libc::EMFILE);
    epoll.is_silent();
    listener.accept().unwrap();
}

/// k16.
#[test]
fn no_event_repeats_that_more_clients_are_in_the_queue() {
    let (listener, _clients) = queued(3);
    let epoll = Epoll::with(&listener, EPOLLIN);
    epoll.says(EPOLLIN);
    listener.accept().unwrap();
    epoll.is_silent();
    listener.accept().unwrap();
    listener.accept().unwrap();
    assert_eq!(errno(listener.accept()), libc::EAGAIN);
}

/// k17.
#[test]
fn a_refused_datagram_is_an_error_without_in_and_told_once() {
    // Bound, so that nobody else is; and deaf, since it hears only itself.
    let deaf = UdpSocket::bind("127.0.0.1:0").unwrap();
    deaf.connect(deaf.local_addr().unwrap()).unwrap();
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    ours.set_nonblocking(true).unwrap();
    ours.connect(deaf.local_addr().unwrap()).unwrap();
    ours.send(b"anybody?").unwrap();
    until(&ours, POLLERR);
    let epoll = Epoll::with(&ours, ALL);
    epoll.says(EPOLLOUT | EPOLLERR);
    assert_eq!(errno(recv(&ours, 1024)), libc::ECONNREFUSED);
    assert_eq!(errno(recv(&ours, 1024)), libc::EAGAIN);
}

// ---- when an event comes ----------------------------------------------------------------------

/// k19.
#[test]
fn each_segment_is_an_event_which_says_out_as_well() {
    let (ours, mut peer) = tcp();
    let epoll = Epoll::with(&ours, ALL);
    epoll.says(EPOLLOUT);
    for unread in 1..=5 {
        peer.write_all(b"x").unwrap();
        until_queued(&ours, unread);
        epoll.says(EPOLLIN | EPOLLOUT);
        epoll.is_silent();
    }
}

/// k20: how much of it depends on the sizes of the writes, and on the kernel's. Of 64 KiB each: at 196,608 of 233,152 bytes.
#[test]
fn room_on_a_unix_stream_is_announced_when_most_of_it_is_free() {
    for size in [4096, 16 << 10, 64 << 10] {
        let (ours, peer) = unix_pair();
        let epoll = Epoll::with(&ours, EPOLLOUT);
        epoll.says(EPOLLOUT);
        let (mut sent, mut drained) = (0, 0);
        while let Ok(n) = send(&ours, &vec![b'x'; size]) {
            sent += n;
        }
        epoll.is_silent();
        while epoll.wait(0).is_empty() {
            let n = recv(&peer, 1024).map_or(0, |bytes| bytes.len());
            assert!(n > 0, "all {sent} bytes are drained, and no event comes");
            drained += n;
        }
        println!("in writes of {size}: room is announced at {drained} of {sent} bytes");
        assert!(drained * 3 > sent * 2, "{drained} of {sent} bytes");
    }
}

/// k22.
#[test]
fn each_write_to_an_eventfd_is_an_edge_and_a_full_one_says_would_block() {
    let counter = eventfd();
    let epoll = Epoll::with(&counter, EPOLLIN);
    epoll.is_silent();
    for _ in 0..3 {
        (&counter).write_all(&1u64.to_ne_bytes()).unwrap();
        epoll.says(EPOLLIN);
        epoll.is_silent();
    }
    let full = u64::MAX - 1;
    (&counter).write_all(&(full - 3).to_ne_bytes()).unwrap();
    assert_eq!(errno((&counter).write(&1u64.to_ne_bytes())), libc::EAGAIN);
    assert_eq!(read(&counter, 8).unwrap(), full.to_ne_bytes());
}

/// k12.
#[test]
fn a_closed_descriptor_with_a_duplicate_goes_on_to_have_events() {
    let (ours, mut peer) = tcp();
    let epoll = Epoll::new();
    // At a number where nobody opens anything in the meantime.
    let watched = duplicate_from(&ours, 200);
    let number = watched.as_raw_fd();
    epoll.add(&watched, EPOLLIN).unwrap();
    drop(watched);
    peer.write_all(b"x").unwrap();
    assert_eq!(epoll.wait(5000), [(number as u64, EPOLLIN)]);
    assert_eq!(errno(epoll.remove(number)), libc::EBADF);
    peer.write_all(b"x").unwrap();
    assert_eq!(epoll.wait(5000), [(number as u64, EPOLLIN)]);
    // The last one takes the registration with it.
    drop(ours);
    epoll.is_silent();
}

/// k13.
#[test]
fn a_forked_child_takes_a_registration_away_from_its_parent() {
    let (ours, mut peer) = tcp();
    let epoll = Epoll::with(&ours, EPOLLIN);
    peer.write_all(b"x").unwrap();
    epoll.says(EPOLLIN);
    assert_eq!(in_a_fork(|| epoll.remove(ours.as_raw_fd()).is_err().into()), 0);
    peer.write_all(b"x").unwrap();
    until_queued(&ours, 2);
    epoll.is_silent();
    assert_eq!(errno(epoll.remove(ours.as_raw_fd())), libc::ENOENT);
}

// ---- what is refused --------------------------------------------------------------------------

/// k23.
#[test]
fn files_directories_and_the_null_device_cannot_be_watched() {
    let epoll = Epoll::new();
    for path in [env!("CARGO_MANIFEST_DIR"), concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")] {
        assert_eq!(errno(epoll.add(&File::open(path).unwrap(), EPOLLIN)), libc::EPERM, "{path}");
    }
    let null = File::open("/dev/null").unwrap();
    assert_eq!(errno(epoll.add(&null, EPOLLIN)), libc::EPERM);
}

/// k24.
#[test]
fn no_events_too_many_events_and_too_many_nanoseconds_are_invalid() {
    let epoll = Epoll::new();
    assert_eq!(errno(epoll.wait_for(0)), libc::EINVAL);
    assert_eq!(errno(epoll.wait_for(i32::MAX)), libc::EINVAL);
    assert_eq!(epoll.wait_for(1).unwrap(), 0);
    match epoll.wait_ns(2_000_000_000) {
        Some(result) => assert_eq!(errno(result), libc::EINVAL),
        None => eprintln!("this kernel has no epoll_pwait2"),
    }
}

/// k26: of `sendmsg`. `writev` says `EINVAL` instead.
#[test]
fn more_than_1024_slices_are_refused() {
    let (ours, _peer) = tcp();
    let slices = [IoSlice::new(b"x"); 1025];
    let [sent, written] = send_slices(&ours, &slices);
    assert_eq!((errno(sent), errno(written)), (libc::EMSGSIZE, libc::EINVAL));
    let [sent, written] = send_slices(&ours, &slices[1..]);
    assert_eq!((sent.unwrap(), written.unwrap()), (1024, 1024));
}

/// S09: so a count of that is "short", with more behind it. The rule needs the number.
#[test]
fn one_call_moves_at_most_two_gibibytes_less_a_page() {
    let most = raw::most_at_once(3 << 30);
    assert_eq!(most, (1 << 31) - 4096, "it is not the same with every size of page");
}

// ---- the clock --------------------------------------------------------------------------------

/// k25: never early is exact; how late is up to the machine, so it is the best of many.
#[test]
fn a_wait_is_never_early_and_one_in_nanoseconds_can_be_short() {
    let epoll = Epoll::new();
    for _ in 0..50 {
        let start = Instant::now();
        assert_eq!(epoll.wait(2), []);
        assert!(start.elapsed() >= Duration::from_millis(2), "{:?}", start.elapsed());
    }
    let (short, begin) = (Duration::from_micros(200), Instant::now());
    let mut best = Duration::MAX;
    while best >= Duration::from_millis(1) && begin.elapsed() < Duration::from_secs(5) {
        let start = Instant::now();
        let Some(waited) = epoll.wait_ns(200_000) else {
            return eprintln!("this kernel has no epoll_pwait2");
        };
        assert_eq!(waited.unwrap(), 0);
        assert!(start.elapsed() >= short, "{:?}", start.elapsed());
        best = best.min(start.elapsed());
    }
    assert!(best < Duration::from_millis(1), "200 µs take {best:?} at best");
}
