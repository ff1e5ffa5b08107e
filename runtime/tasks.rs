//! The table of the tasks, and what is kept of each beside its future. Has no queue, and runs nobody's code.
//!
//! ```text
//! TaskKey { id, index }         ──► entries[index]   is this task while entries[index].id == id
//! Number { end of id, index }   ──► entries[index]   means this task while its id ends like that, and it has not ended
//! ```
//!
//! An id is a count of the runtime's tasks, and behind it the last 16 bits of the runtime's serial. It comes round after
//! 2^48 tasks and no sooner, so this table needs no stamps, as a slab has them. An empty entry has the index of the next
//! empty one in place of the count, and no runtime.
//!
//! A task has 64 bytes here. What few tasks have, and all would pay for its room, stands aside: a name,
//! and a foreign waker that waits for the end.

use crate::number::Number;
use crate::slab::Slab;
use crate::spawned::Spawned;
use std::borrow::Cow;
use std::mem;
use std::panic::Location;
use std::task::Waker;

pub(crate) struct Task {
    /// Not used again for years, unlike the index and the number.
    pub(crate) id: u64,
    /// Away while it is being polled. When the task has ended: what it has left.
    pub(crate) future: Option<Spawned>,
    /// Who here waits for the end of this one, a task or the root. Or `NONE`, or `DETACHED`, or one that is foreign, see below.
    joiner: Number,
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) type_name: fn() -> &'static str,
    pub(crate) polls: u64,
    /// When it was last polled, by the coarse clock.
    pub(crate) polled: u32,
    pub(crate) mark: Mark,
    /// It has ended while the ready queue had an entry of it. Its place is not used again before that entry is out, so
    /// that it means nobody else.
    is_left_in_queue: bool,
    /// In debug builds: how many clones of its waker there are, or `MANY`.
    pub(crate) clones: u8,
}

/// What a wake looks at, and changes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The task waits, or is being polled: a wake queues it.
    Waits,
    /// It is queued: a wake changes nothing.
    Queued,
    /// It is queued, to be dropped and not polled.
    Aborted,
    /// Nobody can wake it any more.
    Ended(Ended),
}

/// What is known of a task from its spawning.
pub(crate) struct About {
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) type_name: fn() -> &'static str,
    pub(crate) name: Option<Name>,
}

/// In a box, since it is handed on, and nearly always `None`.
pub(crate) type Name = Box<Cow<'static, str>>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Finished,
    Panicked,
    Cancelled,
}

/// Who is woken when a task has ended.
pub(crate) enum Joiner {
    /// A task of this runtime, or its root. Or nobody, yet or for ever, see below.
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
    /// Nobody will ever ask for the output.
    pub(crate) const DETACHED: Joiner = Joiner::Number(DETACHED);
}

// In place of a joiner's number. Nobody's, since no runtime has the serial 0.
pub(crate) const DETACHED: Number = Number::from_bits(1);

/// What the number of a joiner has instead of the end of an id, when that is foreign: of no runtime, as well.
const FOREIGN: u32 = 1 << 16;

/// The waker is in `foreign`, at this index.
fn foreign_at(index: u32) -> Number {
    Number::of_task(FOREIGN.into(), index)
}

#[inline(always)]
fn is_foreign(joiner: Number) -> bool {
    joiner.end_of_id() == FOREIGN
}

/// So many clones, or a task that was told of already: no longer counted.
pub(crate) const MANY: u8 = u8::MAX;

impl About {
    #[inline]
    pub(crate) fn of<F>(name: Option<Name>, spawned_at: &'static Location<'static>) -> About {
        About { spawned_at, type_name: std::any::type_name::<F>, name }
    }
}

