//! Without the feature `trace` there is no trace of it in a program: not a word, not a symbol. (With it, both are found, so this looks
//! in the right places.) And what a program holds of ours is as large with it as without. That an optimised program has not one byte
//! more than one without the hooks is tried by `.ci/off`.

use std::env;
use std::fs;
use waken::task::{AbortHandle, JoinHandle, yield_now};
use waken::{AsyncTcpListener, AsyncTcpStream};

#[test]
fn a_program_that_does_not_ask_for_the_trace_has_nothing_of_it() {
    waken::block_on(async { waken::spawn(async {}).await.unwrap() });
    let program = fs::read(env::current_exe().unwrap()).unwrap();
    // Written backwards, so that they are not found where they are looked for.
    for word in ["ECART_NEKAW", "ecart5nekaw", "=tuoemit(tiaw_llope", "yalper nekaw"] {
        let word: String = word.chars().rev().collect();
        let is_there = program.windows(word.len()).any(|part| part == word.as_bytes());
        assert_eq!(is_there, cfg!(feature = "trace"), "`{word}`");
    }
}

#[test]
fn no_symbol_of_a_program_that_does_not_ask_for_the_trace_is_of_it() {
    waken::block_on(async { waken::spawn(async {}).await.unwrap() });
    let symbols = symbols(&fs::read(env::current_exe().unwrap()).unwrap());
    // As mangled names have it, the length of each part before it.
    let are_there = |module: &str| {
        let name = format!("5waken{}{module}", module.len());
        symbols.iter().any(|symbol| symbol.contains(&name))
    };
    assert!(are_there("executor"), "{} symbols, and none of the executor", symbols.len());
    assert_eq!(are_there("trace"), cfg!(feature = "trace"));
}

/// The names in an executable's table of symbols, as `nm` reads it. See elf(5).
fn symbols(program: &[u8]) -> Vec<String> {
    const SYMTAB: u64 = 2;
    let number = |at: usize, bytes: usize| {
        program[at..at + bytes].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    let [sections, size, count] =
        [(0x28, 8), (0x3a, 2), (0x3c, 2)].map(|(at, bytes)| number(at, bytes) as usize);
    let place = |n: usize| {
        let [at, length] = [0x18, 0x20].map(|field| number(sections + n * size + field, 8));
        (at as usize, length as usize)
    };
    let table = (0..count).find(|n| number(sections + n * size + 4, 4) == SYMTAB);
    let table = table.expect("a test program is not stripped");
    let names = place(number(sections + table * size + 0x28, 4) as usize).0;
    let (begin, length) = place(table);
    let name = |at: usize| {
        let name = &program[names + number(at, 4) as usize..];
        String::from_utf8_lossy(name.split(|byte| *byte == 0).next().unwrap()).into_owned()
    };
    (begin..begin + length).step_by(24).map(name).collect()
}

/// This runs with the feature, and without.
#[test]
fn what_a_program_holds_is_as_large_with_the_trace_as_without() {
    let runtime = waken::Runtime::new().unwrap();
    let (listener, stream) = runtime.block_on(async {
        let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = AsyncTcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (listener, stream)
    });
    let mut buf = [0; 8];
    let sizes = [
        ("the stream", size_of_val(&stream)),
        ("the listener", size_of_val(&listener)),
        ("a handle", size_of::<JoinHandle<()>>()),
        ("an abort handle", size_of::<AbortHandle>()),
        ("to read", size_of_val(&stream.read(&mut buf))),
        ("to write", size_of_val(&stream.write(b"hello"))),
        ("to accept", size_of_val(&listener.accept())),
        ("to sleep", size_of_val(&waken::time::sleep(std::time::Duration::ZERO))),
        ("to yield", size_of_val(&yield_now())),
    ];
    assert_eq!(
        sizes.map(|it| it.1),
        [16, 136, 24, 16, 40, 40, 88, 40, 1],
        "another rustc may lay them out otherwise: {sizes:?}"
    );
}
