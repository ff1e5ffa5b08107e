//! What clients send, cut into commands: RESP2 arrays of bulk strings, or lines typed by hand. It knows no socket and no command.
//!
//! `*2\r\n$3\r\nGET\r\n$1\r\na\r\n` and `GET a\r\n` are the same two words. The parser looks at bytes that lie in somebody's buffer and
//! says where the words are: nothing is copied. When the command is not all there it remembers how far it came, so that a
//! command that arrives in a thousand pieces is not read a thousand times. It takes a length for what it is, a claim: no
//! memory is asked for before bytes have come.

use std::fmt;
use std::ops::{Index, Range};

/// The limits of Redis are 64 KiB, 2³¹ and 512 MiB. A client can make the server keep one command, so ours are smaller.
const LONGEST_LINE: usize = 64 << 10;
const MOST_WORDS: i64 = 1 << 20;
pub const LONGEST_WORD: i64 = 64 << 20;
/// Room for so many is kept for the next command.
const MANY_WORDS: usize = 1 << 10;
/// What a command may have altogether.
pub const LONGEST_COMMAND: usize = 128 << 20;

/// After these the rest of the stream means nothing: the client is told, and closed.
#[derive(Debug, PartialEq, Eq)]
pub enum ProtocolError {
    TooBig(&'static str),
    Invalid(&'static str),
    ExpectedDollar(u8),
    UnbalancedQuotes,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProtocolError::TooBig(what) => write!(f, "too big {what}"),
            ProtocolError::Invalid(what) => write!(f, "invalid {what}"),
            ProtocolError::ExpectedDollar(byte) => {
                write!(f, "expected '$', got '{}'", *byte as char)
            }
            ProtocolError::UnbalancedQuotes => write!(f, "unbalanced quotes in request"),
        }
    }
}

/// The words of one command, its name first.
#[derive(Clone, Copy)]
pub struct Words<'a> {
    bytes: &'a [u8],
    places: &'a [Range<usize>],
}

impl<'a> Words<'a> {
    pub fn len(self) -> usize {
        self.places.len()
    }

    /// The words from this one on.
    pub fn from(self, first: usize) -> impl Iterator<Item = &'a [u8]> {
        self.places[first..].iter().map(move |place| &self.bytes[place.clone()])
    }
}

impl Index<usize> for Words<'_> {
    type Output = [u8];

    fn index(&self, number: usize) -> &[u8] {
        &self.bytes[self.places[number].clone()]
    }
}

#[derive(Default)]
pub struct Parser {
    at: usize,                 // how far it came, in the command that is being read
    places: Vec<Range<usize>>, // the words so far
    missing: usize,            // words of the array that are to come
    length: Option<usize>,     // of the next one, when that is known
    unquoted: Vec<u8>,         // the words of a line, which lie nowhere as they are meant
}

