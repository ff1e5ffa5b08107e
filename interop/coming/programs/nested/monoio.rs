fn main() {
    monoio::start::<monoio::LegacyDriver, _>(async {
        monoio::start::<monoio::LegacyDriver, _>(async {
            println!("inside")
        });
    });
}
