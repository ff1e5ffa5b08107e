//! What is stated where a user looks for it: that it stands there, and which tests pin what it says.
#[path = "support/peer.rs"]
mod peer;
#[path = "support/sources.rs"]
mod sources;
mod support;

use sources::{root, sources};
use std::fs;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use support::watched;
use waken::Runtime;
use waken::io::AsyncFd;
use waken::task::consume_budget;

/// What is stated, in which file, and the tests without which it would be a mere statement.
const STATED: &[(&str, &str, &[&str])] = &[
    // N01
    (
        "runtime/tcp/listener.rs",
        "Out of descriptors or memory (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`): once, and then the next call waits first, \
         10 ms and each time twice as long up to 1 s",
        &["a_loop_around_accept_neither_spins_nor_stalls", "a_success_resets_the_pause"],
    ),
    (
        "runtime/tcp/listener.rs",
        "A client that has gone again meanwhile, and the network errors that accept(2) says to retry, do not come out of here.",
        &["a_client_that_has_reset_already_is_accepted_and_its_first_read_says_so"],
    ),
    // N02
    (
        "runtime/tcp/stream.rs",
        "Dropping it closes the connection; if received bytes are left unread, the kernel tells the peer by a reset, \
         which can cost it the last bytes we sent",
        &["dropping_with_unread_input_resets_and_reading_to_the_end_first_does_not"],
    ),
    (
        "runtime/tcp/halves.rs",
        "Dropping it shuts down writing: the peer reads an end of file.",
        &["dropping_the_write_half_ends_the_sending_and_forgetting_it_does_not"],
    ),
    // N03
    (
        "runtime/task.rs",
        "Dropping it *detaches* the task, which runs on alone, as a thread of std's does.",
        &["a_task_whose_handle_is_dropped_runs_on"],
    ),
    (
        "runtime/task/set.rs",
        "A group of tasks. Dropping it aborts them all.",
        &["dropping_the_set_aborts_its_members_before_the_next_turn_ends"],
    ),
    // N04
    (
        "runtime/lib.rs",
        "In a forked child the runtimes of the parent panic when they are run, and what is dropped there is still the \
         parent's; the child may make runtimes of its own.",
        &[
            "a_child_cannot_enter_the_runtime_of_its_parent",
            "a_child_cannot_go_on_with_the_loop_of_its_parent",
            "what_the_child_drops_the_parent_keeps",
        ],
    ),
    // N05, beside the test below
    (
        "runtime/tcp/stream.rs",
        "Cancel safe: a read that is dropped before it is ready has taken nothing.",
        &["fifty_thousand_dropped_reads_lose_no_byte"],
    ),
    (
        "runtime/tcp/listener.rs",
        "Cancel safe: a client that was not returned stays in the queue.",
        &["a_cancelled_accept_loses_no_client"],
    ),
    (
        "runtime/tcp/stream.rs",
        "Cancel safe: a connection that is given up is closed.",
        &["connections_that_are_given_up_leave_nothing"],
    ),
    (
        "runtime/task.rs",
        "Awaiting is cancel safe: a `JoinHandle` can be awaited by reference, given up, and awaited again.",
        &["a_join_can_be_given_up_and_taken_up_again"],
    ),
    (
        "runtime/time/interval.rs",
        "Waits for the next tick, and returns when it was due. Cancel safe.",
        &["a_reset_starts_a_new_period_and_a_dropped_tick_is_not_lost"],
    ),
    // N06
    (
        "runtime/time.rs",
        "The clock is `CLOCK_MONOTONIC`: it is never set, and stands still while the machine is suspended. No timer is early. \
         From Linux 5.11 on it is waited for in nanoseconds, and usually less than 0.1 ms late; before, in milliseconds, \
         rounded up.",
        &[
            "no_sleep_is_ever_early_and_the_usual_one_is_not_a_millisecond_late",
            "the_clock_is_the_monotonic_one",
            "timers_work_where_a_filter_forbids_the_newest_call",
        ],
    ),
    (
        "runtime/time.rs",
        "Timers are looked at once a turn, so a poll that takes long makes them late.",
        &["a_timer_that_is_due_waits_for_one_turn_of_a_thousand_busy_tasks"],
    ),
    // N07
    (
        "runtime/lib.rs",
        "A turn polls each task once that was ready when it began; then the kernel brings up to 256 events, and timers \
         that are due fire. Within one poll a task may have 128 operations that are ready; then it lets the others go first.",
        &[
            "a_task_is_polled_once_a_turn",
            "one_poll_has_128_operations_and_one_turn_256_events",
            "timers_fire_though_another_task_yields_for_ever",
        ],
    ),
    (
        "README.md",
        "lets the others go first after 128 operations",
        &["one_poll_has_128_operations_and_one_turn_256_events"],
    ),
    // N08
    (
        "runtime/lib.rs",
        "| [`Runtime`], [`EnterGuard`](runtime::EnterGuard) | no | cannot get there |",
        &["fifty_misuses_do_not_compile"],
    ),
    (
        "runtime/lib.rs",
        "| sockets, listeners, [`io::AsyncFd`] | yes (an `AsyncFd` if its value is) | every operation is an error that says so; \
         a drop closes it |",
        &[
            "every_public_type_says_here_whether_it_crosses_threads",
            "sockets_on_another_thread_are_refused_and_may_be_dropped_there",
            "sockets_under_another_runtime_of_the_thread_are_refused",
        ],
    ),
    (
        "runtime/lib.rs",
        "| yes (a `Timeout` if its future is) | waits with the runtime that polls it |",
        &[
            "a_sleep_that_is_polled_under_another_runtime_registers_there_and_leaves_the_first",
            "a_sleep_that_is_polled_on_another_thread_registers_there_and_leaves_home",
        ],
    ),
    (
        "runtime/lib.rs",
        "| [`JoinHandle`], [`JoinSet`] | if the output is | awaiting it panics while its runtime lives; a drop takes effect at home |",
        &[
            "a_join_under_another_runtime_panics_while_its_own_lives_and_is_cancelled_after",
            "a_set_polled_under_another_runtime_panics_with_a_sentence_while_its_own_lives",
            "what_is_dropped_on_another_thread_is_released_at_home",
        ],
    ),
    (
        "runtime/lib.rs",
        "a task's `Waker` | yes | works (but `AbortHandle::is_finished` panics while the runtime lives) |",
        &[
            "a_task_can_be_aborted_from_another_thread",
            "a_remote_spawn_can_be_joined_by_a_thread_and_awaited_by_a_runtime",
            "a_wake_from_another_thread_reaches_a_runtime_that_sleeps",
        ],
    ),
    // N09
    (
        "runtime/lib.rs",
        "Outside of any runtime [`spawn`] panics, a socket is an error, and a timer that has to wait panics when it is \
         polled; one that is due is ready. Each says what to do",
        &[
            "spawning_outside_of_a_runtime_panics_with_a_sentence",
            "sockets_made_outside_of_a_runtime_are_an_error_that_names_block_on",
            "a_timer_that_has_to_wait_panics_outside_of_a_runtime",
            "a_timer_that_is_due_is_ready_at_its_first_poll_without_a_runtime",
        ],
    ),
    (
        "runtime/lib.rs",
        "After the end of its runtime a task is cancelled, a socket is an error, and a wake does nothing.",
        &[
            "what_outlives_its_runtime_says_so_and_is_dropped_in_silence",
            "sockets_whose_runtime_has_ended_are_refused_everywhere_and_can_be_taken_out",
            "wakers_outlive_the_runtime_on_every_thread",
        ],
    ),
    // N10
    (
        "runtime/lib.rs",
        "A pending task costs 64 bytes, in a table whose room doubles, and one allocation for its future; an idle connection, \
         in a task of its own, less than 400 bytes beside its buffer. A task that has ended keeps the room of its future until \
         it is joined, or its handle is dropped; that of the last one that was joined, up to 512 bytes, is kept for another. After a burst the tables keep their room, of 64 bytes a task and 16 a \
         socket, until no task, or no socket, is left.",
        &[
            "a_task_costs_what_the_documentation_says",
            "of_tasks_of_two_types_that_are_awaited_in_turn_each_allocates_once",
            "what_a_task_was_in_is_kept_when_it_is_awaited_up_to_512_bytes",
            "an_idle_connection_costs_at_most_300_bytes_beyond_its_buffer",
            "of_tasks_that_have_ended_nothing_stays_though_each_has_leaked_a_waker",
        ],
    ),
];