impl Parser {
    /// The first command of `bytes`, and how many of them it takes. An empty line, or array, has no words. None when more bytes have to
    /// come: then `bytes` is to begin with the same ones again.
    pub fn next<'a>(
        &'a mut self,
        bytes: &'a [u8],
    ) -> Result<Option<(Words<'a>, usize)>, ProtocolError> {
        if self.missing == 0 {
            self.places.clear();
            self.places.shrink_to(MANY_WORDS);
            match bytes.first() {
                Some(b'*') if self.array_begins(bytes)? => {}
                Some(b'*') | None => return Ok(None),
                Some(_) => return self.line(bytes),
            }
        }
        while self.missing > 0 {
            if !self.word(bytes)? {
                return Ok(None);
            }
        }
        Ok(Some((Words { bytes, places: &self.places }, std::mem::take(&mut self.at))))
    }

    fn array_begins(&mut self, bytes: &[u8]) -> Result<bool, ProtocolError> {
        let Some(count) = self.number(bytes, "mbulk count string")? else { return Ok(false) };
        match count {
            Some(..=0) => Ok(true),
            Some(count @ ..=MOST_WORDS) => {
                self.missing = count as usize;
                Ok(true)
            }
            _ => Err(ProtocolError::Invalid("multibulk length")),
        }
    }

    fn word(&mut self, bytes: &[u8]) -> Result<bool, ProtocolError> {
        let length = match self.length {
            Some(length) => length,
            None => {
                let Some(&dollar) = bytes.get(self.at) else { return Ok(false) };
                let Some(length) = self.number(bytes, "bulk count string")? else {
                    return Ok(false);
                };
                if dollar != b'$' {
                    return Err(ProtocolError::ExpectedDollar(dollar));
                }
                let Some(length @ 0..=LONGEST_WORD) = length else {
                    return Err(ProtocolError::Invalid("bulk length"));
                };
                *self.length.insert(length as usize)
            }
        };
        // Two bytes end a word. As Redis does, it does not ask which.
        let (begin, end) = (self.at, self.at + length);
        if bytes.len() < end + 2 {
            return Ok(false);
        }
        self.places.push(begin..end);
        (self.at, self.missing, self.length) = (end + 2, self.missing - 1, None);
        Ok(true)
    }

    /// What is between a mark and the end of its line, as a number if it is one; none when the line is not all there.
    fn number(
        &mut self,
        bytes: &[u8],
        what: &'static str,
    ) -> Result<Option<Option<i64>>, ProtocolError> {
        let line = &bytes[self.at..];
        match line.iter().take(LONGEST_LINE + 1).position(|&byte| byte == b'\r') {
            None if line.len() > LONGEST_LINE => Err(ProtocolError::TooBig(what)),
            Some(end) if end + 1 < line.len() => {
                self.at += end + 2;
                Ok(Some(integer(&line[1..end.max(1)])))
            }
            _ => Ok(None),
        }
    }

    fn line(&mut self, bytes: &[u8]) -> Result<Option<(Words<'_>, usize)>, ProtocolError> {
        match bytes.iter().take(LONGEST_LINE + 1).position(|&byte| byte == b'\n') {
            None if bytes.len() > LONGEST_LINE => Err(ProtocolError::TooBig("inline request")),
            None => Ok(None),
            Some(end) => {
                let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
                unquote(line, &mut self.unquoted, &mut self.places)?;
                Ok(Some((Words { bytes: &self.unquoted, places: &self.places }, end + 1)))
            }
        }
    }
}

/// A number as Redis takes it: in the one way in which it would be written.
pub fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_written_so = match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if is_written_so { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// Splits a line at its blanks, except within `"…"`, which has escapes, and `'…'`, which has but one.
fn unquote(
    line: &[u8],
    unquoted: &mut Vec<u8>,
    places: &mut Vec<Range<usize>>,
) -> Result<(), ProtocolError> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    unquoted.clear();
    let mut rest = line;
    loop {
        rest = &rest[rest.iter().take_while(|byte| is_blank(byte)).count()..];
        if rest.is_empty() {
            return Ok(());
        }
        let begin = unquoted.len();
        while let Some((&byte, after)) = rest.split_first().filter(|(byte, _)| !is_blank(byte)) {
            rest = match byte {
                b'"' | b'\'' => quoted(byte, after, unquoted)
                    .filter(|rest| rest.first().is_none_or(is_blank))
                    .ok_or(ProtocolError::UnbalancedQuotes)?,
                byte => {
                    unquoted.push(byte);
                    after
                }
            };
        }
        places.push(begin..unquoted.len());
    }
}