impl Task {
    /// A new one, which is queued.
    #[inline(always)]
    pub(crate) fn new(id: u64, future: Option<Spawned>, about: &About, clock: u32) -> Task {
        Task {
            id,
            future,
            joiner: Number::NONE,
            spawned_at: about.spawned_at,
            type_name: about.type_name,
            polls: 0,
            polled: clock,
            mark: Mark::Queued,
            is_left_in_queue: false,
            clones: 0,
        }
    }

    fn vacant(next: u32) -> Task {
        let nobody = About::of::<()>(None, Location::caller());
        let mark = Mark::Ended(Ended::Cancelled);
        Task { mark, ..Task::new(vacant_id(next), None, &nobody, 0) }
    }

    /// Its number. `index` is where it is.
    pub(crate) fn number(&self, index: u32) -> Number {
        Number::of_task(self.id, index)
    }

    /// Whether it is the task with this number. (The index is what led here.)
    #[inline(always)]
    pub(crate) fn is(&self, number: Number) -> bool {
        self.id as u32 == number.end_of_id()
    }

    /// From here on nobody can wake it.
    #[inline(always)]
    pub(crate) fn end(&mut self, ended: Ended) {
        self.is_left_in_queue = self.mark != Mark::Waits;
        self.mark = Mark::Ended(ended);
    }

    #[inline(always)]
    pub(crate) fn ended(&self) -> Option<Ended> {
        match self.mark {
            Mark::Ended(ended) => Some(ended),
            _ => None,
        }
    }

    /// Whether it waits for a wake, and is not being polled.
    pub(crate) fn is_waiting(&self) -> bool {
        self.mark == Mark::Waits && self.future.is_some()
    }

    /// Who in this runtime waits for its end.
    pub(crate) fn joined_by(&self) -> Option<Number> {
        Some(self.joiner).filter(|joiner| joiner.runtime() != 0)
    }

    fn is_vacant(&self) -> bool {
        self.id as u16 == 0
    }
}

/// So many bits of an id are the end of the runtime's serial; above them it counts.
const SERIAL_BITS: u32 = 16;

/// Of a runtime's tasks the first is 1. After this one comes 0.
pub(crate) const LAST_COUNT: u64 = u64::MAX >> SERIAL_BITS;

/// Which of its runtime's tasks it is.
#[inline]
pub(crate) fn count(id: u64) -> u64 {
    id >> SERIAL_BITS
}

/// The id after this one. (They come round after years of nothing else.)
#[inline]
pub(crate) fn after(id: u64) -> u64 {
    id.wrapping_add(1 << SERIAL_BITS)
}

fn vacant_id(next: u32) -> u64 {
    u64::from(next) << SERIAL_BITS
}

pub(crate) struct Tasks {
    entries: Vec<Task>,
    /// The first of a chain of empty entries; `NONE` ends it. Last freed, first used: it is still in cache.
    free: u32,
    len: usize,
    /// By the index of the task. Until one has a name it is empty.
    names: Vec<Option<Name>>,
    /// Those that wait for the end of a task.
    foreign: Slab<Waker>,
}

/// No entry has this index: it is the root's.
const NONE: u32 = u32::MAX;

/// An empty table, with no entry left in the queue either, gives back its memory if it had more entries than this.
const KEPT: usize = 64;

impl Tasks {
    pub(crate) const fn new() -> Tasks {
        Tasks { entries: Vec::new(), free: NONE, len: 0, names: Vec::new(), foreign: Slab::new() }
    }

    /// Where the next task goes, which is to be put in at once: it is made where it stays, and not moved over the stack.
    ///
    /// # Panics
    /// When 2^32 - 1 tasks are in the table.
    #[inline(always)]
    pub(crate) fn vacancy(&mut self) -> (u32, &mut Task) {
        let index = self.free;
        if index as usize >= self.entries.len() {
            return self.grow(); // It is `NONE`.
        }
        let entry = &mut self.entries[index as usize];
        self.free = count(entry.id) as u32;
        self.len += 1;
        (index, entry)
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) -> (u32, &mut Task) {
        let index = self.entries.len();
        assert!(index < NONE as usize, "waken: more than 4 billion tasks in one runtime");
        self.entries.push(Task::vacant(NONE));
        self.len += 1;
        (index as u32, &mut self.entries[index])
    }

