fn main() {
    waken::block_on(async {
        println!("hello");
    });
}
