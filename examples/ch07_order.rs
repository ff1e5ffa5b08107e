//! Chapter 7 of the guide: one batch of events, and the order in which it is served.
//!
//! ```text
//! $ cargo run --example ch07_order
//! written: 1 2 3 4 5
//! served:  1 2 3 4 5
//! by `swap_remove(0)` it would be:  1 5 4 3 2
//! ```

use std::cell::RefCell;
use std::io::Write;
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;
use waken::time::sleep;
use waken::{AsyncTcpListener, block_on, spawn};

fn main() -> std::io::Result<()> {
    block_on(async {
        let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
        let (mut peers, served) = (Vec::new(), Rc::new(RefCell::new(String::new())));
        for n in 1..=5 {
            peers.push(TcpStream::connect(listener.local_addr()?)?);
            let (stream, _) = listener.accept().await?;
            let served = served.clone();
            spawn(async move {
                if stream.read(&mut [0; 9]).await.is_ok() {
                    served.borrow_mut().push_str(&format!(" {n}"));
                }
            });
        }
        sleep(Duration::from_millis(10)).await;
        println!("written: 1 2 3 4 5");
        for peer in &mut peers {
            peer.write_all(b"x")?;
        }
        sleep(Duration::from_millis(10)).await;
        println!("served: {}", served.borrow());
        let (mut list, mut taken) = (vec![1, 2, 3, 4, 5], String::new());
        while !list.is_empty() {
            taken.push_str(&format!(" {}", list.swap_remove(0)));
        }
        println!("by `swap_remove(0)` it would be: {taken}");
        Ok(())
    })
}
