//! Without the feature `trace` there is no trace of it in a program: not a word, not a symbol. (With it, both are found, so this looks
//! in the right places.)

use std::env;
use std::fs;

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
