//! Who hears what: the subscribers of each channel, and of each pattern of channels. It knows of a client that one can be told something.

use crate::connection::Client;
use crate::glob;
use crate::output::Output;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Channel,
    Pattern,
}

/// The subscribers of a name, by their numbers: the first to come hears it first.
type Names = HashMap<Rc<[u8]>, BTreeMap<u64, Rc<Client>>>;

#[derive(Default)]
pub struct PubSub {
    names: [Names; 2], // by `Kind`
}

/// What one client has subscribed to; it keeps that itself.
#[derive(Default)]
pub struct Subscriptions {
    names: [BTreeSet<Rc<[u8]>>; 2],
}

impl Subscriptions {
    pub fn len(&self) -> usize {
        self.names.iter().map(BTreeSet::len).sum()
    }

    pub fn of(&self, kind: Kind) -> Vec<Rc<[u8]>> {
        self.names[kind as usize].iter().cloned().collect()
    }
}

impl PubSub {
    pub fn subscribe(&mut self, kind: Kind, name: &[u8], client: &Rc<Client>) {
        let name = Rc::<[u8]>::from(name);
        if client.subscriptions.borrow_mut().names[kind as usize].insert(name.clone()) {
            let subscribers = self.names[kind as usize].entry(name).or_default();
            subscribers.insert(client.number, client.clone());
        }
    }

    pub fn unsubscribe(&mut self, kind: Kind, name: &[u8], client: &Rc<Client>) {
        client.subscriptions.borrow_mut().names[kind as usize].remove(name);
        let names = &mut self.names[kind as usize];
        if let Some(subscribers) = names.get_mut(name) {
            subscribers.remove(&client.number);
            if subscribers.is_empty() {
                names.remove(name);
            }
        }
    }

    /// This client is gone.
    pub fn leave(&mut self, client: &Rc<Client>) {
        for kind in [Kind::Channel, Kind::Pattern] {
            let names = client.subscriptions.borrow().of(kind);
            for name in names {
                self.unsubscribe(kind, &name, client);
            }
        }
    }

    /// Tells all who want to hear of it, and says how many. The message is made once for all of a name, and nobody is waited for.
    pub fn publish(&self, channel: &[u8], message: &[u8]) -> usize {
        let mut told = 0;
        if let Some(subscribers) = self.names[Kind::Channel as usize].get(channel) {
            told += tell(subscribers, &[b"message", channel, message]);
        }
        for (pattern, subscribers) in &self.names[Kind::Pattern as usize] {
            if glob::matches(pattern, channel) {
                told += tell(subscribers, &[b"pmessage", pattern, channel, message]);
            }
        }
        told
    }
}

fn tell(subscribers: &BTreeMap<u64, Rc<Client>>, words: &[&[u8]]) -> usize {
    let output = Output::default();
    output.array(words.len());
    for word in words {
        output.bulk(word);
    }
    let message = output.into_bytes();
    for client in subscribers.values() {
        client.tell(&message);
    }
    subscribers.len()
}
