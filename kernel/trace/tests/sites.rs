//! Where operations are asked for.

use bifolio::allocator::Call;
use bifolio::frame::ZoneKind;
use trace::{Encoder, Header, Record, SITE_DEPTH, Site, write_header, write_site_name};

#[test]
fn an_operation_says_where_it_was_asked_for_until_another_does() {
    let (mut bytes, mut encoder) = (Vec::new(), Encoder::new());
    write_header(&mut bytes, 2, core::iter::empty());
    write_site_name(&mut bytes, 7, "the shell, äöü");
    let most: Vec<u64> = (0..SITE_DEPTH as u64).map(|nth| u64::MAX / (nth + 1)).collect();
    for (site, addresses) in [(7, &most[..]), (7, &[]), (300, &[5]), (0, &[]), (7, &[])] {
        encoder.begin_at(&mut bytes, 0, Call::Drain, site, addresses);
        encoder.end(&mut bytes, Some(0));
    }
    // Within a request another CPU does something, while that asks a shrinker.
    encoder.begin_at(&mut bytes, 0, Call::Balance, 9, &[1, 2]);
    assert!(encoder.is_within());
    encoder.begin(&mut bytes, 0, Call::Shrink { frames: 1 });
    assert!(!encoder.is_within());
    encoder.begin_at(&mut bytes, 1, Call::Settle(ZoneKind::Dma), 300, &[]);
    encoder.end(&mut bytes, Some(0));
    assert!(!encoder.is_within());
    encoder.end(&mut bytes, Some(0));
    assert!(encoder.is_within());
    encoder.end(&mut bytes, Some(0));
    assert!(!encoder.is_within());

    let (_, mut place) = Header::read(&bytes).unwrap();
    let (mut at, mut named, mut sites) = (Vec::new(), Vec::new(), Vec::new());
    let mut note = |site, is: Site<'_>| match is {
        Site::At(addresses) => at.push((site, addresses.to_vec())),
        Site::Named(name) => named.push((site, name.to_owned())),
    };
    while let Some(record) = place.next_with(&bytes, &mut note).unwrap() {
        if !matches!(record, Record::Closed(_)) {
            sites.push(place.site());
        }
    }
    assert_eq!(sites, [7, 7, 300, 0, 7, 9, 9, 300]);
    assert_eq!(at, [(7, most), (300, vec![5]), (9, vec![1, 2])]);
    assert_eq!(named, [(7, "the shell, äöü".to_owned())]);
}