    /// Whatever is at `index` now. If that is an empty entry it looks like a task that has ended, which no key means.
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
        let index = number.index();
        self.at_mut(index).filter(|task| task.number(index) == number && task.ended().is_none())
    }

    /// Who waits for the end of the task at `index` from now on. Who did so before comes out.
    #[inline(always)]
    pub(crate) fn set_joiner(&mut self, index: u32, joiner: Joiner) -> Joiner {
        let number = match joiner {
            Joiner::Number(number) => number,
            Joiner::Foreign(waker) => return self.set_foreign(index, waker),
        };
        let before = mem::replace(&mut self.entries[index as usize].joiner, number);
        if cfg!(debug_assertions) {
            // A number that is kept is as good as a clone of the waker.
            self.count(number, true);
            self.count(before, false);
        }
        if is_foreign(before) {
            return self.take_foreign(before);
        }
        Joiner::Number(before)
    }

    #[cold]
    #[inline(never)]
    fn set_foreign(&mut self, index: u32, waker: Waker) -> Joiner {
        let before = self.set_joiner(index, Joiner::NOBODY);
        self.entries[index as usize].joiner = foreign_at(self.foreign.insert(waker).index);
        before
    }

    #[cold]
    #[inline(never)]
    fn take_foreign(&mut self, joiner: Number) -> Joiner {
        self.foreign.remove_at(joiner.index()).map_or(Joiner::NOBODY, Joiner::Foreign)
    }

    /// The foreign waker that waits for the end of this task.
    pub(crate) fn foreign_joiner(&mut self, key: TaskKey) -> Option<&Waker> {
        let joiner = self.find(key)?.joiner;
        if is_foreign(joiner) { self.foreign.at_mut(joiner.index()).map(|it| &*it) } else { None }
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn set_name(&mut self, index: u32, name: Name) {
        let room = self.names.len().max(index as usize + 1);
        self.names.resize_with(room, || None);
        self.names[index as usize] = Some(name);
    }

    pub(crate) fn name(&self, index: u32) -> Option<&Name> {
        self.names.get(index as usize)?.as_ref()
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

    /// Takes out a task for whose end nobody waits.
    pub(crate) fn take(&mut self, index: u32) -> Option<Task> {
        let task = self.at_mut(index).filter(|task| !task.is_vacant())?;
        let is_left_in_queue =
            task.is_left_in_queue || matches!(task.mark, Mark::Queued | Mark::Aborted);
        let task = mem::replace(task, Task { is_left_in_queue, ..Task::vacant(NONE) });
        self.vacate(index);
        Some(task)
    }

    /// `take`, for a task that has ended and of which everything that would have to be dropped is out already.
    #[inline(always)]
    pub(crate) fn vacate(&mut self, index: u32) {
        debug_assert!(self.entries[index as usize].joiner == Number::NONE, "somebody waits");
        let entry = &mut self.entries[index as usize];
        if entry.is_left_in_queue {
            entry.id = vacant_id(NONE);
            return; // `pass_over` goes on.
        }
        entry.id = vacant_id(self.free);
        self.free = index;
        self.len -= 1;
        if self.len == 0 && self.entries.len() > KEPT {
            return self.give_back();
        }
        if !self.names.is_empty() {
            self.forget_name(index);
        }
    }

    /// The entry of one that has ended is out of the ready queue.
    pub(crate) fn pass_over(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        entry.is_left_in_queue = false;
        if entry.is_vacant() {
            self.vacate(index);
        }
    }

    #[cold]
    #[inline(never)]
    fn forget_name(&mut self, index: u32) {
        if let Some(name) = self.names.get_mut(index as usize) {
            *name = None;
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
