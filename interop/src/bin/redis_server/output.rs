//! What goes to one client, as RESP2, until its socket has taken it. It knows no socket.
//!
//! Each call borrows for that call alone: the client's own task writes answers here, and the tasks of others write what they
//! publish.

use std::cell::RefCell;
use std::io::Write;

/// One answer may be this long, and one that is longer ends its connection: `MGET` of the same large key, a thousand
/// times, is a short command.
pub const LONGEST_ANSWER: usize = 512 << 20;

/// What is kept, empty, for the next answers.
const KEPT: usize = 16 << 10;

#[derive(Default)]
pub struct Output(RefCell<Unsent>);

#[derive(Default)]
struct Unsent {
    bytes: Vec<u8>,
    sent: usize,
}

impl Output {
    pub fn simple(&self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// `text` begins with a word in capitals, which is the error's kind.
    pub fn error(&self, text: &str) {
        // The end of a line would be the end of the error.
        let line = |byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte };
        self.line(b'-', &text.bytes().map(line).collect::<Vec<u8>>());
    }

    pub fn integer(&self, number: i64) {
        self.number(b':', number);
    }

    /// The head of an array: as many other answers are to follow.
    pub fn array(&self, length: usize) {
        self.number(b'*', length as i64);
    }

    pub fn bulk(&self, bytes: &[u8]) {
        self.number(b'$', bytes.len() as i64);
        let mut unsent = self.0.borrow_mut();
        if unsent.bytes.len() - unsent.sent <= LONGEST_ANSWER {
            unsent.bytes.extend_from_slice(bytes);
            unsent.bytes.extend_from_slice(b"\r\n");
        }
    }

    pub fn null(&self) {
        self.append(b"$-1\r\n");
    }

    pub fn null_array(&self) {
        self.append(b"*-1\r\n");
    }

    /// What is in RESP already.
    pub fn append(&self, bytes: &[u8]) {
        self.0.borrow_mut().bytes.extend_from_slice(bytes);
    }

    fn line(&self, mark: u8, text: &[u8]) {
        let bytes = &mut self.0.borrow_mut().bytes;
        bytes.push(mark);
        bytes.extend_from_slice(text);
        bytes.extend_from_slice(b"\r\n");
    }

    fn number(&self, mark: u8, number: i64) {
        let bytes = &mut self.0.borrow_mut().bytes;
        bytes.push(mark);
        write_integer(bytes, number);
        bytes.extend_from_slice(b"\r\n");
    }

    pub fn len(&self) -> usize {
        let unsent = self.0.borrow();
        unsent.bytes.len() - unsent.sent
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands what is not sent to `send`, and forgets as much of it as that says.
    pub fn send<E>(&self, send: impl FnOnce(&[u8]) -> Result<usize, E>) -> Result<usize, E> {
        let unsent = &mut *self.0.borrow_mut();
        let n = send(&unsent.bytes[unsent.sent..])?;
        unsent.sent += n;
        if unsent.sent == unsent.bytes.len() {
            unsent.sent = 0;
            unsent.bytes.clear();
            unsent.bytes.shrink_to(KEPT);
        } else if unsent.sent > unsent.bytes.len() / 2 {
            // Only then, so that each byte is moved once at most, on average.
            unsent.bytes.drain(..unsent.sent);
            unsent.sent = 0;
        }
        Ok(n)
    }

    /// Forgets all of it.
    pub fn clear(&self) {
        *self.0.borrow_mut() = Unsent::default();
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_inner().bytes
    }
}

/// Small ones are most of them: lengths.
pub fn write_integer(bytes: &mut Vec<u8>, number: i64) {
    if let digit @ 0..=9 = number {
        bytes.push(b'0' + digit as u8);
    } else {
        write!(bytes, "{number}").expect("a `Vec` takes all");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_in_parts_is_what_was_written() {
        let output = Output::default();
        let (mut expected, mut sent) = (Vec::new(), Vec::new());
        for n in 0..1000 {
            output.bulk(n.to_string().as_bytes());
            expected.extend_from_slice(format!("${}\r\n{n}\r\n", n.to_string().len()).as_bytes());
            let take = |bytes: &[u8]| {
                let part = &bytes[..bytes.len().min(n % 13)];
                sent.extend_from_slice(part);
                Ok::<usize, ()>(part.len())
            };
            output.send(take).unwrap();
            assert_eq!(output.len(), expected.len() - sent.len());
        }
        output
            .send(|bytes| {
                Ok::<usize, ()>({
                    sent.extend_from_slice(bytes);
                    bytes.len()
                })
            })
            .unwrap();
        assert!(output.is_empty() && sent == expected);
    }

    #[test]
    fn an_error_is_one_line() {
        let output = Output::default();
        output.error("ERR a\r\nb");
        assert_eq!(output.into_bytes(), b"-ERR a  b\r\n");
    }
}
