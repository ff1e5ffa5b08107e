//! The table of the tasks, and what is kept of each beside its future. Knows no queue, and runs nobody's code.
//!
//! ```text
//! TaskKey { id, index } ──► entries[index]   is this task while entries[index].id == id
//! Number { …, index }   ──► entries[index]   means this task while entries[index].mark is the number, or its complement
//! ```
//!
//! Ids are never used twice, so this table needs no stamps, as a slab has them. An empty entry keeps the index of the
//! next empty one in place of an id; no id is as small.

use crate::number::Number;
use crate::spawned::Spawned;
use std::borrow::Cow;
use std::mem;
use std::panic::Location;
use std::task::Waker;

pub(crate) struct Task {
    /// Never reused, unlike the index and the number.
    pub(crate) id: u64,
    /// What a wake compares, and changes:
    ///
    /// ```text
    ///  n   the task with the number n waits, or is being polled: a wake queues it
    /// !n   it is queued: a wake changes nothing
    ///  0   it has ended
    /// ```
    pub(crate) mark: Number,
    /// Away while it is being polled. When the task has ended: what it has left.
    pub(crate) future: Option<Spawned>,
    /// How it has ended.
    pub(crate) ended: Option<Ended>,
    pub(crate) joiner: Joiner,
    /// Nobody will ask for the output.
    pub(crate) detached: bool,
    pub(crate) aborted: bool,
    /// When it was last polled, by the coarse clock.
    pub(crate) polled: u32,
    /// In debug builds: how many clones of its waker there are, or `MANY`.
    pub(crate) clones: u8,
    pub(crate) polls: u64,
    pub(crate) about: About,
}

/// What is known of a task from its spawning.
pub(crate) struct About {
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) future: fn() -> &'static str,
    /// Behind a box, since few tasks have one and all would pay for its room.
    pub(crate) name: Option<Box<Cow<'static, str>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Finished,
    Panicked,
    Cancelled,
}

/// Who is woken when a task has ended.
pub(crate) enum Joiner {
    /// A task of this runtime, or nobody.
    Number(Number),
    Foreign(Waker),
}

/// Where a task is, and which task it was: what handles hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskKey {
    pub(crate) id: u64,
    pub(crate) index: u32,
    /// The serial of its runtime.
    pub(crate) runtime: u32,
}

impl Joiner {
    pub(crate) const NOBODY: Joiner = Joiner::Number(Number::NONE);

    /// Which task of this runtime waits.
    pub(crate) fn number(&self) -> Option<Number> {
        match *self {
            Joiner::Number(number) if number != Number::NONE => Some(number),
            _ => None,
        }
    }
}

/// So many clones, or a task that was told of already: no longer counted.
pub(crate) const MANY: u8 = u8::MAX;

impl About {
    #[inline]
    pub(crate) fn of<F>(
        name: Option<Box<Cow<'static, str>>>,
        spawned_at: &'static Location<'static>,
    ) -> About {
        About { spawned_at, future: std::any::type_name::<F>, name }
    }
}

impl Task {
    /// Whether it waits for a wake, and nothing else has been asked of it.
    pub(crate) fn is_waiting(&self, number: Number) -> bool {
        self.mark == number && self.future.is_some() && !self.aborted
    }

    fn vacant(next: u32) -> Task {
        Task {
            id: next.into(),
            mark: Number::NONE,
            future: None,
            ended: Some(Ended::Cancelled),
            joiner: Joiner::NOBODY,
            detached: false,
            aborted: false,
            polled: 0,
            clones: 0,
            polls: 0,
            about: About::of::<()>(None, Location::caller()),
        }
    }

    fn is_vacant(&self) -> bool {
        self.id <= u32::MAX.into()
    }
}

pub(crate) struct Tasks {
    entries: Vec<Task>,
    /// The first of a chain of empty entries; `NONE` ends it. Last freed, first used: it is still in cache.
    free: u32,
    len: usize,
}

/// No entry has this index: it is the root's.
const NONE: u32 = u32::MAX;

/// An empty table gives back its memory if it had more entries than this.
const KEPT: usize = 64;

impl Tasks {
    pub(crate) const fn new() -> Tasks {
        Tasks { entries: Vec::new(), free: NONE, len: 0 }
    }

    /// Where the next task goes, which is to be put in at once: it is made where it stays, and not moved over the stack.
    ///
    /// # Panics
    /// When 2^32 - 1 tasks are in the table.
    #[inline(always)]
    pub(crate) fn vacancy(&mut self) -> (u32, &mut Task) {
        if self.free == NONE {
            self.grow();
        }
        let index = self.free;
        let entry = &mut self.entries[index as usize];
        self.free = entry.id as u32;
        self.len += 1;
        (index, entry)
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        assert!(
            self.entries.len() < NONE as usize,
            "waken: more than 4 billion tasks in one runtime"
        );
        self.free = self.entries.len() as u32;
        self.entries.push(Task::vacant(NONE));
    }

    /// Whatever is at `index` now: perhaps nothing, which has no mark that fits and no id.
    #[inline(always)]
    pub(crate) fn at_mut(&mut self, index: u32) -> Option<&mut Task> {
        self.entries.get_mut(index as usize)
    }

    /// The task that a handle means, if it is still in the table.
    #[inline(always)]
    pub(crate) fn find(&mut self, key: TaskKey) -> Option<&mut Task> {
        self.at_mut(key.index).filter(|task| task.id == key.id)
    }

    /// The task with this number, if it has not ended.
    pub(crate) fn meant_by(&mut self, number: Number) -> Option<&mut Task> {
        let task = self.at_mut(number.index());
        task.filter(|task| task.ended.is_none() && [number, !number].contains(&task.mark))
    }

    /// Who waits for the end of the task at `index` from now on. Who did so before comes out.
    #[inline(always)]
    pub(crate) fn set_joiner(&mut self, index: u32, joiner: Joiner) -> Joiner {
        let task = &mut self.entries[index as usize];
        let before = mem::replace(&mut task.joiner, joiner);
        if cfg!(debug_assertions) {
            // A number that is kept is as good as a clone of the waker.
            let now = task.joiner.number();
            now.into_iter().for_each(|number| self.count(number, true));
            before.number().into_iter().for_each(|number| self.count(number, false));
        }
        before
    }

    /// A clone of the waker with this number was made, or dropped.
    pub(crate) fn count(&mut self, number: Number, made: bool) {
        match self.meant_by(number) {
            Some(task) if task.clones == MANY => {}
            Some(task) if made => task.clones += 1,
            Some(task) => task.clones = task.clones.saturating_sub(1),
            None => {}
        }
    }

    pub(crate) fn take(&mut self, index: u32) -> Option<Task> {
        let task = self.at_mut(index).filter(|task| !task.is_vacant())?;
        let task = mem::replace(task, Task::vacant(NONE));
        self.vacate(index);
        Some(task)
    }

    /// `take`, for a task that has ended and of which everything that would have to be dropped is out already.
    #[inline(always)]
    pub(crate) fn vacate(&mut self, index: u32) {
        self.entries[index as usize].id = self.free.into();
        self.free = index;
        self.len -= 1;
        if self.len == 0 && self.entries.len() > KEPT {
            self.give_back();
        }
    }

    /// A burst is over.
    #[cold]
    #[inline(never)]
    fn give_back(&mut self) {
        *self = Tasks::new();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Task)> {
        (0..).zip(&self.entries).filter(|(_, task)| !task.is_vacant())
    }
}

#[cfg(test)]
#[path = "../tests/inner/tasks.rs"]
mod tests;
