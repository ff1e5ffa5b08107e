//! What may be asked, and the answers, word for word as Redis 7.0 gives them. It waits for nothing, so each command is atomic.
//!
//! One table has them all; a command is a function of [`Call`] that answers, or fails before it has answered anything.

use crate::Server;
use crate::connection::Client;
use crate::glob;
use crate::output::{Output, write_integer};
use crate::pubsub::Kind;
use crate::resp::{LONGEST_WORD, Words, integer};
use crate::store::{End, Value, WrongType};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::rc::Rc;

struct Call<'a> {
    server: &'a Server,
    client: &'a Rc<Client>,
    output: &'a Output,
    words: Words<'a>,
}

/// The line of an error, without its mark.
type Failure = Cow<'static, str>;
type Done = Result<(), Failure>;

const SYNTAX: Failure = Cow::Borrowed("ERR syntax error");
const NOT_AN_INTEGER: Failure = Cow::Borrowed("ERR value is not an integer or out of range");

impl From<WrongType> for Failure {
    fn from(_: WrongType) -> Failure {
        "WRONGTYPE Operation against a key holding the wrong kind of value".into()
    }
}

/// How many words it has, with its name; of a negative number, that many or more.
type Arity = i32;

type Command = (&'static str, Arity, fn(&Call) -> Done);

/// In the order of their names, since they are looked for by halves.
const COMMANDS: &[Command] = &[
    ("append", 3, append),
    ("command", -1, command),
    ("config", -2, config),
    ("dbsize", 1, dbsize),
    ("decr", 2, |call| add(call, || Ok(-1))),
    ("decrby", 3, decrby),
    ("del", -2, del),
    ("echo", 2, |call| call.bulk(&call.words[1])),
    ("exists", -2, exists),
    ("expire", -3, |call| expire(call, 1000)),
    ("flushall", -1, flushall),
    ("get", 2, get),
    ("hello", -1, hello),
    ("incr", 2, |call| add(call, || Ok(1))),
    ("incrby", 3, |call| add(call, || number(&call.words[2]))),
    ("info", -1, info),
    ("keys", 2, keys),
    ("llen", 2, llen),
    ("lpop", -2, |call| pop(call, End::Left)),
    ("lpush", -3, |call| push(call, End::Left)),
    ("lrange", 4, lrange),
    ("mget", -2, mget),
    ("mset", -3, mset),
    ("persist", 2, persist),
    ("pexpire", -3, |call| expire(call, 1)),
    ("ping", -1, ping),
    ("psubscribe", -2, |call| subscribe(call, Kind::Pattern)),
    ("pttl", 2, |call| ttl(call, 1)),
    ("publish", 3, publish),
    ("punsubscribe", -1, |call| unsubscribe(call, Kind::Pattern)),
    ("quit", -1, |call| call.simple("OK")),
    ("rpop", -2, |call| pop(call, End::Right)),
    ("rpush", -3, |call| push(call, End::Right)),
    ("select", 2, select),
    ("set", -3, set),
    ("strlen", 2, strlen),
    ("subscribe", -2, |call| subscribe(call, Kind::Channel)),
    ("ttl", 2, |call| ttl(call, 1000)),
    ("type", 2, type_),
    ("unsubscribe", -1, |call| unsubscribe(call, Kind::Channel)),
];

/// Of a client that has subscribed to something these alone are taken, since all else that it reads may be a message.
const WHILE_SUBSCRIBED: [&str; 6] =
    ["psubscribe", "ping", "punsubscribe", "quit", "subscribe", "unsubscribe"];

/// Performs one command, and answers it. A break is the end of the conversation.
pub fn perform(server: &Server, client: &Rc<Client>, words: Words<'_>) -> ControlFlow<()> {
    if words.len() == 0 {
        return ControlFlow::Continue(()); // an empty line is nothing, and has no answer
    }
    server.commands.set(server.commands.get() + 1);
    let call = Call { server, client, output: &client.output, words };
    let mut lower = [0; 16];
    let name = lowercase(&words[0], &mut lower);
    let found = COMMANDS.binary_search_by(|(other, ..)| other.as_bytes().cmp(name));
    let done = match found {
        Ok(index) => call.perform(&COMMANDS[index]),
        Err(_) => Err(unknown(words)),
    };
    if let Err(text) = done {
        call.output.error(&text);
    }
    if found.is_ok() && name == b"quit" {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

impl Call<'_> {
    fn perform(&self, &(name, arity, run): &Command) -> Done {
        let count = self.words.len() as Arity;
        if if arity < 0 { count < -arity } else { count != arity } {
            return Err(wrong_number(name));
        }
        let is_subscribed = self.client.subscriptions.borrow().len() > 0;
        if is_subscribed && !WHILE_SUBSCRIBED.contains(&name) {
            return Err(format!(
                "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / \
                 PING / QUIT / RESET are allowed in this context"
            )
            .into());
        }
        run(self)
    }

    fn key(&self) -> &[u8] {
        &self.words[1]
    }

    // The whole of an answer, as most of them are.

    fn simple(&self, text: &str) -> Done {
        self.output.simple(text);
        Ok(())
    }

    fn integer(&self, number: i64) -> Done {
        self.output.integer(number);
        Ok(())
    }

    fn bulk(&self, bytes: &[u8]) -> Done {
        self.output.bulk(bytes);
        Ok(())
    }
}

/// All names are shorter than the room; whatever is longer is none of them.
fn lowercase<'a>(word: &[u8], room: &'a mut [u8; 16]) -> &'a [u8] {
    match room.get_mut(..word.len()) {
        Some(name) => {
            name.copy_from_slice(word);
            name.make_ascii_lowercase();
            name
        }
        None => b"",
    }
}

