extern crate loom_std as std;
pub fn f() -> std::vec::Vec<u8> {
    let x: Vec<u8> = Vec::new();
    x
}