/// What comes after the quote's end, if it has one.
fn quoted<'a>(quote: u8, mut rest: &'a [u8], unquoted: &mut Vec<u8>) -> Option<&'a [u8]> {
    let hex = |digit: &u8| (*digit as char).to_digit(16);
    loop {
        let byte;
        (byte, rest) = match (quote, rest) {
            (_, [end, after @ ..]) if *end == quote => return Some(after),
            (b'\'', [b'\\', b'\'', after @ ..]) => (b'\'', after),
            (b'"', [b'\\', b'x', high, low, after @ ..])
                if hex(high).is_some() && hex(low).is_some() =>
            {
                ((hex(high)? * 16 + hex(low)?) as u8, after)
            }
            (b'"', [b'\\', escape, after @ ..]) => {
                let byte = match escape {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                };
                (byte, after)
            }
            (_, [byte, after @ ..]) => (*byte, after),
            (_, []) => return None,
        };
        unquoted.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commands of a stream that comes in pieces, and what comes after them.
    fn commands(pieces: &[&[u8]]) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
        let (mut parser, mut rest, mut commands) = (Parser::default(), Vec::new(), Vec::new());
        for piece in pieces {
            rest.extend_from_slice(piece);
            loop {
                let length = match parser.next(&rest) {
                    Ok(Some((words, length))) => {
                        if words.len() > 0 {
                            commands.push(words.from(0).map(<[u8]>::to_vec).collect());
                        }
                        length
                    }
                    Ok(None) => break,
                    Err(error) => return (commands, Some(error)),
                };
                rest.drain(..length);
            }
        }
        (commands, None)
    }

    const STREAM: &[u8] =
        b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*0\r\n PING  \"a b\\x41\"\r\n\r\n*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\n\r\n*1\r\n*-1\r\nECHO ''\n";

    #[test]
    fn a_command_is_the_same_wherever_it_is_cut() {
        let (expected, error) = commands(&[STREAM]);
        assert_eq!(error, None);
        let words = |words: &[&[u8]]| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>();
        assert_eq!(
            expected,
            [
                words(&[b"GET", b"a"]),
                words(&[b"PING", b"a bA"]),
                words(&[b"SET", b"", b"\r\n*1"]),
                words(&[b"ECHO", b""]),
            ]
        );
        for cut in 1..STREAM.len() {
            let (begin, end) = STREAM.split_at(cut);
            assert_eq!(commands(&[begin, end]), (expected.clone(), None), "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = STREAM.chunks(1).collect();
        assert_eq!(commands(&bytes), (expected, None));
    }

    #[test]
    fn a_length_costs_nothing_before_its_bytes_have_come() {
        let mut parser = Parser::default();
        assert!(parser.next(b"*1048576\r\n$67108864\r\n").unwrap().is_none());
        assert!(parser.places.capacity() < 100);
    }

    #[test]
    fn what_is_no_command_is_an_error() {
        let error = |bytes: &[u8]| commands(&[bytes]).1;
        assert_eq!(error(b"*1048577\r\n"), Some(ProtocolError::Invalid("multibulk length")));
        assert_eq!(error(b"*1\r\n$67108865\r\n"), Some(ProtocolError::Invalid("bulk length")));
        assert_eq!(error(b"*1\r\n$-1\r\n"), Some(ProtocolError::Invalid("bulk length")));
        assert_eq!(error(b"*1\r\n:1\r\n"), Some(ProtocolError::ExpectedDollar(b':')));
        assert_eq!(error(b"ECHO \"a\n"), Some(ProtocolError::UnbalancedQuotes));
        assert_eq!(error(&[b'x'; LONGEST_LINE]), None);
        assert_eq!(error(&[b'x'; LONGEST_LINE + 1]), Some(ProtocolError::TooBig("inline request")));
    }

    #[test]
    fn an_integer_is_written_in_one_way() {
        for number in [0, 1, -1, 10, i64::MAX, i64::MIN] {
            assert_eq!(integer(number.to_string().as_bytes()), Some(number));
        }
        for text in ["", "-", "+1", "-0", "01", "1 ", "1.0", "9223372036854775808", "١"] {
            assert_eq!(integer(text.as_bytes()), None, "{text}");
        }
    }
}
