//! `runtime/patience.rs`, from inside.

use super::*;

const LIMIT: Duration = Duration::from_micros(40);

/// A world in which the next event comes after the times of `gaps`, and to be woken takes 30 µs. How often looking
/// saved a sleep, how often not, and for how long it looked in all.
fn live(patience: &Patience, gaps: impl IntoIterator<Item = u64>) -> (u32, u32, Duration) {
    let (mut saved, mut slept, mut looked) = (0, 0, Duration::ZERO);
    for gap in gaps.into_iter().map(Duration::from_micros) {
        let limit = patience.limit();
        if gap < limit {
            patience.found(gap);
            saved += 1;
        } else {
            patience.in_vain(limit);
            patience.slept(gap - limit + Duration::from_micros(30));
            slept += 1;
        }
        looked += limit.min(gap);
    }
    (saved, slept, looked)
}

/// The same gap, so often.
fn gaps(micros: u64, times: usize) -> impl Iterator<Item = u64> {
    std::iter::repeat_n(micros, times)
}

/// Numbers as good as random ones, below `most`.
fn random(seed: u64, most: u64) -> impl Iterator<Item = u64> {
    let mut state = seed * 2 + 1;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % most
    })
}

#[test]
fn trust_is_earned_by_64_short_sleeps() {
    let patience = Patience::new(LIMIT);
    assert_eq!(live(&patience, gaps(10, 64)).0, 0);
    assert_eq!(live(&patience, gaps(10, 1000)).0, 1000);
}

#[test]
fn whoever_hears_nothing_for_long_does_not_look() {
    let patience = Patience::new(LIMIT);
    assert_eq!(live(&patience, gaps(1000, 10_000)).2, Duration::ZERO);
}

#[test]
fn after_a_thousand_that_paid_seventeen_in_vain_are_the_last() {
    let patience = Patience::new(LIMIT);
    live(&patience, gaps(1, 1000));
    let (saved, _, looked) = live(&patience, gaps(1000, 10_000));
    assert_eq!((saved, looked), (0, 17 * LIMIT));
}

#[test]
fn a_loop_that_is_only_just_not_worth_it_looks_once_in_64_waits() {
    let patience = Patience::new(LIMIT);
    let (saved, _, looked) = live(&patience, gaps(45, 6401));
    assert_eq!((saved, looked), (0, 100 * LIMIT));
}

#[test]
fn whatever_comes_looking_costs_no_more_than_the_sleeps_that_it_saves() {
    for seed in 0..1000 {
        let most = 1 + seed % 200;
        let patience = Patience::new(LIMIT);
        let (saved, slept, looked) = live(&patience, random(seed, most).take(5000));
        let worth = (saved + 1) * LIMIT + slept * LIMIT / 64;
        assert!(looked <= worth, "gaps below {most}: {looked:?} for {saved} saved, {slept} slept");
    }
}

#[test]
fn whose_core_was_taken_away_does_not_look_for_256_short_sleeps() {
    let patience = Patience::new(LIMIT);
    live(&patience, gaps(1, 1000));
    assert!(!patience.was_away(Duration::from_micros(100)), "an interrupt");
    assert!(patience.was_away(Duration::from_millis(4)));
    assert_eq!(live(&patience, gaps(1, 256)).0, 0);
    assert_eq!(live(&patience, gaps(1, 1)).0, 1);
}

#[test]
fn an_answer_is_expected_in_a_conversation_of_few() {
    let patience = Patience::new(LIMIT);
    assert!(patience.expects(true, 1));
    assert!(!patience.expects(false, 2), "nobody was talked with");
    assert!(patience.expects(true, 2 + FEW));
    assert!(!patience.expects(true, 2 + 2 * FEW + 1), "many were served");
    assert!(
        patience.expects(true, 2 + 2 * FEW + 1),
        "a letter, or a write that a timer has brought"
    );
}

#[test]
fn one_sleep_in_eight_is_timed() {
    let patience = Patience::new(LIMIT);
    assert_eq!((0..8000).filter(|_| patience.is_to_time()).count(), 1000);
}

#[test]
fn with_zero_there_is_never_a_look_and_with_for_ever_no_overflow() {
    let none = Patience::new(Duration::ZERO);
    assert!(none.is_none());
    live(&none, gaps(0, 1000));
    assert_eq!(none.limit(), Duration::ZERO);
    let endless = Patience::new(Duration::MAX);
    for _ in 0..1000 {
        endless.slept(Duration::ZERO);
        endless.found(Duration::ZERO);
        endless.in_vain(Duration::MAX);
        endless.was_away(Duration::MAX);
    }
}
