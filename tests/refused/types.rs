//! What the types refuse. A line that ends in `//~` and a code is the only place where the compiler may find fault, and
//! must, with that code, or that message where there is none. Compiled by `tests/refused.rs`.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, RawWakerVTable, Wake, Waker};
use std::thread;
use waken::io::AsyncFd;
use waken::net::{AsyncTcpStream, AsyncUnixStream, TcpSocket};
use waken::runtime::{Builder, EnterGuard};
use waken::task::JoinSet;
use waken::{JoinHandle, Remote, Runtime, Workers};

fn give<T>() -> T {
    panic!("these files are compiled, and never run")
}

// ---- a runtime stays on its thread ------------------------------------------------------------

fn a_runtime_does_not_move_to_a_thread(runtime: Runtime) {
    thread::spawn(move || runtime.block_on(async {})); //~ E0277
}

fn a_runtime_is_not_shared(runtime: &'static Runtime) {
    thread::spawn(move || runtime.metrics()); //~ E0277
}

fn a_runtime_is_not_shared_by_a_scope(runtime: &Runtime) {
    thread::scope(|scope| {
        scope.spawn(|| runtime.metrics()); //~ E0277
    });
}

fn a_runtime_is_no_static() {
    static RUNTIME: Option<Runtime> = None; //~ E0277
}

fn a_guard_stays_on_its_thread(guard: EnterGuard<'static>) {
    thread::spawn(move || drop(guard)); //~ E0277
}

fn a_runtime_behind_a_lock_stays_as_well(runtime: std::sync::Mutex<Runtime>) {
    thread::spawn(move || drop(runtime)); //~ E0277
}

fn a_runtime_does_not_go_through_a_channel(runtime: Runtime) {
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || drop(told.recv())); //~ E0277
    tell.send(runtime).unwrap();
}

fn the_future_of_block_on_does_not_take_the_runtime_across(runtime: Runtime) {
    fn crosses<T: Send>(_: T) {}
    crosses(async move { runtime.metrics() }); //~ future cannot be sent between threads safely
}

// ---- what goes to another thread is Send ------------------------------------------------------

fn what_is_spawned_from_elsewhere_is_made_there(remote: Remote) {
    let local = Rc::new(1);
    let _ = remote.spawn(move || async move { *local }); //~ E0277
}

fn what_comes_back_from_there_is_send(remote: Remote) {
    let _ = remote.spawn(|| async { Rc::new(1) }); //~ E0277
}

fn workers_share_nothing_local(workers: Workers) {
    let local = Rc::new(1);
    let _ = workers.run(move |_| { //~ E0277
        let _local = local.clone();
        async {}
    });
}

fn workers_give_nothing_local_back(workers: Workers) {
    let _ = workers.run(|_| async { Rc::new(1) }); //~ E0277
}

fn workers_share_nothing_that_is_not_sync(workers: Workers) {
    let cell = Cell::new(1);
    let _ = workers.run(move |_| { //~ E0277
        cell.set(2);
        async {}
    });
}

fn the_handle_of_a_local_output_stays(handle: JoinHandle<Rc<u8>>) {
    thread::spawn(move || drop(handle)); //~ E0277
}

fn a_set_of_local_outputs_stays(set: JoinSet<Rc<u8>>) {
    thread::spawn(move || drop(set)); //~ E0277
}

fn a_handle_that_aborts_on_drop_stays_with_its_local_output(handle: JoinHandle<Rc<u8>>) {
    let aborting = handle.abort_on_drop();
    thread::spawn(move || drop(aborting)); //~ E0277
}

fn an_output_that_is_not_sync_is_not_shared_by_its_handle(handle: &'static JoinHandle<Cell<u8>>) {
    thread::spawn(move || handle.is_finished()); //~ E0277
}

fn a_timeout_is_as_its_future_is() {
    let local = Rc::new(1);
    let timed = waken::time::timeout(give(), async move { *local });
    thread::spawn(move || drop(timed)); //~ future cannot be sent between threads safely
}

fn who_is_told_of_long_polls_may_be_called_by_any_worker(builder: Builder) {
    let local = Rc::new(1);
    let _ = builder.on_long_poll(give(), move |_, _| drop(local.clone())); //~ E0277
}

struct WithLocal(OwnedFd, Rc<u8>);

impl AsFd for WithLocal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn a_descriptor_stays_with_what_is_local_beside_it(fd: AsyncFd<WithLocal>) {
    thread::spawn(move || drop(fd)); //~ E0277
}

fn a_context_stays_on_its_thread() {
    let context: &'static mut Context<'static> = give();
    thread::spawn(move || context.waker().wake_by_ref()); //~ E0277
}

fn a_waker_that_is_made_of_something_local_is_refused() {
    struct Local(Rc<u8>);
    impl Wake for Local {
        fn wake(self: Arc<Self>) {}
    }
    let _ = Waker::from(Arc::new(Local(give()))); //~ E0277
}

fn a_waker_by_hand_is_unsafe(table: &'static RawWakerVTable) {
    let local: *const () = Rc::into_raw(Rc::new(1)).cast();
    let _ = Waker::new(local, table); //~ E0133
}

// ---- what is not there ------------------------------------------------------------------------

fn what_is_one_is_not_cloned(runtime: Runtime, handle: JoinHandle<u8>, stream: AsyncTcpStream) {
    let _ = runtime.clone(); //~ E0599
    let _ = handle.clone(); //~ E0599
    let _ = stream.clone(); //~ E0599
}

fn halves_of_two_kinds_do_not_reunite(tcp: AsyncTcpStream, unix: AsyncUnixStream) {
    let (read, _) = tcp.into_split();
    let (_, write) = unix.into_split();
    let _ = read.reunite(write); //~ E0308
}

fn a_descriptor_has_an_owner() {
    let _ = AsyncFd::new(0); //~ E0277
}

fn a_future_is_not_polled_where_it_can_move(cx: &mut Context<'_>) -> Poll<()> {
    let mut future = async {};
    Pin::new(&mut future).poll(cx) //~ E0277
}

fn a_timeout_is_not_polled_where_its_future_can_move(cx: &mut Context<'_>) {
    let mut timed = waken::time::timeout(give(), async {});
    let _ = Pin::new(&mut timed).poll(cx); //~ E0277
}

fn a_socket_is_not_cloned(socket: TcpSocket) {
    let _ = socket.clone(); //~ E0599
}

fn who_awaits_a_number_is_told(_: ()) {
    let _ = waken::spawn(5); //~ E0277
    let _ = waken::block_on(5); //~ E0277
}

fn nobody_else_implements_addresses() {
    struct Mine;
    impl waken::net::ToSocketAddrs for Mine {} //~ E0277
}

fn nobody_makes_up_an_id(id: waken::task::Id) {
    let _ = id.0; //~ E0616
    let _ = waken::task::Id(1); //~ E0423
}
