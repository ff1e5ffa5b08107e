use std::time::Duration;
use waken::block_on;
use waken::time::{sleep, timeout};

#[test]
fn an_answer_comes_in_time() {
    block_on(async {
        let answer = async {
            sleep(Duration::from_millis(5)).await;
            42
        };
        let limit = Duration::from_secs(10);
        assert_eq!(timeout(limit, answer).await, Ok(42));
    });
}
