//! Who is kept where: by place, and by task, so that neither question looks at everybody.

use super::state::Holder;
use std::collections::BTreeMap;

/// Which of those who wait at one place. A descriptor has one place for a reader, and a table of those who stand aside.
pub(super) type Claim = u32;

/// The one place that there is.
pub(super) const PLACE: Claim = 0;

#[derive(Default)]
pub(super) struct Holders {
    at: BTreeMap<(Holder, Claim), u64>,
    /// And whether it is kept by somebody else's waker.
    of: BTreeMap<(u64, Holder, Claim), bool>,
}

impl Holders {
    /// In place of whoever had this claim before, which is returned.
    pub(super) fn put(
        &mut self,
        holder: Holder,
        claim: Claim,
        task: u64,
        is_foreign: bool,
    ) -> Option<u64> {
        let before = self.take(holder, claim);
        self.at.insert((holder, claim), task);
        self.of.insert((task, holder, claim), is_foreign);
        before
    }

    pub(super) fn take(&mut self, holder: Holder, claim: Claim) -> Option<u64> {
        let task = self.at.remove(&(holder, claim))?;
        self.of.remove(&(task, holder, claim));
        Some(task)
    }

    /// All who wait there, each once for each claim.
    pub(super) fn at(&self, holder: Holder) -> impl Iterator<Item = (Claim, u64)> {
        let all = (holder, 0)..=(holder, Claim::MAX);
        self.at.range(all).map(|((_, claim), task)| (*claim, *task))
    }

    /// Where the task is kept, and whether by somebody else's waker.
    pub(super) fn of(&self, task: u64) -> impl Iterator<Item = (Holder, bool)> {
        let from = self.of.range((task, Holder::FIRST, 0)..);
        from.take_while(move |(key, _)| key.0 == task).map(|(key, foreign)| (key.1, *foreign))
    }

    pub(super) fn has(&self, task: u64) -> bool {
        self.of(task).next().is_some()
    }
}
