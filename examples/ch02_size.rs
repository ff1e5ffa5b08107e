//! Chapter 2 of the guide: what an `async fn` is made of.
//!
//! ```text
//! $ cargo run --example ch02_size
//! nothing: 1 bytes
//! a buffer that is in scope at the await: 4098 bytes
//! a buffer whose block ends before it: 2 bytes
//! consume_budget, of the runtime: 2 bytes
//! before the await it is at 0x7fff344220a8, after it at 0x7fff344220a8
//! ```

use std::hint::black_box;
use waken::block_on;
use waken::task::{consume_budget, yield_now};

async fn nothing() {}

async fn in_scope() {
    let buf = [1u8; 4096];
    black_box(&buf);
    yield_now().await; // and `buf` is not used any more
}

async fn in_a_block() {
    {
        let buf = [1u8; 4096];
        black_box(&buf);
    }
    yield_now().await;
}

fn main() {
    println!("nothing: {} bytes", size_of_val(&nothing()));
    println!("a buffer that is in scope at the await: {} bytes", size_of_val(&in_scope()));
    println!("a buffer whose block ends before it: {} bytes", size_of_val(&in_a_block()));
    println!("consume_budget, of the runtime: {} bytes", size_of_val(&consume_budget()));
    block_on(async {
        let here = 1;
        let before = &raw const here; // a pointer into the future itself
        yield_now().await;
        println!("before the await it is at {before:p}, after it at {:p}", &raw const here);
    });
}