fn unknown(words: Words<'_>) -> Failure {
    let name = String::from_utf8_lossy(&words[0][..words[0].len().min(128)]);
    let mut arguments = String::new();
    for word in words.from(1) {
        if arguments.len() >= 128 {
            break;
        }
        let word = &word[..word.len().min(128 - arguments.len())];
        arguments += &format!("'{}' ", String::from_utf8_lossy(word));
    }
    format!("ERR unknown command '{name}', with args beginning with: {arguments}").into()
}

fn wrong_number(name: &str) -> Failure {
    format!("ERR wrong number of arguments for '{name}' command").into()
}

fn number(word: &[u8]) -> Result<i64, Failure> {
    integer(word).ok_or(NOT_AN_INTEGER)
}

// Of the connection.

fn ping(call: &Call) -> Done {
    if call.words.len() > 2 {
        return Err(wrong_number("ping"));
    }
    if call.client.subscriptions.borrow().len() > 0 {
        call.output.array(2);
        call.output.bulk(b"pong");
        call.output.bulk(if call.words.len() == 2 { &call.words[1] } else { b"" });
    } else if call.words.len() == 2 {
        call.output.bulk(&call.words[1]);
    } else {
        call.output.simple("PONG");
    }
    Ok(())
}

fn select(call: &Call) -> Done {
    match number(&call.words[1])? {
        0 => call.simple("OK"),
        _ => Err("ERR DB index is out of range".into()),
    }
}

/// Version 2 is what we speak, so that is no change; version 3 is refused in the words that clients wait for.
fn hello(call: &Call) -> Done {
    if call.words.len() > 1 {
        match integer(&call.words[1]) {
            None => return Err("ERR Protocol version is not an integer or out of range".into()),
            Some(2) => {}
            Some(_) => return Err("NOPROTO unsupported protocol version".into()),
        }
    }
    if let Some(option) = call.words.from(2).next() {
        let option = String::from_utf8_lossy(option);
        return Err(format!("ERR Syntax error in HELLO option '{option}'").into());
    }
    let fields: [(&str, &str); 4] =
        [("server", "redis"), ("version", VERSION), ("mode", "standalone"), ("role", "master")];
    call.output.array(2 * fields.len() + 6);
    for (name, value) in fields {
        call.output.bulk(name.as_bytes());
        call.output.bulk(value.as_bytes());
    }
    call.output.bulk(b"proto");
    call.output.integer(2);
    call.output.bulk(b"id");
    call.output.integer(call.client.number as i64);
    call.output.bulk(b"modules");
    call.output.array(0);
    Ok(())
}

// Of the server.

/// What our answers are those of: programs ask before they use what a version has brought.
const VERSION: &str = "7.0.0";

fn info(call: &Call) -> Done {
    let server = call.server;
    let text = format!(
        "# Server\r\nredis_version:{VERSION}\r\nredis_mode:standalone\r\nprocess_id:{}\r\nuptime_in_seconds:{}\r\n\r\n\
         # Clients\r\nconnected_clients:{}\r\n\r\n\
         # Stats\r\ntotal_commands_processed:{}\r\n\r\n\
         # Keyspace\r\ndb0:keys={}\r\n",
        std::process::id(),
        server.begin.elapsed().as_secs(),
        server.clients.borrow().len(),
        server.commands.get(),
        server.store.borrow().len(),
    );
    call.bulk(text.as_bytes())
}

