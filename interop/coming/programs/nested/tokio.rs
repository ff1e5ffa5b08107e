#[tokio::main(flavor = "current_thread")]
async fn main() {
    let inner = tokio::runtime::Builder::new_current_thread();
    let inner = { inner }.build().unwrap();
    inner.block_on(async { println!("inside") });
}
