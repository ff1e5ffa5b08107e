//! The data: keys, each with a value and perhaps a deadline. It knows no protocol, and no clock but the one it is given.
//!
//! Time stands still between two calls of `advance`, which removes what is due. So nothing else here has to ask whether
//! a key is still there, and several commands that are performed together see the same moment.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::rc::Rc;

pub enum Value {
    Text(Vec<u8>),
    List(VecDeque<Box<[u8]>>), // never empty: the last pop removes the key
}

struct Entry {
    value: Value,
    deadline: Option<u64>,
}

/// The key holds another kind of value than the command is for.
#[derive(Debug, PartialEq, Eq)]
pub struct WrongType;

#[derive(Default)]
pub struct Store {
    now: u64,
    entries: HashMap<Rc<[u8]>, Entry>, // std's hash has a secret: nobody can choose keys that collide
    deadlines: BTreeSet<(u64, Rc<[u8]>)>, // the earliest first
}

impl Store {
    /// It is `now`, in milliseconds since some beginning.
    pub fn advance(&mut self, now: u64) {
        self.now = now;
        while self.deadlines.first().is_some_and(|(deadline, _)| *deadline <= now) {
            if let Some((_, key)) = self.deadlines.pop_first() {
                self.entries.remove(&key);
            }
        }
    }

    pub fn now(&self) -> u64 {
        self.now
    }

    pub fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.keys().map(|key| &**key)
    }

    pub fn clear(&mut self) {
        *self = Store { now: self.now, ..Store::default() };
    }

    pub fn get(&self, key: &[u8]) -> Option<&Value> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    pub fn text(&self, key: &[u8]) -> Result<Option<&[u8]>, WrongType> {
        match self.get(key) {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(WrongType),
            None => Ok(None),
        }
    }

    /// The text of this key, to be changed; when there is no such key, an empty one.
    pub fn text_mut(&mut self, key: &[u8]) -> Result<&mut Vec<u8>, WrongType> {
        match self.value_mut(key, || Value::Text(Vec::new())) {
            Value::Text(text) => Ok(text),
            Value::List(_) => Err(WrongType),
        }
    }

    pub fn list(&self, key: &[u8]) -> Result<Option<&VecDeque<Box<[u8]>>>, WrongType> {
        match self.get(key) {
            Some(Value::List(list)) => Ok(Some(list)),
            Some(_) => Err(WrongType),
            None => Ok(None),
        }
    }

    /// The list of this key, to be added to; when there is no such key, an empty one.
    pub fn list_mut(&mut self, key: &[u8]) -> Result<&mut VecDeque<Box<[u8]>>, WrongType> {
        match self.value_mut(key, || Value::List(VecDeque::new())) {
            Value::List(list) => Ok(list),
            Value::Text(_) => Err(WrongType),
        }
    }

    fn value_mut(&mut self, key: &[u8], new: impl FnOnce() -> Value) -> &mut Value {
        // Twice looked up when it is new: `entry` would want a key of its own even when it is not.
        if !self.entries.contains_key(key) {
            self.entries.insert(key.into(), Entry { value: new(), deadline: None });
        }
        &mut self.entries.get_mut(key).expect("it is there, or was just put there").value
    }

    /// Takes up to `count` elements from an end of a list; none when there is no such key.
    pub fn pop(
        &mut self,
        key: &[u8],
        count: usize,
        end: End,
        mut each: impl FnMut(Box<[u8]>),
    ) -> Result<(), WrongType> {
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        let Value::List(list) = &mut entry.value else { return Err(WrongType) };
        for _ in 0..count {
            let popped = match end {
                End::Left => list.pop_front(),
                End::Right => list.pop_back(),
            };
            let Some(element) = popped else { break };
            each(element);
        }
        if list.is_empty() {
            self.remove(key);
        }
        Ok(())
    }

    /// A new value for a key, whatever it held. Its deadline is gone.
    pub fn set(&mut self, key: &[u8], text: &[u8]) {
        match self.entries.get_mut(key) {
            Some(Entry { value: Value::Text(old), deadline: None }) => {
                old.clear();
                old.shrink_to(2 * text.len());
                old.extend_from_slice(text);
            }
            Some(_) => {
                self.set_deadline(key, None);
                let entry = self.entries.get_mut(key).expect("it was there");
                entry.value = Value::Text(text.into());
            }
            None => {
                let entry = Entry { value: Value::Text(text.into()), deadline: None };
                self.entries.insert(key.into(), entry);
            }
        }
    }

    /// Whether it was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let Some((key, entry)) = self.entries.remove_entry(key) else { return false };
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, key));
        }
        true
    }

    /// The deadline of a key that is there.
    pub fn deadline(&self, key: &[u8]) -> Option<u64> {
        self.entries.get(key)?.deadline
    }

    /// One that has passed removes the key.
    pub fn set_deadline(&mut self, key: &[u8], deadline: Option<u64>) {
        if deadline.is_some_and(|deadline| deadline <= self.now) {
            self.remove(key);
            return;
        }
        let Some((key, _)) = self.entries.get_key_value(key) else { return };
        let key = key.clone();
        let entry = self.entries.get_mut(&key).expect("it is there");
        let old = std::mem::replace(&mut entry.deadline, deadline);
        if let Some(old) = old {
            self.deadlines.remove(&(old, key.clone()));
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, key));
        }
    }
}

#[derive(Clone, Copy)]
pub enum End {
    Left,
    Right,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_at_its_deadline_and_not_before() {
        let mut store = Store::default();
        for (key, deadline) in [(b"b", 20), (b"a", 10), (b"c", 30)] {
            store.set(key, b"x");
            store.set_deadline(key, Some(deadline));
        }
        assert_eq!(store.next_deadline(), Some(10));
        store.advance(9);
        assert_eq!(store.len(), 3);
        store.advance(20);
        assert_eq!(store.keys().collect::<Vec<_>>(), [b"c"]);
        assert_eq!(store.next_deadline(), Some(30));
    }

    /// Each way by which a key can lose its deadline: what is left behind would remove the next key of that name.
    #[test]
    fn a_deadline_goes_with_its_key() {
        let ways: [fn(&mut Store); 5] = [
            |store| store.set_deadline(b"a", None),
            |store| store.set(b"a", b"new"),
            |store| assert!(store.remove(b"a")),
            |store| store.clear(),
            |store| store.set_deadline(b"a", Some(0)),
        ];
        for way in ways {
            let mut store = Store::default();
            store.set(b"a", b"x");
            store.set_deadline(b"a", Some(10));
            way(&mut store);
            assert_eq!((store.next_deadline(), store.deadlines.len()), (None, 0));
        }
    }

    #[test]
    fn an_empty_list_is_no_key() {
        let mut store = Store::default();
        store.list_mut(b"a").unwrap().push_back(b"x".as_slice().into());
        store.set_deadline(b"a", Some(10));
        assert_eq!(store.text(b"a"), Err(WrongType));
        store.pop(b"a", 5, End::Left, |element| assert_eq!(&*element, b"x")).unwrap();
        assert_eq!((store.len(), store.next_deadline()), (0, None));
    }
}
