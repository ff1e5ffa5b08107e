//! `runtime/bytes.rs`, from inside.

use super::*;

/// S09: of a buffer that is larger than the kernel ever fills, nothing is proved by its not being full.
#[test]
fn a_read_as_long_as_the_kernel_allows_is_not_short() {
    assert_eq!(MOST_AT_ONCE, (1 << 31) - 4096);
    for room in [MOST_AT_ONCE, MOST_AT_ONCE + 1, 3 << 30, usize::MAX] {
        assert!(!is_short(MOST_AT_ONCE, room), "{room}");
        assert!(is_short(MOST_AT_ONCE - 1, room), "{room}");
        assert!(is_short(1, room), "{room}");
    }
    for room in [1, 2, 4096] {
        assert!(!is_short(room, room));
        assert!(is_short(room - 1, room));
    }
}
