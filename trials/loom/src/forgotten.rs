//! In place of `runtime/forgotten.rs`, which only debug builds call. It keeps a lock in a static, where loom's cannot stand.

use crate::number::Number;

pub(crate) fn count(_: Number, _: bool) {}

pub(crate) fn is_without_clone(_: Number) -> bool {
    false
}

pub(crate) fn tell(_: Number, _: &str) {}

pub(crate) fn unregister(_: u32) {}
