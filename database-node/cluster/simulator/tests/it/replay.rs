//! A seed is the same whenever it is run.

use pliantdb_simulator::{Scenario, run};

#[test]
fn a_seed_replays_bit_for_bit() {
    let mut digests = Vec::new();
    for seed in 1..=12 {
        let [first, again] = [(); 2].map(|()| run(&Scenario::of(seed), None, false));
        assert_eq!(
            (first.digest, first.happened),
            (again.digest, again.happened),
            "seed {seed}"
        );
        assert_eq!(first.operations, again.operations);
        digests.push(first.digest);
    }
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 12, "seeds differ");
}