/// redis-cli asks what commands there are, to help who types, and does without.
fn command(call: &Call) -> Done {
    if call.words.len() > 1 && call.words[1].eq_ignore_ascii_case(b"count") {
        call.output.integer(COMMANDS.len() as i64);
    } else {
        call.output.array(0);
    }
    Ok(())
}

/// redis-benchmark asks for these two, to print them.
fn config(call: &Call) -> Done {
    if !call.words[1].eq_ignore_ascii_case(b"get") {
        let name = String::from_utf8_lossy(&call.words[1]);
        return Err(format!("ERR unknown subcommand '{name:.128}'. Try CONFIG HELP.").into());
    }
    if call.words.len() < 3 {
        return Err(wrong_number("config|get"));
    }
    let is_asked = |name: &str| {
        let mut patterns = call.words.from(2);
        patterns.any(|pattern| glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes()))
    };
    let settings = [("appendonly", "no"), ("save", "")];
    let asked: Vec<_> = settings.into_iter().filter(|(name, _)| is_asked(name)).collect();
    call.output.array(2 * asked.len());
    for (name, value) in asked {
        call.output.bulk(name.as_bytes());
        call.output.bulk(value.as_bytes());
    }
    Ok(())
}

fn dbsize(call: &Call) -> Done {
    call.integer(call.server.store.borrow().len() as i64)
}

fn flushall(call: &Call) -> Done {
    match call.words.len() {
        1 => {}
        2 if call.words[1].eq_ignore_ascii_case(b"sync") => {}
        2 if call.words[1].eq_ignore_ascii_case(b"async") => {}
        _ => return Err(SYNTAX),
    }
    call.server.store.borrow_mut().clear();
    call.simple("OK")
}

// Of any key.

fn keys(call: &Call) -> Done {
    let store = call.server.store.borrow();
    let found: Vec<_> = store.keys().filter(|key| glob::matches(&call.words[1], key)).collect();
    call.output.array(found.len());
    found.into_iter().for_each(|key| call.output.bulk(key));
    Ok(())
}

fn del(call: &Call) -> Done {
    let mut store = call.server.store.borrow_mut();
    let removed = call.words.from(1).filter(|key| store.remove(key)).count();
    call.integer(removed as i64)
}

fn exists(call: &Call) -> Done {
    let store = call.server.store.borrow();
    let there = call.words.from(1).filter(|key| store.get(key).is_some()).count();
    call.integer(there as i64)
}

fn type_(call: &Call) -> Done {
    let store = call.server.store.borrow();
    call.simple(match store.get(call.key()) {
        None => "none",
        Some(Value::Text(_)) => "string",
        Some(Value::List(_)) => "list",
    })
}

fn ttl(call: &Call, unit_ms: u64) -> Done {
    let store = call.server.store.borrow();
    let ttl = match (store.get(call.key()), store.deadline(call.key())) {
        (None, _) => -2,
        (_, None) => -1,
        (_, Some(deadline)) => ((deadline - store.now() + unit_ms / 2) / unit_ms) as i64,
    };
    call.integer(ttl)
}

fn persist(call: &Call) -> Done {
    let mut store = call.server.store.borrow_mut();
    let had = store.deadline(call.key()).is_some();
    store.set_deadline(call.key(), None);
    call.integer(had.into())
}

fn invalid_time(command: &str) -> Failure {
    format!("ERR invalid expire time in '{command}' command").into()
}

fn expire(call: &Call, unit_ms: i64) -> Done {
    let (mut nx, mut xx, mut gt, mut lt) = (false, false, false, false);
    for option in call.words.from(3) {
        match option.to_ascii_lowercase().as_slice() {
            b"nx" => nx = true,
            b"xx" => xx = true,
            b"gt" => gt = true,
            b"lt" => lt = true,
            _ => {
                let option = String::from_utf8_lossy(option);
                return Err(format!("ERR Unsupported option {option}").into());
            }
        }
    }
    if nx && (xx || gt || lt) {
        let text = "ERR NX and XX, GT or LT options at the same time are not compatible";
        return Err(text.into());
    }
    if gt && lt {
        return Err("ERR GT and LT options at the same time are not compatible".into());
    }
    let mut store = call.server.store.borrow_mut();
    let name = if unit_ms == 1 { "pexpire" } else { "expire" };
    let ms = number(&call.words[2])?.checked_mul(unit_ms);
    let deadline = ms.and_then(|ms| ms.checked_add(store.now() as i64));
    let deadline = deadline.ok_or_else(|| invalid_time(name))?.max(0) as u64;
    let old = store.deadline(call.key());
    // No deadline is later than any.
    let changes = store.get(call.key()).is_some()
        && !(nx && old.is_some())
        && !(xx && old.is_none())
        && !(gt && old.is_none_or(|old| deadline <= old))
        && !(lt && old.is_some_and(|old| deadline >= old));
    if changes {
        store.set_deadline(call.key(), Some(deadline));
    }
    call.integer(changes.into())
}

