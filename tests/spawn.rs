//! Spawning.
mod support;
use support::watched;

#[test]
fn a_spawned_task_runs_and_its_output_reaches_the_joiner() {
    watched(10, || {
        waken::block_on(async {
            assert_eq!(waken::spawn(async { 7 }).await.unwrap(), 7);
        });
    });
}
