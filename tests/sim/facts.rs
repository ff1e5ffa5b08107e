//! The model against what was measured on Linux 6.18 (HAZARDS, section 0): where it says less than the real kernel does, the
//! schedules would be too harsh, and where it says more, they would prove too little.

use crate::kernel::{Act, FIRST_FD, Kernel, MessageKind, Plan, Sort, Waited};
use libc::{EAGAIN, ECONNRESET, EMFILE, EPOLL_CTL_ADD};
use libc::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP};
use std::ffi::c_int;

const ALL: c_int = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI;

/// A kernel without whims.
fn kernel(generous: bool) -> Kernel {
    let mut kernel = Kernel::new(0, false);
    kernel.mood = crate::kernel::Mood { generous, ..Default::default() };
    kernel.epoll_create(0);
    kernel
}

fn stream(k: &mut Kernel, sort: Sort, script: &[Act]) -> c_int {
    let plan =
        Plan { sort, script: script.to_vec(), flow_in: 1, flow_out: 1, room: 90, excused: true };
    let fd = k.open_stream(plan);
    k.fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK);
    fd
}

fn register(k: &mut Kernel, fd: c_int, bits: c_int) {
    assert_eq!(k.epoll_ctl(EPOLL_CTL_ADD, fd, (bits as u32, fd as u64)), 0);
}

fn acts(k: &mut Kernel, fd: c_int, n: usize) {
    (0..n).for_each(|_| k.act(fd));
}

/// The bits of the one event there is, or 0.
fn event(k: &mut Kernel) -> c_int {
    match k.wait(256, Some(0)) {
        Waited::Found(events) if events.is_empty() => 0,
        Waited::Found(events) if events.len() == 1 => events[0].0 as c_int,
        _ => panic!("more than one"),
    }
}

fn read(k: &mut Kernel, fd: c_int) -> i64 {
    k.read(fd, &mut [&mut [0; 1024]], false)
}

const AGAIN: i64 = -(EAGAIN as i64);

#[test]
fn k1_k2_no_event_comes_for_an_end_that_was_queued_behind_the_bytes() {
    for (interest, told) in [(EPOLLIN, EPOLLIN), (ALL & !EPOLLOUT, EPOLLIN | EPOLLRDHUP)] {
        let mut k = kernel(false);
        let fd = stream(&mut k, Sort::Tcp, &[Act::Send(3), Act::Fin]);
        register(&mut k, fd, interest);
        acts(&mut k, fd, 2);
        assert_eq!(event(&mut k), told);
        assert_eq!((read(&mut k, fd), event(&mut k), read(&mut k, fd)), (3, 0, 0));
    }
}

#[test]
fn k3_k6_an_event_comes_for_an_end_or_an_urgent_byte_after_the_wait() {
    for (act, bit) in [(Act::Fin, EPOLLRDHUP), (Act::Urgent, EPOLLPRI)] {
        let mut k = kernel(false);
        let fd = stream(&mut k, Sort::Tcp, &[Act::Send(3), act]);
        register(&mut k, fd, ALL);
        event(&mut k);
        acts(&mut k, fd, 1);
        assert_eq!(event(&mut k), EPOLLIN | EPOLLOUT);
        acts(&mut k, fd, 1);
        assert_eq!(read(&mut k, fd), 3);
        assert_ne!(event(&mut k) & bit, 0);
    }
}

#[test]
fn k4_bytes_then_the_reset_then_the_end() {
    let mut k = kernel(false);
    let fd = stream(&mut k, Sort::Tcp, &[Act::Send(3), Act::Reset]);
    register(&mut k, fd, ALL & !EPOLLOUT);
    acts(&mut k, fd, 2);
    assert_eq!(event(&mut k), EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP);
    let reads = [read(&mut k, fd), read(&mut k, fd), read(&mut k, fd)];
    assert_eq!(reads, [3, -i64::from(ECONNRESET), 0]);
}

#[test]
fn k5_k7_a_read_ends_at_an_urgent_byte_and_at_a_descriptor_and_no_event_comes() {
    for (sort, act) in [(Sort::Tcp, Act::Urgent), (Sort::Unix, Act::Descriptor)] {
        let mut k = kernel(false);
        let fd = stream(&mut k, sort, &[Act::Send(3), act, Act::Send(3)]);
        register(&mut k, fd, ALL);
        acts(&mut k, fd, 3);
        assert_eq!(event(&mut k) & EPOLLPRI != 0, sort == Sort::Tcp);
        assert_eq!((read(&mut k, fd), event(&mut k), read(&mut k, fd)), (3, 0, 3));
        assert_eq!(read(&mut k, fd), AGAIN);
    }
}

