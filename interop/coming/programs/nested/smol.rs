fn main() {
    smol::block_on(async {
        smol::block_on(async { println!("inside") });
    });
}