// Of text.

fn get(call: &Call) -> Done {
    let store = call.server.store.borrow();
    bulk_or_null(call, store.text(call.key())?);
    Ok(())
}

fn bulk_or_null(call: &Call, text: Option<&[u8]>) {
    match text {
        Some(text) => call.output.bulk(text),
        None => call.output.null(),
    }
}

#[derive(Default)]
struct SetOptions {
    nx: bool,
    xx: bool,
    get: bool,
    keep_ttl: bool,
    expiry: Option<(i64, i64)>, // how much, of which milliseconds
}

impl SetOptions {
    fn parse(words: Words<'_>) -> Result<SetOptions, Failure> {
        let mut set = SetOptions::default();
        let mut unit = 0;
        let mut amount = None;
        let mut options = words.from(3);
        while let Some(option) = options.next() {
            match option.to_ascii_lowercase().as_slice() {
                b"nx" if !set.xx => set.nx = true,
                b"xx" if !set.nx => set.xx = true,
                b"get" => set.get = true,
                b"keepttl" if unit == 0 => set.keep_ttl = true,
                b"ex" if !set.keep_ttl && unit != 1 => {
                    unit = 1000;
                    amount = Some(options.next().ok_or(SYNTAX)?);
                }
                b"px" if !set.keep_ttl && unit != 1000 => {
                    unit = 1;
                    amount = Some(options.next().ok_or(SYNTAX)?);
                }
                _ => return Err(SYNTAX),
            }
        }
        if let Some(amount) = amount {
            set.expiry = Some((number(amount)?, unit));
        }
        Ok(set)
    }
}

fn set(call: &Call) -> Done {
    let options = SetOptions::parse(call.words)?;
    let mut store = call.server.store.borrow_mut();
    let deadline = match options.expiry {
        None if options.keep_ttl => store.deadline(call.key()),
        None => None,
        Some((amount, unit_ms)) => {
            let ms = Some(amount).filter(|amount| *amount > 0);
            let ms = ms.and_then(|amount| amount.checked_mul(unit_ms));
            let deadline = ms.and_then(|ms| ms.checked_add(store.now() as i64));
            Some(deadline.ok_or_else(|| invalid_time("set"))? as u64)
        }
    };
    let is_there = store.get(call.key()).is_some();
    if options.get {
        bulk_or_null(call, store.text(call.key())?);
    }
    if (options.nx && is_there) || (options.xx && !is_there) {
        if !options.get {
            call.output.null();
        }
        return Ok(());
    }
    store.set(call.key(), &call.words[2]);
    if deadline.is_some() {
        store.set_deadline(call.key(), deadline);
    }
    if !options.get {
        call.output.simple("OK");
    }
    Ok(())
}

fn mget(call: &Call) -> Done {
    let store = call.server.store.borrow();
    call.output.array(call.words.len() - 1);
    for key in call.words.from(1) {
        bulk_or_null(call, store.text(key).unwrap_or(None)); // another kind is as none
    }
    Ok(())
}

fn mset(call: &Call) -> Done {
    if call.words.len().is_multiple_of(2) {
        return Err(wrong_number("mset"));
    }
    let mut store = call.server.store.borrow_mut();
    let mut words = call.words.from(1);
    while let (Some(key), Some(text)) = (words.next(), words.next()) {
        store.set(key, text);
    }
    call.simple("OK")
}

fn strlen(call: &Call) -> Done {
    let store = call.server.store.borrow();
    let length = store.text(call.key())?.map_or(0, <[u8]>::len);
    call.integer(length as i64)
}

fn append(call: &Call) -> Done {
    let mut store = call.server.store.borrow_mut();
    let length = store.text(call.key())?.map_or(0, <[u8]>::len) + call.words[2].len();
    if length as i64 > LONGEST_WORD {
        return Err("ERR string exceeds maximum allowed size (proto-max-bulk-len)".into());
    }
    store.text_mut(call.key())?.extend_from_slice(&call.words[2]);
    call.integer(length as i64)
}

