//! What is to be known of a trace before it is followed.

use alloc::collections::BTreeMap;
use alloc::string::String;

use trace::{Broken, Defect, Place, Record, Site};

/// What there is in a trace from a place on.
pub(crate) struct Counted {
    /// Behind the last operation that is there as a whole, or hash.
    pub(crate) place: Place,
    /// Operations, not counting those within others.
    pub(crate) operations: u64,
    /// Records were lost there: it can be followed no further.
    pub(crate) has_lost: bool,
}

/// Reads a trace from a place on, and says what there is; what it says that sites are called goes to `names`.
pub(crate) fn count(trace: &[u8], from: Place, names: &mut BTreeMap<u32, String>) -> Result<Counted, Broken> {
    let mut note = |site, is: Site<'_>| {
        if let Site::Named(name) = is {
            names.insert(site, name.into());
        }
    };
    let mut counted = Counted { place: from, operations: 0, has_lost: false };
    let (mut place, mut depth) = (from, 0_usize);
    loop {
        let is_operation = match place.next_with(trace, &mut note) {
            Ok(Some(Record::Operation { .. })) => true,
            Ok(Some(Record::Hash(_))) => false,
            Ok(Some(Record::Opened { .. })) => {
                depth += 1;
                continue;
            }
            Ok(Some(Record::Closed(_))) => {
                depth -= 1;
                true
            }
            Ok(Some(Record::Lost(_))) => {
                counted.has_lost = true;
                return Ok(counted);
            }
            Ok(None) | Err(Broken { defect: Defect::Cut, .. }) => return Ok(counted),
            Err(broken) => return Err(broken),
        };
        if depth == 0 {
            counted.place = place;
            counted.operations += u64::from(is_operation);
        }
    }
}
