//! The same commands leave the same bytes.

use pliantdb_storage::store::MemoryStore;
use proptest::prelude::*;

use crate::model::{run, script, step};
use crate::store::{encrypted, everything, rocks};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn stores_are_identical_however_commands_are_batched(
        steps in prop::collection::vec(step(), 1..80),
        sizes in prop::collection::vec(1..20usize, 1..4),
    ) {
        let script = script(&steps);
        let whole = everything(&*run(MemoryStore::default(), &script, &[1000]));
        prop_assert_eq!(&everything(&*run(MemoryStore::default(), &script, &sizes)), &whole);
        prop_assert_eq!(&everything(&*run(encrypted(MemoryStore::default()), &script, &sizes)), &whole);
        let directory = tempfile::tempdir().unwrap();
        prop_assert_eq!(&everything(&*run(rocks(directory.path()), &script, &sizes)), &whole);
    }
}
