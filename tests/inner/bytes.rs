//! `runtime/bytes.rs`, from inside.

use super::*;

/// S09: of a buffer that is larger than the kernel ever fills, nothing is proved by its not being full.
#[test]
fn a_read_as_long_as_the_kernel_allows_is_not_short() {
    // It fills whole pages below 2 GiB, which have 4 KiB or, on some machines, 64.
    let most = [4 << 10, 64 << 10].map(|page| (1 << 31) - page);
    for room in [most[0], most[0] + 1, 3 << 30, usize::MAX] {
        assert!(most.iter().all(|&n| !is_short(n, room)), "{room}");
        assert!(is_short(most[1] - 1, room), "{room}");
        assert!(is_short(1, room), "{room}");
    }
    for room in [1, 2, 4096] {
        assert!(!is_short(room, room));
        assert!(is_short(room - 1, room));
    }
}
