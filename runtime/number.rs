//! A waker is a number: the packing. What a number does when it is woken is in `waker.rs`.
//!
//! ```text
//!  63         48 47         32 31                     0
//! ┌─────────────┬─────────────┬────────────────────────┐
//! │ generation  │   runtime   │       task index       │   = Waker::data
//! └─────────────┴─────────────┴────────────────────────┘
//! ```
//!
//! The upper half is the end of the task's id: the generation counts all tasks of the runtime. So a *late* wake, of a
//! task that has ended, can be taken for another's: when that has the same index and was spawned a multiple of 65,536
//! tasks later. It costs a poll too many, which the contract of `Waker` allows.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Number(u64);

impl Number {
    /// Nobody's: no runtime has the serial 0.
    pub(crate) const NONE: Number = Number(0);

    #[inline]
    pub(crate) fn of_task(id: u64, index: u32) -> Number {
        Number(id << 32 | index as u64)
    }

    /// The root has an index that no task can have. Of the runtime's serial the low 16 bits have room here.
    pub(crate) fn of_root(runtime: u32) -> Number {
        Number::of_task(runtime as u16 as u64, u32::MAX)
    }

    pub(crate) const fn from_bits(bits: u64) -> Number {
        Number(bits)
    }

    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    pub(crate) fn runtime(self) -> u16 {
        self.end_of_id() as u16
    }

    /// Generation and runtime.
    pub(crate) fn end_of_id(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) fn index(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn is_root(self) -> bool {
        self.index() == u32::MAX
    }
}
