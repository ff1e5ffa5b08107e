//! A waker is a number: the packing. What a number does when it is woken is in `waker.rs`.
//!
//! ```text
//!  63         48 47         32 31                     0
//! ┌─────────────┬─────────────┬────────────────────────┐
//! │   runtime   │ generation  │       task index       │   = Waker::data
//! └─────────────┴─────────────┴────────────────────────┘
//! ```
//!
//! The generation is the end of the task's id, which counts all tasks. So a *late* wake, of a task that
//! has ended, can be taken for another's: when that has the same index and was spawned a multiple of 65,536
//! tasks later. It costs a poll too many, which the contract of `Waker` allows.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Number(u64);

impl Number {
    /// Nobody's: no runtime has the serial 0.
    pub(crate) const NONE: Number = Number(0);

    /// Of the runtime's serial the low 16 bits have room here.
    #[inline]
    pub(crate) fn of_task(runtime: u32, index: u32, id: u64) -> Number {
        Number((runtime as u64) << 48 | (id as u16 as u64) << 32 | index as u64)
    }

    /// The root has an index that no task can have.
    pub(crate) fn of_root(runtime: u32) -> Number {
        Number::of_task(runtime, u32::MAX, 0)
    }

    pub(crate) const fn from_bits(bits: u64) -> Number {
        Number(bits)
    }

    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    pub(crate) fn runtime(self) -> u16 {
        (self.0 >> 48) as u16
    }

    pub(crate) fn generation(self) -> u16 {
        (self.0 >> 32) as u16
    }

    pub(crate) fn index(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn is_root(self) -> bool {
        self.index() == u32::MAX
    }
}
