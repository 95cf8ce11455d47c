//! Requests: their meaning must not depend on how they are cut, and must be that of the reference.

#![no_main]

#[path = "cut.rs"]
mod cut;
#[path = "../../tests/proof/driver.rs"]
mod driver;
#[path = "../../tests/proof/outcome.rs"]
mod outcome;
#[path = "../../tests/proof/reference.rs"]
mod reference;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((limits, seed, input)) = cut::split(data) else { return };
    let whole = driver::run(input, [], &limits);
    assert_eq!(driver::run(input, cut::cuts(seed, input.len()), &limits), whole, "the cuts matter");
    let (ours, expected) = (whole.flat(), reference::read(input, &limits));
    assert!(ours == expected, "codec:\n{}reference:\n{}", outcome::listed(&ours), outcome::listed(&expected));
});
