//! What the borrow checker refuses. As `types.rs`: each line that ends in `//~` and a code, and no other.

use std::future::pending;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::thread;
use waken::io::AsyncFd;
use waken::net::{AsyncTcpListener, AsyncTcpStream, TcpSocket};
use waken::task::JoinSet;
use waken::{JoinHandle, Remote, Runtime};

fn give<T>() -> T {
    panic!("these files are compiled, and never run")
}

// ---- what is spawned outlives everything ------------------------------------------------------

fn a_task_does_not_borrow() {
    let text = String::new();
    waken::spawn(async { text.len() }); //~ E0373
}

fn a_task_does_not_borrow_what_is_given_to_it(text: &str) {
    waken::spawn(async move { text.len() }); //~ E0521
}

fn a_task_of_a_runtime_does_not_borrow(runtime: &Runtime) {
    let text = String::new();
    let borrowed = &text; //~ E0597
    runtime.spawn(async move { borrowed.len() });
}

fn a_task_does_not_borrow_its_runtime() {
    let runtime = Runtime::new().unwrap();
    let metrics = &runtime; //~ E0597
    runtime.spawn(async move { metrics.metrics() });
}

fn a_guard_does_not_outlive_its_runtime() {
    let guard;
    let runtime = Runtime::new().unwrap();
    guard = runtime.enter(); //~ E0597
}

fn a_member_does_not_borrow(set: &mut JoinSet<usize>) {
    let text = String::new();
    set.spawn(async { text.len() }); //~ E0373
}

fn a_named_task_does_not_borrow() {
    let text = String::new();
    waken::task::Builder::new().spawn(async { text.len() }); //~ E0373
}

fn what_is_spawned_from_elsewhere_does_not_borrow(remote: Remote) {
    let text = String::new();
    let _ = remote.spawn(|| async { 1 + text.len() }); //~ E0373
}

fn an_output_does_not_borrow(runtime: &Runtime) {
    let text = String::new();
    let _: JoinHandle<&str> = runtime.spawn({
        let borrowed = &*text; //~ E0597
        async move { borrowed }
    });
}

// ---- a runtime and its guard ------------------------------------------------------------------

fn a_runtime_is_not_dropped_inside_its_own_block_on() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async move { //~ E0505
        drop(runtime);
    });
}

fn a_runtime_does_not_end_before_its_guard() {
    let runtime = Runtime::new().unwrap();
    let guard = runtime.enter();
    drop(runtime); //~ E0505
    drop(guard);
}

fn a_guard_does_not_leave_the_function_of_its_runtime() -> waken::runtime::EnterGuard<'static> {
    let runtime = Runtime::new().unwrap();
    runtime.enter() //~ E0515
}

// ---- a future borrows its socket and its buffer -----------------------------------------------

fn a_stream_is_not_dropped_while_it_is_read(stream: AsyncTcpStream) {
    let mut buf = [0; 8];
    let reading = stream.read(&mut buf);
    drop(stream); //~ E0505
    waken::block_on(reading).unwrap();
}

fn a_buffer_is_not_looked_at_while_it_is_read_into(stream: &AsyncTcpStream) {
    let mut buf = [0; 8];
    let reading = stream.read(&mut buf);
    assert_eq!(buf[0], 0); //~ E0502
    waken::block_on(reading).unwrap();
}

fn a_buffer_is_not_read_into_twice(stream: &AsyncTcpStream) {
    let mut buf = [0; 8];
    let first = stream.read(&mut buf);
    let second = stream.read(&mut buf); //~ E0499
    waken::block_on(async { (first.await.unwrap(), second.await.unwrap()) });
}

fn what_is_written_stays_until_it_is(stream: &AsyncTcpStream) {
    let writing = {
        let bytes = vec![0; 8];
        stream.write_all(&bytes) //~ E0597
    };
    waken::block_on(writing).unwrap();
}

fn the_clients_of_a_listener_end_with_it(listener: AsyncTcpListener) {
    let incoming = listener.incoming();
    drop(listener); //~ E0505
    drop(incoming);
}

// ---- what was given away is gone --------------------------------------------------------------

fn a_stream_is_gone_when_it_was_taken_out(stream: AsyncTcpStream) {
    let std = stream.into_std();
    let _ = stream.local_addr(); //~ E0382
    drop(std);
}

fn a_stream_is_gone_when_it_was_split(stream: AsyncTcpStream) {
    let halves = stream.into_split();
    let _ = stream.local_addr(); //~ E0382
    drop(halves);
}

fn a_half_is_gone_when_it_was_reunited(stream: AsyncTcpStream) {
    let (read, write) = stream.into_split();
    let whole = read.reunite(write);
    drop(read); //~ E0382
    drop(whole);
}

fn a_socket_is_gone_when_it_listens(socket: TcpSocket) {
    let listener = socket.listen(1);
    let _ = socket.local_addr(); //~ E0382
    drop(listener);
}

fn a_descriptor_is_gone_when_it_was_taken_out(fd: AsyncFd<OwnedFd>) {
    let inner = fd.into_inner();
    let _ = fd.get_ref(); //~ E0382
    drop(inner);
}

fn a_handle_is_gone_when_it_was_awaited(handle: JoinHandle<u8>) {
    waken::block_on(async move {
        let _ = handle.await;
        let _ = handle.await; //~ E0382
    });
}

fn the_inner_of_a_descriptor_is_not_kept_beyond_it() {
    let inner = {
        let mut fd: AsyncFd<OwnedFd> = give();
        fd.get_mut() //~ E0597
    };
    let _ = inner;
}

fn a_member_that_is_joined_borrows_its_set(mut set: JoinSet<u8>) {
    let joining = set.join_next();
    set.abort_all(); //~ E0499
    drop(joining);
}

fn a_pinned_future_does_not_move() {
    let future = pin!(pending::<()>());
    thread::scope(|_| waken::block_on(future));
    drop(future); //~ E0382
}