#[test]
fn k9_each_message_is_short_with_more_behind_it_and_no_event() {
    let mut k = kernel(false);
    let fd = k.open_messages(MessageKind::Semaphore, vec![Act::Send(2)]);
    k.fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK);
    register(&mut k, fd, EPOLLIN);
    acts(&mut k, fd, 1);
    assert_eq!(event(&mut k), EPOLLIN);
    assert_eq!((read(&mut k, fd), event(&mut k), read(&mut k, fd)), (8, 0, 8));
    assert_eq!(read(&mut k, fd), AGAIN);
}

#[test]
fn k10_a_fresh_socket_is_writable_and_hung_up() {
    let mut k = kernel(false);
    let (script, room) = (vec![Act::Connected], 90);
    let plan = Plan { sort: Sort::Tcp, script, flow_in: 1, flow_out: 1, room, excused: true };
    k.to_connect.push_back(plan);
    let fd = k.socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK) as c_int;
    register(&mut k, fd, ALL);
    assert_eq!(event(&mut k), EPOLLOUT | EPOLLHUP);
    assert_eq!(k.take_error(fd), 0);
    assert_eq!(k.peer_name(fd), -i64::from(libc::ENOTCONN));
}

#[test]
fn k15_k16_no_event_comes_for_clients_that_are_left_in_the_queue() {
    let mut k = kernel(false);
    let plan =
        Plan { sort: Sort::Tcp, script: vec![], flow_in: 1, flow_out: 1, room: 90, excused: true };
    let script = vec![Act::Client, Act::Client, Act::Client, Act::AcceptError(EMFILE)];
    let fd = k.open_listener(vec![plan; 3], script);
    k.fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK);
    register(&mut k, fd, EPOLLIN);
    acts(&mut k, fd, 3);
    assert_eq!(event(&mut k), EPOLLIN);
    assert!(k.accept(fd, libc::SOCK_NONBLOCK) > i64::from(FIRST_FD));
    assert_eq!(event(&mut k), 0);
    acts(&mut k, fd, 1);
    assert_eq!(k.accept(fd, libc::SOCK_NONBLOCK), -i64::from(EMFILE));
    assert_eq!(event(&mut k), 0);
}

#[test]
fn k18_a_pipe_hangs_up_without_being_readable_and_breaks_without_being_writable() {
    let mut k = kernel(false);
    let fd = k.open_messages(MessageKind::Pipe, vec![Act::Fin]);
    register(&mut k, fd, EPOLLIN | EPOLLRDHUP);
    acts(&mut k, fd, 1);
    assert_eq!(event(&mut k), EPOLLHUP);
    let full = stream(&mut k, Sort::Pipe, &[Act::Reset]);
    let bytes: Vec<u8> = (0..90).map(|at| crate::kernel::pattern(1, at)).collect();
    assert_eq!(k.write(full, &[&bytes], 0), 90);
    register(&mut k, full, EPOLLOUT);
    assert_eq!((event(&mut k), k.write(full, &[b"x"], 0)), (0, AGAIN));
    acts(&mut k, full, 1);
    assert_eq!(event(&mut k), EPOLLERR);
}

#[test]
fn k19_a_second_segment_is_told_of_again_with_out_or_at_the_least_not_at_all() {
    for (generous, again) in [(true, EPOLLIN | EPOLLOUT), (false, 0)] {
        let mut k = kernel(generous);
        let fd = stream(&mut k, Sort::Tcp, &[Act::Send(3), Act::Send(3)]);
        register(&mut k, fd, ALL);
        acts(&mut k, fd, 1);
        assert_eq!(event(&mut k), EPOLLIN | EPOLLOUT);
        // A generous kernel may have told it twice.
        while event(&mut k) != 0 {}
        acts(&mut k, fd, 1);
        assert_eq!(event(&mut k), again);
    }
}

#[test]
fn k22_each_write_to_an_eventfd_is_an_event() {
    let mut k = kernel(false);
    let fd = k.eventfd(0, libc::EFD_NONBLOCK) as c_int;
    register(&mut k, fd, EPOLLIN);
    for _ in 0..3 {
        k.signal(fd);
        assert_eq!(event(&mut k), EPOLLIN);
        assert_eq!(event(&mut k), 0);
    }
}
