#[monoio::main]
async fn main() {
    println!("hello");
}
