//! What the exercises of the guide are checked by: `docs/guide`, `cargo learn NN check`. With the runtime as it is they pass; with a
//! hole in it they fail, within seconds, which `trials/guide/run` sees to.

mod support;

#[path = "exercises/ch00.rs"]
mod ch00;
#[path = "exercises/ch01.rs"]
mod ch01;
#[path = "exercises/ch02.rs"]
mod ch02;
#[path = "exercises/ch03.rs"]
mod ch03;
#[path = "exercises/ch04.rs"]
mod ch04;
#[path = "exercises/ch05.rs"]
mod ch05;
#[path = "exercises/ch06.rs"]
mod ch06;
#[path = "exercises/ch07.rs"]
mod ch07;
#[path = "exercises/ch08.rs"]
mod ch08;
#[path = "exercises/ch09.rs"]
mod ch09;
#[path = "exercises/ch10.rs"]
mod ch10;
#[path = "exercises/ch11.rs"]
mod ch11;
#[path = "exercises/ch12.rs"]
mod ch12;
#[path = "exercises/ch13.rs"]
mod ch13;