fn add(call: &Call, amount: impl FnOnce() -> Result<i64, Failure>) -> Done {
    let amount = amount()?;
    let mut store = call.server.store.borrow_mut();
    let old = store.text(call.key())?.map_or(Ok(0), number)?;
    let sum = old.checked_add(amount).ok_or("ERR increment or decrement would overflow")?;
    let text = store.text_mut(call.key())?;
    text.clear();
    write_integer(text, sum);
    call.integer(sum)
}

fn decrby(call: &Call) -> Done {
    add(call, || number(&call.words[2])?.checked_neg().ok_or("ERR decrement would overflow".into()))
}

// Of lists.

fn push(call: &Call, end: End) -> Done {
    let mut store = call.server.store.borrow_mut();
    let list = store.list_mut(call.key())?;
    for element in call.words.from(2) {
        match end {
            End::Left => list.push_front(element.into()),
            End::Right => list.push_back(element.into()),
        }
    }
    call.integer(list.len() as i64)
}

fn pop(call: &Call, end: End) -> Done {
    let name = match end {
        End::Left => "lpop",
        End::Right => "rpop",
    };
    let count = match call.words.len() {
        2 => None,
        3 => match integer(&call.words[2]) {
            Some(count @ 0..) => Some(count as usize),
            _ => return Err("ERR value is out of range, must be positive".into()),
        },
        _ => return Err(wrong_number(name)),
    };
    let mut store = call.server.store.borrow_mut();
    let there = store.list(call.key())?.map(|list| list.len());
    match (there, count) {
        (None, None) => call.output.null(),
        (None, Some(_)) => call.output.null_array(),
        (Some(_), None) => {}
        (Some(length), Some(count)) => call.output.array(count.min(length)),
    }
    store.pop(call.key(), count.unwrap_or(1), end, |element| call.output.bulk(&element))?;
    Ok(())
}

fn llen(call: &Call) -> Done {
    let store = call.server.store.borrow();
    let length = store.list(call.key())?.map_or(0, |list| list.len());
    call.integer(length as i64)
}

/// Both ends belong to the range, and negative ones are counted from the end of the list.
fn lrange(call: &Call) -> Done {
    let (start, stop) = (number(&call.words[2])?, number(&call.words[3])?);
    let store = call.server.store.borrow();
    let no_elements = VecDeque::new();
    let list = store.list(call.key())?.unwrap_or(&no_elements);
    let length = list.len() as i64;
    let from_the_end = |index: i64| if index < 0 { length.saturating_add(index) } else { index };
    let begin = from_the_end(start).clamp(0, length);
    let end = from_the_end(stop).min(length - 1) + 1;
    let range = begin as usize..end.max(begin) as usize;
    call.output.array(range.len());
    list.range(range).for_each(|element| call.output.bulk(element));
    Ok(())
}

// Of channels.

fn publish(call: &Call) -> Done {
    let told = call.server.pubsub.borrow().publish(&call.words[1], &call.words[2]);
    call.integer(told as i64)
}

/// Each name has an answer of its own: what it is, the name, and to how many the client now listens.
fn subscribe(call: &Call, kind: Kind) -> Done {
    let what: &[u8] = match kind {
        Kind::Channel => b"subscribe",
        Kind::Pattern => b"psubscribe",
    };
    for name in call.words.from(1) {
        call.server.pubsub.borrow_mut().subscribe(kind, name, call.client);
        subscription(call, what, Some(name));
    }
    Ok(())
}

fn unsubscribe(call: &Call, kind: Kind) -> Done {
    let what: &[u8] = match kind {
        Kind::Channel => b"unsubscribe",
        Kind::Pattern => b"punsubscribe",
    };
    let all = match call.words.len() {
        1 => call.client.subscriptions.borrow().of(kind),
        _ => Vec::new(),
    };
    let mut answered = false;
    for name in call.words.from(1).chain(all.iter().map(|name| &**name)) {
        call.server.pubsub.borrow_mut().unsubscribe(kind, name, call.client);
        subscription(call, what, Some(name));
        answered = true;
    }
    if !answered {
        subscription(call, what, None);
    }
    Ok(())
}

fn subscription(call: &Call, what: &[u8], name: Option<&[u8]>) {
    call.output.array(3);
    call.output.bulk(what);
    bulk_or_null(call, name);
    call.output.integer(call.client.subscriptions.borrow().len() as i64);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They are looked for by halves, in a room of sixteen bytes.
    #[test]
    fn the_table_is_in_order() {
        assert!(COMMANDS.is_sorted_by(|(one, ..), (next, ..)| one < next));
        assert!(COMMANDS.iter().all(|(name, ..)| (1..=16).contains(&name.len())));
    }
}
