//! `runtime/reactor.rs`, from inside.

use super::*;
use crate::sys::{EPOLLHUP, EPOLLIN, EPOLLPRI, EPOLLRDHUP};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// A reactor that watches so many sockets, and their peers.
fn watching(n: usize) -> (Reactor, Vec<(UnixStream, UnixStream)>) {
    let reactor = Reactor::new(1, Arc::new(Epoll::new().unwrap()), 1024, Alarm::new(None));
    let pairs: Vec<_> = (0..n).map(|_| UnixStream::pair().unwrap()).collect();
    for (ours, _) in &pairs {
        reactor.register(ours.as_raw_fd(), EPOLLIN).unwrap();
    }
    (reactor, pairs)
}

fn event(reactor: &Reactor, peer: &mut UnixStream) {
    let before = reactor.seen.get();
    peer.write_all(b"!").unwrap();
    reactor.wait_at_most(Duration::ZERO).unwrap();
    assert_eq!(reactor.seen.get() - before, 1);
}

#[test]
fn of_descriptors_that_take_turns_the_crowd_is_their_number() {
    for n in [1, 3, 50] {
        let (reactor, mut pairs) = watching(n);
        for round in 0..3 {
            for (_, peer) in &mut pairs {
                event(&reactor, peer);
                let crowd = reactor.crowd();
                assert!(round == 0 || crowd == n as u32, "{crowd} of {n}");
            }
        }
    }
}

#[test]
fn a_wait_that_finds_nothing_disperses_no_crowd() {
    let (reactor, mut pairs) = watching(50);
    for _ in 0..2 {
        for (_, peer) in &mut pairs {
            event(&reactor, peer);
            reactor.wait_at_most(Duration::ZERO).unwrap();
            reactor.crowd();
        }
    }
    assert_eq!(reactor.crowd(), 50, "asked twice, after a wait that found none");
}

#[test]
fn one_descriptor_is_no_crowd_however_many_events_it_had_meanwhile() {
    let (reactor, mut pairs) = watching(1);
    for _ in 0..100 {
        event(&reactor, &mut pairs[0].1);
    }
    assert_eq!(reactor.crowd(), 1);
}

/// E07: who waits for room is not told that the peer will send no more.
#[test]
fn the_end_of_what_a_peer_sends_makes_no_room_to_write() {
    let source = Source::new(1, 0, -1, 0);
    source.clear_ready::<source::Write>();
    source.dispatch(EPOLLIN | EPOLLRDHUP, &mut Foreign::new());
    assert!(!source.is_ready::<source::Write>() && source.is_ready::<source::Read>());
    source.dispatch(EPOLLIN | EPOLLRDHUP | EPOLLHUP, &mut Foreign::new());
    assert!(source.is_ready::<source::Write>());
}

/// E03: whoever takes an urgent byte otherwise than by us leaves its mark in the stream, where reads end.
#[test]
fn urgent_data_is_remembered_when_the_next_event_tells_nothing_of_it() {
    let source = Source::new(1, 0, -1, 0);
    source.short_read();
    assert!(!source.is_ready::<source::Read>(), "there was never any");
    source.dispatch(EPOLLIN | EPOLLPRI, &mut Foreign::new());
    source.dispatch(EPOLLIN, &mut Foreign::new());
    source.short_read();
    assert!(source.is_ready::<source::Read>(), "something may be behind the mark");
}
