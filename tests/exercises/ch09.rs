//! Chapter 9.

use crate::support::watched;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;
use waken::net::AsyncUnixStream;
use waken::runtime::tasks;
use waken::task::{TaskInfo, WaitOn};
use waken::time::{sleep, timeout};
use waken::{block_on, spawn};

const MS: Duration = Duration::from_millis(1);

#[test]
fn ex09_who_gives_up_leaves_its_place_and_takes_nobody_elses() {
    watched(5, || {
        for impatient in 0..3 {
            block_on(one_of_three_gives_up(impatient));
        }
    });
}

/// The first stands in the place of the reader, the others aside.
async fn one_of_three_gives_up(impatient: usize) {
    let (mut client, server) = UnixStream::pair().unwrap();
    let stream = Rc::new(AsyncUnixStream::try_from(server).unwrap());
    for n in 0..3 {
        let stream = stream.clone();
        let patience = if n == impatient { 20 * MS } else { 5000 * MS };
        drop(spawn(async move {
            match timeout(patience, stream.read(&mut [0])).await {
                Ok(read) => assert_eq!(read.unwrap(), 1),
                Err(_) => sleep(5000 * MS).await,
            }
        }));
    }
    sleep(10 * MS).await;
    assert_eq!(readers(), 3);
    sleep(50 * MS).await;
    assert_eq!(readers(), 2, "one has given up, and no other");

    let polls =
        |all: &[TaskInfo]| all.iter().map(|task| (task.id, task.polls)).max_by_key(|it| it.1);
    let before = polls(&tasks());
    client.write_all(b"xy").unwrap();
    sleep(20 * MS).await;
    let left = tasks();
    assert_eq!(left.len(), 1, "the others have a byte each");
    assert_eq!(polls(&left), before, "nobody has woken it");
}

fn readers() -> usize {
    let waits = |task: &TaskInfo| {
        task.waits_for.iter().filter(|wait| matches!(wait.on, WaitOn::Readable(_))).count()
    };
    tasks().iter().map(waits).sum()
}
