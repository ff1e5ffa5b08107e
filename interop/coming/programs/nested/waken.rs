fn main() {
    waken::block_on(async {
        waken::block_on(async { println!("inside") });
    });
}