/// Prose without the ends of its lines and the marks of a comment.
fn prose(text: &str) -> String {
    let marks = ["///", "//!", "*"];
    let lines = text.lines().map(|line| {
        let line = line.trim();
        marks.iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line)
    });
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// N01, N02, N03, N04, N05, N06, N07, N08, N09, N10: what users have to know stands where they look, and is tested.
#[test]
fn what_is_stated_stands_there_and_is_pinned_by_tests() {
    let tests: String = sources("tests").into_iter().map(|source| source.text).collect();
    let mut faults = Vec::new();
    for (file, words, names) in STATED {
        if !prose(&fs::read_to_string(root().join(file)).unwrap()).contains(words) {
            faults.push(format!("{file} does not say: {words}"));
        }
        let lost = names.iter().filter(|name| !tests.contains(&format!("fn {name}()")));
        faults.extend(lost.map(|name| format!("there is no test `{name}`, which pins: {words}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// N05: of every operation that waits it is said what becomes of it when it is dropped.
#[test]
fn whatever_waits_says_what_giving_it_up_means() {
    let (mut count, mut silent) = (0, Vec::new());
    for source in sources("runtime") {
        let lines = source.lines();
        for (at, line) in lines.iter().enumerate() {
            let Some(name) =
                ["pub fn ", "pub async fn "].iter().find_map(|it| line.strip_prefix(it))
            else {
                continue;
            };
            let signature: String =
                lines[at..].iter().take(10).flat_map(|line| [line, " "]).collect();
            let signature = signature.split('{').next().unwrap();
            let waits = ["impl Future", "-> Sleep", "-> Timeout", "-> YieldNow"];
            if !line.contains("async fn") && !waits.iter().any(|it| signature.contains(it)) {
                continue;
            }
            count += 1;
            let above = lines[..at].iter().rev();
            let said = above
                .take_while(|line| line.starts_with("///") || line.starts_with("#["))
                .any(|line| {
                    line.contains("ancel safe")
                        || line.contains("given up")
                        || line.contains("gives up")
                });
            if !said {
                silent.push(format!("{}: {name}", source.name()));
            }
        }
    }
    assert!(silent.is_empty(), "nothing is said of giving up:\n{}", silent.join("\n"));
    assert!(count > 50, "{count} operations that wait");
}

/// N07: the numbers of the documentation, as the defaults have them.
#[test]
fn one_poll_has_128_operations_and_one_turn_256_events() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let task = waken::spawn(async {
                for _ in 0..128 * 10 {
                    consume_budget().await;
                }
            });
            task.await.unwrap();
        });
        // Nine times the tenth of it was used up; at the last it was over.
        assert_eq!(runtime.metrics().budget_yields, 9);

        let _current = runtime.enter();
        let sockets: Vec<_> = (0..300)
            .map(|_| {
                let (ours, peer) = UnixStream::pair().unwrap();
                (AsyncFd::new(ours).unwrap(), peer)
            })
            .collect();
        let mut before = runtime.metrics().epoll_events;
        for expected in [256, 44] {
            runtime.turn(Some(Duration::ZERO)).unwrap();
            let events = runtime.metrics().epoll_events;
            assert_eq!(events - before, expected, "each socket has room to write in");
            before = events;
        }
        drop(sockets);
    });
}

/// N06: what std calls an `Instant`.
#[test]
#[allow(unsafe_code)] // clock_gettime(2)
fn the_clock_is_the_monotonic_one() {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place to write to lives.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) }, 0);
    let since_boot = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
    let (ours, stds) = (waken::time::now(), Instant::now());
    assert!(ours <= stds && stds - ours < Duration::from_secs(1));
    let shown = format!("{:?}", ours - since_boot);
    assert!(shown.contains("tv_sec: 0,"), "not the time since the machine was started: {shown}");
}
