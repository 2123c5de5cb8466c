//! Worlds of several gateways over one store, for as many seeds as are wanted: `several FROM TO`.
//!
//! A program of its own, because what five hundred seeds in the tests do not find ten thousand may. It is the very world of the
//! tests; a seed that finds a violation ends it with its number.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program of one figure, whose world is that of the tests"
)]

#[path = "../tests/simulated/several/mod.rs"]
mod several;

use several::{Trouble, all};

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let [from, to] = numbers[..] else { return println!("usage: several FROM TO") };
    for cuts in [false, true] {
        let outcome = all(from..to, Trouble { cuts });
        println!("cuts {cuts}: {outcome:?}");
    }
}
