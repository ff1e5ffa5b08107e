use std::time::Duration;
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn an_answer_comes_in_time() {
    let answer = async {
        sleep(Duration::from_millis(5)).await;
        42
    };
    let limit = Duration::from_secs(10);
    assert_eq!(timeout(limit, answer).await, Ok(42));
}
